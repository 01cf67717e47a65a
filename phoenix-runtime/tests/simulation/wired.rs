//! Worlds in which commands come over a bus: records that are there twice, come late, or pass those of other partitions,
//! answers that are lost, outages, and partitions that go from node to node in the middle of a batch.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::bus::{Bus, EmbeddedBus};
use phoenix_runtime::client::remote::{Every, Remote, RemoteOptions, Replies};
use phoenix_runtime::delivery::{Delivery, DeliveryOptions, Grade, Parts};
use phoenix_runtime::domain::error::Code;
use phoenix_runtime::domain::message::Command as _;
use phoenix_runtime::domain::ports::Clock as _;
use phoenix_runtime::event_store::letters::DeadFilter;
use phoenix_runtime::event_store::memory::MemoryStore;
use phoenix_runtime::event_store::port::EventStore;
use phoenix_runtime::testkit::bus::{BusFaults, FaultyBus};
use phoenix_runtime::testkit::lane_map::LaneMap;
use phoenix_runtime::testkit::simulation::{Faults, FaultyStore, Simulation};

use crate::ledger::{Deposit, DoHarm, Later, Ledger};
use crate::nodes::{Nodes, Started};
use crate::ways::{Way, Ways};
use crate::witness::Witness;
use crate::{Calls, GOOD_DAY};

const TOPIC: &str = "ledger.commands";

/// The bus of a world, and who works with it.
#[derive(Clone)]
struct Wire {
    world: Simulation,
    bus: FaultyBus,
    store: FaultyStore,
    nodes: Nodes,
}

impl Wire {
    /// A process that takes its share of the partitions.
    async fn start(&self) {
        let Self { world, nodes, store, .. } = self;
        let Started { group, client, partitions, store } = nodes.start_apart(world, store).await;
        let grade = if world.once_in(2) { Grade::Inbox } else { Grade::Broker };
        let options = DeliveryOptions {
            grade,
            max_per_aggregate: 1 + usize::try_from(world.below(10)).unwrap(),
            inbox_messages: if grade == Grade::Broker && world.once_in(4) { 0 } else { 1 + world.below(60) },
            max_unfinished: 1 + usize::try_from(world.below(40)).unwrap(),
            max_records: 1 + usize::try_from(world.below(20)).unwrap(),
            // of tries that were made alone, one may be counted that a late write has brought back
            max_tries: 4 + u32::try_from(world.below(3)).unwrap(),
            first_pause: Duration::from_millis(1 + world.below(20)),
            max_pause: Duration::from_millis(200),
            max_resends: 1 + usize::try_from(world.below(10)).unwrap(),
            commit_every: Duration::from_millis(1 + world.below(100)),
            handover: Duration::from_millis(world.below(300)),
            reply_timeout: Duration::from_millis(100 + world.below(2000)),
            ..DeliveryOptions::default()
        };
        let wire = self.clone();
        world.spawn(group, async move {
            let parts = || Parts {
                bus: Arc::new(wire.bus.clone()),
                store: Arc::new(store.clone()),
                client: client.here(),
                partitions: partitions.clone(),
                clock: Arc::new(wire.world.clock()),
                seed: wire.world.seed(),
                topic: TOPIC.into(),
                group: "ledgers".to_owned(),
                fixed: None,
                redelivery: None,
                options: options.clone(),
            };
            loop {
                // the handle is kept while it works: dropping it would stop it
                if let Ok((_delivery, work)) = Delivery::start(parts()).await {
                    work.await;
                    return;
                }
                wire.world.sleep(Duration::from_millis(10)).await;
            }
        });
    }

    async fn remote(&self, number: u64) -> Remote {
        let (timeout, pause) = (200 + self.world.below(5000), 20 + self.world.below(500));
        self.remote_with(&number.to_string(), Duration::from_millis(timeout), Duration::from_millis(pause)).await
    }

    async fn remote_with(&self, name: &str, timeout: Duration, pause: Duration) -> Remote {
        let world = &self.world;
        let mut options = RemoteOptions::new(TOPIC, Replies::Topic(format!("replies.{name}").into()));
        options.ask_timeout = timeout;
        options.retry = Arc::new(Every { times: 3, pause });
        let spawn = world.spawner(world.group());
        loop {
            let (bus, clock) = (Arc::new(self.bus.clone()), Arc::new(world.clock()));
            match Remote::start(bus, options.clone(), clock, world.seed(), Arc::clone(&spawn)).await {
                Ok(remote) => return remote,
                Err(_) => world.sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// One that tells commands to one ledger, each when the bus has the one before.
async fn teller(wire: Wire, remote: Remote, ledger: String, first: u64) -> Vec<u64> {
    let mut told = Vec::new();
    for op in first..first + wire.world.below(20) {
        let deposit = Deposit { ledger: ledger.clone(), op, amount: 1 };
        let within = Duration::from_millis(1 + wire.world.below(2000));
        if remote.of::<Ledger>().tell(deposit).timeout(within).await.is_ok() {
            told.push(op);
        }
        if wire.world.once_in(4) {
            let pause = Duration::from_micros(wire.world.below(50_000));
            wire.world.sleep(pause).await;
        }
    }
    told
}

/// What was told is done, each once, in the order in which it was told.
async fn check_told(wire: &Wire, witness: &Witness, ledger: &str, told: &[u64]) {
    let ends = wire.world.clock().monotonic() + GOOD_DAY;
    loop {
        let done = witness.entered(ledger).await;
        let of_told: Vec<u64> = done.iter().copied().filter(|op| told.contains(op)).collect();
        if of_told == told {
            return;
        }
        if of_told.len() >= told.len() || wire.world.clock().monotonic() > ends {
            return witness.violation(format!("promise 3: {ledger} was told {told:?} and has done {done:?}"));
        }
        wire.world.sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn scenario(world: Simulation) -> Vec<String> {
    let memory = Arc::new(MemoryStore::new());
    let (faults, bus_faults) = match world.below(4) {
        0 => (Faults::NONE, BusFaults::NONE),
        1 => (Faults::NONE, BusFaults::MANY),
        _ => (Faults::MANY, BusFaults::MANY),
    };
    let store = FaultyStore::new(memory.clone() as Arc<dyn EventStore>, &world, faults, LaneMap::new(1));
    let witness = Arc::new(Witness::new(memory.clone()));
    let partitions = 1 + u16::try_from(world.below(4)).unwrap();
    let plain = EmbeddedBus::memory(Arc::new(world.clock())).unwrap();
    plain.create(TOPIC.into(), partitions).await.unwrap();
    let bus = FaultyBus::in_world(Arc::new(plain), &world, bus_faults);
    let wire = Wire { world: world.clone(), bus, store: store.clone(), nodes: Nodes::new(partitions, true) };
    let mut remotes = Vec::new();
    for number in 0..=world.below(2) {
        remotes.push(wire.remote(number).await);
    }
    for _ in 0..=world.below(2) {
        wire.start().await;
    }
    let calls = Calls::new(&world, Ways::Far(remotes.clone()), &witness);
    calls.begin();
    let ledger = "told".to_owned();
    let telling = {
        let (told, asked) = tokio::sync::oneshot::channel();
        let teller = teller(wire.clone(), remotes[0].clone(), ledger.clone(), 1_000_000);
        world.spawn(world.group(), async move {
            // whoever asks lives as long as the world
            let _ = told.send(teller.await);
        });
        asked
    };
    let (mut incidents, mut kills) = (world.below(6), 0);
    while calls.are_open() {
        let pause = Duration::from_micros(world.below(200_000));
        world.sleep(pause).await;
        if incidents > 0 && world.once_in(2) {
            incidents -= 1;
            match world.below(3) {
                0 => {
                    kills += 1;
                    wire.nodes.kill_newest(&world);
                    wire.start().await;
                }
                1 => wire.start().await,
                _ => world.clock().jump_wall(i64::try_from(world.below(20_000_000)).unwrap() - 10_000_000),
            }
        }
    }
    let told = telling.await.unwrap_or_default();
    store.heal();
    wire.bus.heal();
    // one that asks again and again before the answer can be there only makes it later
    let patient = wire.remote_with("patient", GOOD_DAY, GOOD_DAY / 4).await;
    calls.settle(&Way::Far(patient)).await;
    check_told(&wire, &witness, &ledger, &told).await;
    for letter in memory.letters().unwrap().dead(DeadFilter::default(), 0, 1000).await.unwrap() {
        // only what does harm, or takes too long, may come to no outcome, and what was at work each time a process ended
        let ended = letter.code.as_ref() == Code::ProcessEnded.as_str() && kills > 0;
        if ![Some(DoHarm::NAME), Some(Later::NAME)].contains(&letter.name.as_deref()) && !ended {
            witness.violation(format!("promise 3: a dead letter: {letter:?}"));
        }
    }
    witness.violations().into_iter().chain(store.breaches()).collect()
}
