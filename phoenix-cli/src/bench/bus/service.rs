//! Engine and delivery, as a node has them.

use std::sync::Arc;

use phoenix_bench::load;
use phoenix_runtime::bus::Bus;
use phoenix_runtime::delivery::{Delivery, DeliveryOptions, Parts};
use phoenix_runtime::domain::ports::SplitMix;
use phoenix_runtime::engine::{Engine, EngineOptions, SystemClock};
use phoenix_runtime::event_store::EventStore;
use tokio::task::{JoinHandle, unconstrained};

use super::broker::Broker;
use crate::bench::error::BenchError;
use crate::bench::subject::{Place, Subject};
use crate::bench::workload::{Account, Accounts};

/// An engine with a store and a topic of its own, every aggregate in memory.
pub(super) struct Service {
    engine: Engine,
    store: Arc<dyn EventStore>,
    pub(super) topic: Arc<str>,
    group: String,
}

/// A service that takes commands.
pub(super) struct Running {
    engine: Engine,
    delivery: Delivery,
    work: JoinHandle<()>,
}

impl Service {
    pub(super) async fn new(broker: &Broker, subject: &dyn Subject, partitions: u16) -> Result<Self, BenchError> {
        let topic = broker.topic("commands", partitions).await?;
        // delivery would make it, where its adapter can
        broker.make(&format!("{topic}.dead"), 1).await?;
        let store = subject.open(Place::Fresh).await?;
        let options = EngineOptions { partitions, ..EngineOptions::default() };
        let engine = Engine::builder(Arc::clone(&store)).options(options).aggregate::<Account>().start().await?;
        load::warm_up(&Accounts(engine.client()), 1000).await?;
        Ok(Self { engine, store, topic, group: broker.unique("group") })
    }

    pub(super) fn store(&self) -> String {
        self.store.name()
    }

    /// Begins to take commands, with connections of its own.
    pub(super) async fn start(self, bus: Arc<dyn Bus>) -> Result<Running, BenchError> {
        let Self { engine, store, topic, group } = self;
        let parts = Parts {
            bus,
            store,
            client: engine.client().here(),
            partitions: engine.partitions().clone(),
            clock: Arc::new(SystemClock::default()),
            seed: Arc::new(SplitMix::from_entropy()),
            topic,
            group,
            fixed: None,
            redelivery: None,
            options: DeliveryOptions::default(),
        };
        let (delivery, work) = Delivery::start(parts).await?;
        Ok(Running { engine, delivery, work: tokio::spawn(unconstrained(work)) })
    }
}

impl Running {
    /// Comes to an end with everything that was taken, and lets go of the store.
    pub(super) async fn stop(self) {
        self.delivery.drain().await;
        // it has ended, or nothing is left to wait for
        let _ = self.work.await;
        self.engine.stop().await;
    }
}
