//! Where the engines of these tests live.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{MaybeDone, maybe_done};
use phoenix_runtime::client::{Client, Of};
use phoenix_runtime::domain::context::Resources;
use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::domain::ports::Clock as _;
use phoenix_runtime::engine::options::DEFAULT_PARTITIONS;
use phoenix_runtime::engine::{Engine, EngineBuilder, EngineOptions, Owning};
use phoenix_runtime::event_store::memory::MemoryStore;
use phoenix_runtime::event_store::port::{EventStore as _, Partition, StoredEvent, StreamId};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::ScriptedStore;
use phoenix_runtime::testkit::simulation::Simulation;

use crate::tally::{Fuse, Tally, Tries};

/// A simulated world with one store.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) simulation: Simulation,
    /// What the engines see.
    pub(crate) store: ScriptedStore,
    /// What is stored.
    pub(crate) memory: MemoryStore,
    /// Burns where a handler ends its process.
    pub(crate) fuse: Fuse,
    pub(crate) tries: Tries,
}

/// Runs a test in several worlds, which differ in whose turn it is.
#[track_caller]
pub(crate) fn simulate<F: Future<Output = ()> + Send + 'static>(test: impl Fn(World) -> F) {
    let seeds = std::env::var("PHOENIX_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in 1..=seeds.unwrap_or(5) {
        let simulation = Simulation::new(seed);
        let memory = MemoryStore::new();
        let store = ScriptedStore::new(Arc::new(memory.clone()));
        let world =
            World { simulation: simulation.clone(), store, memory, fuse: Fuse::default(), tries: Tries::default() };
        assert!(simulation.run(2_000_000, test(world)).is_some(), "seed {seed}: nothing goes on any more");
    }
}

/// One shard, so that everything meets.
pub(crate) fn options() -> EngineOptions {
    EngineOptions { shards: Some(1), ..EngineOptions::default() }
}

impl World {
    /// An engine of this world, without aggregates.
    pub(crate) fn builder(&self) -> EngineBuilder {
        Engine::builder(Arc::new(self.store.clone()))
            .options(options())
            .resources(
                Resources::default().with(self.simulation.clone()).with(self.fuse.clone()).with(self.tries.clone()),
            )
            .clock(Arc::new(self.simulation.clock()))
            .seed(self.simulation.seed())
            .spawn(self.simulation.spawner(self.simulation.group()))
    }

    /// An engine with tallies.
    pub(crate) async fn engine(&self, options: EngineOptions) -> Engine {
        self.builder().aggregate::<Tally>().options(options).start().await.unwrap()
    }

    /// An engine with tallies on one shard.
    pub(crate) async fn start(&self) -> Engine {
        self.engine(options()).await
    }

    /// An engine with tallies that owns nothing.
    pub(crate) async fn idle(&self) -> Engine {
        self.builder().aggregate::<Tally>().owning(Owning::Nothing).start().await.unwrap()
    }

    /// Waits until nothing goes on any more but what waits for time or for this test.
    pub(crate) async fn quiet(&self) {
        self.pass(Duration::from_nanos(1)).await;
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, duration: Duration) {
        self.simulation.sleep(duration).await;
    }

    /// The monotonic time.
    pub(crate) fn now(&self) -> Duration {
        self.simulation.clock().monotonic()
    }

    /// How much time has passed.
    pub(crate) fn since(&self, moment: Duration) -> Duration {
        self.now().saturating_sub(moment)
    }

    /// The stored events of an aggregate.
    pub(crate) async fn events(&self, aggregate: &str, id: &str) -> Vec<StoredEvent> {
        let stream = StreamId { aggregate: aggregate.into(), id: AggregateId::new(id).unwrap() };
        self.memory.read_stream(stream, 1, usize::MAX).await.unwrap()
    }
}

/// The partition of a tally.
pub(crate) fn partition_of(tally: &str) -> Partition {
    Partition::of(Slice::of("tally", tally), DEFAULT_PARTITIONS)
}

/// Another tally of the same partition.
pub(crate) fn beside(tally: &str) -> String {
    let mut others = (0..1000).map(|n| format!("{tally}-{n}"));
    others.find(|other| partition_of(other) == partition_of(tally)).unwrap()
}

/// The way to an engine's tallies.
pub(crate) fn tallies(engine: &Engine) -> Of<Tally> {
    client(engine).of()
}

pub(crate) fn client(engine: &Engine) -> Client {
    engine.client()
}

/// A call that was sent, its answer not yet awaited.
pub(crate) struct Sent<F: Future>(Pin<Box<MaybeDone<F>>>);

/// Sends a call now: those that are sent first arrive first.
pub(crate) async fn sent<F: Future>(call: impl IntoFuture<IntoFuture = F>) -> Sent<F> {
    let mut sent = Sent(Box::pin(maybe_done(call.into_future())));
    sent.is_told().await;
    sent
}

impl<F: Future> Sent<F> {
    /// Whether the answer is there.
    pub(crate) async fn is_told(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.0.as_mut().poll(cx).is_ready())).await
    }

    /// The answer.
    pub(crate) async fn answer(mut self) -> F::Output {
        self.0.as_mut().await;
        self.0.as_mut().take_output().unwrap()
    }
}

/// The answers of several calls.
pub(crate) async fn answers<F: Future>(all: Vec<Sent<F>>) -> Vec<F::Output> {
    let mut answers = Vec::new();
    for call in all {
        answers.push(call.answer().await);
    }
    answers
}
