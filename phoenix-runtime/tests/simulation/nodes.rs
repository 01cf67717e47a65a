//! The nodes of a world, what they own, and how messages come from one to another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use phoenix_runtime::client::Client;
use phoenix_runtime::domain::context::Resources;
use phoenix_runtime::domain::error::Code;
use phoenix_runtime::domain::metadata::Envelope;
use phoenix_runtime::domain::pending::NamedAnswer;
use phoenix_runtime::engine::ownership::Partitions;
use phoenix_runtime::engine::{Engine, EngineOptions, Forward, Forwarded, Owning};
use phoenix_runtime::event_store::port::Partition;
use phoenix_runtime::testkit::simulation::{FaultyStore, Simulation, TaskGroup};

use crate::ledger::{Ledger, MAX_BYTES};

/// One that runs.
struct Node {
    group: TaskGroup,
    engine: Engine,
    store: FaultyStore,
    /// Who takes or gives back each partition just now.
    deals: Arc<Mutex<BTreeMap<Partition, Deals>>>,
}

/// What those need that work with a node.
pub(crate) struct Started {
    pub(crate) group: TaskGroup,
    pub(crate) client: Client,
    pub(crate) partitions: Partitions,
    pub(crate) store: FaultyStore,
}

#[derive(Default)]
struct Deals {
    open: u32,
    /// Whether nobody can tell what the node may still store.
    confused: bool,
}

/// Somebody who deals, until he is done or killed.
struct Dealer(Arc<Mutex<u64>>);

impl Dealer {
    fn new(count: &Arc<Mutex<u64>>) -> Self {
        *count.lock().unwrap() += 1;
        Self(Arc::clone(count))
    }
}

impl Drop for Dealer {
    fn drop(&mut self) {
        *self.0.lock().unwrap() -= 1;
    }
}

type All = Mutex<Vec<Node>>;

/// The engines that run, newest last; an old one may not know yet that it has lost its partitions.
#[derive(Clone)]
pub(crate) struct Nodes {
    all: Arc<All>,
    /// How many partitions there are.
    partitions: u16,
    /// Whether they are dealt; otherwise whoever starts has all of them.
    dealt: bool,
    /// How many deal just now.
    dealers: Arc<Mutex<u64>>,
}

impl Nodes {
    pub(crate) fn new(partitions: u16, dealt: bool) -> Self {
        Self { all: Arc::default(), partitions, dealt, dealers: Arc::default() }
    }

    pub(crate) fn is_dealt(&self) -> bool {
        self.dealt
    }

    pub(crate) fn any(&self, world: &Simulation) -> Option<Client> {
        any(&self.all, world)
    }

    pub(crate) fn newest(&self) -> Client {
        self.all.lock().unwrap().last().unwrap().engine.client()
    }

    pub(crate) fn kill_newest(&self, world: &Simulation) {
        let killed = self.all.lock().unwrap().pop();
        if let Some(node) = &killed {
            world.kill(node.group);
        }
    }

    pub(crate) async fn start(&self, world: &Simulation, store: &FaultyStore) {
        self.start_with(world, store, if self.dealt { Owning::Nothing } else { Owning::All }).await;
    }

    pub(crate) async fn start_with(&self, world: &Simulation, store: &FaultyStore, owning: Owning) {
        let ferry = self.dealt && world.once_in(2);
        self.start_one(world, store, owning, ferry).await;
    }

    /// One whose partitions somebody else deals.
    pub(crate) async fn start_apart(&self, world: &Simulation, store: &FaultyStore) -> Started {
        self.start_one(world, store, Owning::Nothing, false).await
    }

    async fn start_one(&self, world: &Simulation, store: &FaultyStore, owning: Owning, ferry: bool) -> Started {
        let group = world.group();
        let options = EngineOptions {
            shards: Some(1 + u16::try_from(world.below(2)).unwrap()),
            partitions: self.partitions,
            mailbox_capacity: 1 + usize::try_from(world.below(64)).unwrap(),
            max_batch: 1 + usize::try_from(world.below(12)).unwrap(),
            max_message_bytes: MAX_BYTES,
            replay_page: 1 + usize::try_from(world.below(4)).unwrap(),
            ask_timeout: Duration::from_millis(50 + world.below(1500)),
            max_remembered_keys: usize::try_from(world.below(30)).unwrap(),
            handler_deadline: Duration::from_micros(2900),
            max_store_backoff: Duration::from_millis(200),
            ..EngineOptions::default()
        };
        let store = store.for_node();
        let mut builder = Engine::builder(Arc::new(store.clone()))
            .aggregate::<Ledger>()
            .options(options)
            .resources(Resources::default().with(world.clone()))
            .clock(Arc::new(world.clock()))
            .seed(world.seed())
            .spawn(world.spawner(group))
            .owning(owning);
        if ferry {
            builder = builder.forward(Arc::new(Ferry { world: world.clone(), nodes: Arc::downgrade(&self.all) }));
        }
        let engine = builder.start().await.unwrap();
        let started =
            Started { group, client: engine.client(), partitions: engine.partitions().clone(), store: store.clone() };
        self.all.lock().unwrap().push(Node { group, engine, store, deals: Arc::default() });
        started
    }

    /// Gives a partition to a node, or takes it from one, whoever has it: with several at once that is what a group does
    /// whose members do not answer in time.
    pub(crate) fn deal(&self, world: &Simulation) {
        let nodes = self.all.lock().unwrap();
        let index = usize::try_from(world.below(nodes.len() as u64)).unwrap();
        let Some(Node { group, engine, store, deals }) = nodes.get(index) else { return };
        let partition = Partition(u16::try_from(world.below(self.partitions.into())).unwrap());
        let (partitions, store, deals) = (engine.partitions().clone(), store.clone(), Arc::clone(deals));
        let (takes, bound) = (!world.once_in(3), Duration::from_micros(world.below(60_000)));
        let (count, dealer) = (self.partitions, Dealer::new(&self.dealers));
        world.spawn(*group, async move {
            {
                let mut deals = deals.lock().unwrap();
                let deal = deals.entry(partition).or_default();
                deal.open += 1;
                deal.confused |= deal.open > 1;
            }
            let finished = if takes {
                store.taken(partition, count);
                // one that fails is taken another time
                let _ = partitions.take([partition]).await;
                false
            } else {
                partitions.give_back([partition], bound).await
            };
            let mut deals = deals.lock().unwrap();
            let deal = deals.entry(partition).or_default();
            deal.open -= 1;
            // what is cut short may have an append under way that nobody waits for
            deal.confused |= !takes && !finished;
            if finished && !deal.confused {
                store.given_back(partition, count);
            }
            drop(dealer);
        });
    }

    /// Waits until nobody deals any more.
    pub(crate) async fn settle(&self, world: &Simulation) {
        while *self.dealers.lock().unwrap() > 0 {
            world.sleep(Duration::from_millis(1)).await;
        }
    }
}

fn any(all: &All, world: &Simulation) -> Option<Client> {
    let nodes = all.lock().unwrap();
    // mostly the newest
    let index = if world.once_in(4) { world.below(nodes.len() as u64) } else { (nodes.len() as u64).checked_sub(1)? };
    nodes.get(usize::try_from(index).unwrap()).map(|node| node.engine.client())
}

/// Brings messages to nodes that may own their aggregates: late, and now and then twice.
struct Ferry {
    world: Simulation,
    nodes: Weak<All>,
}

impl fmt::Debug for Ferry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ferry")
    }
}

impl Forward for Ferry {
    fn forward(&self, message: Forwarded) {
        let (world, nodes) = (self.world.clone(), Weak::clone(&self.nodes));
        let group = world.group();
        self.world.spawn(group, async move {
            match message {
                Forwarded::Command(command) => {
                    let answer = carry(&world, &nodes, &command.envelope).await;
                    if let Some(answer) = answer {
                        command.answer(answer);
                    }
                }
                Forwarded::Query(query) => {
                    let Some(client) = next(&world, &nodes).await else { return };
                    let timeout = query.timeout.unwrap();
                    let answer = client.query_named(query.aggregate, query.name, &query.payload, timeout).await;
                    query.answer(answer.answer);
                }
            }
        });
    }
}

async fn next(world: &Simulation, nodes: &Weak<All>) -> Option<Client> {
    let pause = Duration::from_micros(world.below(3000));
    world.sleep(pause).await;
    Some(any(&*nodes.upgrade()?, world)?.here())
}

async fn carry(world: &Simulation, nodes: &Weak<All>, envelope: &Envelope) -> Option<NamedAnswer> {
    let mut told = None;
    for _ in 0..4 {
        let client = next(world, nodes).await?;
        if envelope.idempotency_key.is_some() && world.once_in(4) {
            drop(client.send(envelope.clone()));
        }
        let answer = client.send(envelope.clone()).await.answer;
        let elsewhere = matches!(&answer, Err(error) if error.code() == Code::OwnershipLost);
        told = Some(answer);
        if !elsewhere {
            break;
        }
    }
    told
}
