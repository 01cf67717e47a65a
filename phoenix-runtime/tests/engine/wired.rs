//! A world with a bus: the real client, delivery and engine in simulated nodes.

use std::sync::Arc;

use phoenix_runtime::bus::envelope::Call;
use phoenix_runtime::bus::{Bus, EmbeddedBus, Outgoing, Record, TopicPartition};
use phoenix_runtime::client::remote::{Remote, RemoteOptions, Replies};
use phoenix_runtime::delivery::{Delivery, DeliveryOptions, Parts, Redelivery};
use phoenix_runtime::domain::id::{MessageId, Slice};
use phoenix_runtime::engine::Engine;
use phoenix_runtime::engine::ownership::Owning;
use phoenix_runtime::event_store::letters::{DeadFilter, DeadLetter};
use phoenix_runtime::event_store::port::EventStore as _;
use phoenix_runtime::testkit::simulation::TaskGroup;

use crate::tally::Tally;
use crate::world::{World, simulate};

pub(crate) const TOPIC: &str = "tally.commands";

/// A world with a bus.
pub(crate) struct Wired {
    pub(crate) world: World,
    pub(crate) bus: Arc<EmbeddedBus>,
    /// The bus as the nodes see it.
    pub(crate) seen: Arc<dyn Bus>,
    /// When the nodes try again; as their options say where nothing is said.
    pub(crate) redelivery: Option<Arc<dyn Redelivery>>,
}

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) delivery: Delivery,
    pub(crate) group: TaskGroup,
}

impl Wired {
    pub(crate) fn new(world: World) -> Self {
        let bus = Arc::new(EmbeddedBus::memory(Arc::new(world.simulation.clock())).unwrap());
        let seen = Arc::clone(&bus) as Arc<dyn Bus>;
        Self { world, bus, seen, redelivery: None }
    }

    pub(crate) async fn node(&self) -> Node {
        self.node_with(DeliveryOptions::default()).await
    }

    pub(crate) async fn node_with(&self, options: DeliveryOptions) -> Node {
        self.try_node(options).await.unwrap()
    }

    /// A node, unless the bus or the store does not let it start.
    pub(crate) async fn try_node(&self, options: DeliveryOptions) -> Option<Node> {
        let simulation = &self.world.simulation;
        let group = simulation.group();
        let builder = self.world.builder().aggregate::<Tally>().owning(Owning::Nothing);
        let engine = builder.spawn(simulation.spawner(group)).start().await.ok()?;
        let parts = Parts {
            bus: Arc::clone(&self.seen),
            store: Arc::new(self.world.store.clone()),
            client: engine.client().here(),
            partitions: engine.partitions().clone(),
            clock: Arc::new(simulation.clock()),
            seed: simulation.seed(),
            topic: TOPIC.into(),
            group: "tallies".to_owned(),
            fixed: None,
            redelivery: self.redelivery.clone(),
            options,
        };
        let Ok((delivery, work)) = Delivery::start(parts).await else {
            simulation.kill(group);
            return None;
        };
        simulation.spawn(group, work);
        Some(Node { engine, delivery, group })
    }

    pub(crate) async fn remote(&self, name: &str) -> Remote {
        self.remote_with(name, |_| {}).await
    }

    pub(crate) async fn remote_with(&self, name: &str, change: impl FnOnce(&mut RemoteOptions)) -> Remote {
        self.remote_over(Arc::clone(&self.bus) as Arc<dyn Bus>, name, change).await
    }

    pub(crate) async fn remote_over(
        &self,
        bus: Arc<dyn Bus>,
        name: &str,
        change: impl FnOnce(&mut RemoteOptions),
    ) -> Remote {
        let simulation = &self.world.simulation;
        let mut options = RemoteOptions::new(TOPIC, Replies::Topic(format!("replies.{name}").into()));
        change(&mut options);
        let spawn = simulation.spawner(simulation.group());
        loop {
            let (bus, spawn) = (Arc::clone(&bus), Arc::clone(&spawn));
            let clock = Arc::new(simulation.clock());
            match Remote::start(bus, options.clone(), clock, simulation.seed(), spawn).await {
                Err(error) if error.is_passing() => self.world.quiet().await,
                started => return started.unwrap(),
            }
        }
    }

    pub(crate) fn kill(&self, node: Node) {
        self.world.simulation.kill(node.group);
        drop(node);
    }

    pub(crate) async fn dead(&self) -> Vec<DeadLetter> {
        self.world.memory.letters().unwrap().dead(DeadFilter::default(), 0, 1000).await.unwrap()
    }

    pub(crate) async fn put(&self, partition: u16, record: Record) {
        let outgoing = Outgoing { to: TopicPartition::new(TOPIC, partition), record };
        self.bus.produce(vec![outgoing].into()).await.pop().unwrap().unwrap();
    }

    pub(crate) async fn steps(&self, id: &str) -> Vec<i64> {
        let events = self.world.events("tally", id).await;
        let amount =
            |payload: &[u8]| serde_json::from_slice::<serde_json::Value>(payload).unwrap()["amount"].as_i64().unwrap();
        events.iter().map(|event| amount(&event.event.payload)).collect()
    }
}

pub(crate) fn partition_of(id: &str) -> u16 {
    Slice::of("tally", id).0 % 16
}

pub(crate) fn call(id: &str, name: &str, payload: serde_json::Value, number: u128) -> Call {
    Call::command(MessageId(uuid::Uuid::from_u128(number)), "tally", id, name, payload.to_string())
}

pub(crate) fn simulate_wired<F: Future<Output = ()> + Send + 'static>(
    test: impl Fn(Wired) -> F + Clone + Send + 'static,
) {
    simulate(move |world| test(Wired::new(world)));
}
