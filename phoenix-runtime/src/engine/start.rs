//! Building, starting, draining and stopping an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::watch;

use crate::domain::aggregate::Aggregate;
use crate::domain::context::Resources;
use crate::domain::id::{SLICES, Slice};
use crate::domain::ports::{BoxFuture, Clock, Seed, SplitMix};
use crate::engine::batch::Sequences;
use crate::engine::catalog::Catalog;
use crate::engine::clock::SystemClock;
use crate::engine::health::Health;
use crate::engine::idle::Idle;
use crate::engine::mailbox::mailbox;
use crate::engine::options::{EngineOptions, PARTITIONS};
use crate::engine::router::Router;
use crate::engine::shard::{Parts, Phase, Shard};
use crate::engine::timers::Timers;
use crate::event_store::port::{Epoch, EventStore, Partition, StoreError};

/// Starts a task; by default `tokio::spawn`.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// Why an engine did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Two aggregate types have one wire name.
    #[error("two aggregates of this node are named `{0}`: give one of them another `#[aggregate(name = \"...\")]`")]
    DuplicateAggregate(&'static str),
    /// Handlers use resources that nobody registered.
    #[error("resources are missing, register them at the node's builder: {}", .0.join(", "))]
    MissingResources(Vec<String>),
    /// Events are stored that no event handler reads: their aggregates could not be brought into memory.
    #[error("stored events have no event handler: {}; add one, or `upcast_from` them", .0.join(", "))]
    UnreadEvents(Vec<String>),
    /// The store did not let this node become the owner.
    #[error("failed to take ownership of the event store: {0}")]
    Store(#[from] StoreError),
    /// The process would end with the first panic in user code.
    #[error("`panic = \"abort\"` would end the process with one aggregate's panic: remove it from the build profile")]
    PanicAborts,
}

/// Builds an [`Engine`].
pub struct EngineBuilder {
    store: Arc<dyn EventStore>,
    catalog: Catalog,
    duplicate: Option<&'static str>,
    options: EngineOptions,
    /// `None` for the machine's.
    clock: Option<Arc<dyn Clock>>,
    seed: Arc<dyn Seed>,
    resources: Resources,
    spawn: Spawn,
}

impl EngineBuilder {
    /// Adds an aggregate type.
    #[must_use]
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        if !self.catalog.add::<A>() {
            self.duplicate.get_or_insert(A::NAME);
        }
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// Lends these resources to handlers.
    #[must_use]
    pub fn resources(mut self, resources: Resources) -> Self {
        self.resources = resources;
        self
    }

    /// Takes time from here.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Takes randomness from here.
    #[must_use]
    pub fn seed(mut self, seed: Arc<dyn Seed>) -> Self {
        self.seed = seed;
        self
    }

    /// Starts tasks in this way instead of `tokio::spawn`.
    #[must_use]
    pub fn spawn(mut self, spawn: Spawn) -> Self {
        self.spawn = spawn;
        self
    }

    /// Takes ownership of the store and starts the shards. Whoever had the store before can append no more.
    ///
    /// # Errors
    /// Names or resources that do not fit, and a store that does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the store without an owner; starting again is safe.
    pub async fn start(self) -> Result<Engine, StartError> {
        if cfg!(panic = "abort") {
            return Err(StartError::PanicAborts);
        }
        if let Some(name) = self.duplicate {
            return Err(StartError::DuplicateAggregate(name));
        }
        let missing = missing_resources(&self.catalog, &self.resources);
        if !missing.is_empty() {
            return Err(StartError::MissingResources(missing));
        }
        let unread = unread_events(&self.catalog, &*self.store).await?;
        if !unread.is_empty() {
            return Err(StartError::UnreadEvents(unread));
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let shards = self.options.shards.map_or_else(cores, usize::from);
        let shards = shards.clamp(1, usize::from(SLICES));
        let epochs = self.store.acquire((0..PARTITIONS).map(Partition).collect()).await?;
        let epochs: BTreeMap<Partition, Epoch> = epochs.into_iter().collect();
        let last = self.store.last_sequences((0..SLICES).map(Slice).collect()).await?;
        let catalog = Arc::new(self.catalog);
        let health = Arc::new(Health::default());
        let (phase, observed) = watch::channel(Phase::Running);
        let (finished, finishing) = watch::channel(0_usize);
        let finished = Arc::new(finished);
        let idle = Arc::new(watch::Sender::new(0));
        let (mut handles, mut boxes) = (Vec::with_capacity(shards), Vec::with_capacity(shards));
        for _ in 0..shards {
            let (handle, mailbox) = mailbox(self.options.mailbox_capacity, self.options.max_held_bytes);
            handles.push(handle);
            boxes.push(mailbox);
        }
        // another clock has timers of its own
        let timers = self.clock.is_none();
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        // without a thread each ask has a timer of the clock
        let timers = timers.then(|| Timers::new(Arc::clone(&clock)).ok()).flatten();
        let router = Arc::new(Router::new(
            Arc::clone(&catalog),
            handles,
            Arc::clone(&clock),
            Arc::clone(&self.seed),
            timers,
            &self.options,
            self.store.is_durable(),
        ));
        for (index, mailbox) in boxes.into_iter().enumerate() {
            let mut sequences = Sequences::new();
            for (slice, last) in last.iter().filter(|(slice, _)| usize::from(slice.0) % shards == index) {
                sequences.set(*slice, *last);
            }
            let shard = Shard::new(Parts {
                options: self.options.clone(),
                kinds: catalog.kinds().to_vec(),
                store: Arc::clone(&self.store),
                clock: Arc::clone(&clock),
                seed: Arc::clone(&self.seed),
                // a set of its own for each shard: a count of references that all of them change at each decision is slow.
                // The router is what a handler's context makes a client of.
                resources: self.resources.clone().with(Arc::clone(&router)),
                health: Arc::clone(&health),
                mailbox,
                shards,
                sequences,
                epochs: (0..PARTITIONS).map(|p| epochs.get(&Partition(p)).copied()).collect(),
                phase: observed.clone(),
                idle: Idle::new(Arc::clone(&idle), shards),
            });
            let end = End(Arc::clone(&finished), Arc::clone(&health));
            (self.spawn)(Box::pin(async move {
                shard.run().await;
                drop(end);
            }));
        }
        Ok(Engine { router, catalog, health, phase, finishing, shards, clock })
    }
}

/// How long a drain waits for its shards to stop after its bound.
const STOP: Duration = Duration::from_secs(1);

/// Counts a shard as finished, also when it panicked.
struct End(Arc<watch::Sender<usize>>, Arc<Health>);

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.1.crashed.store(true, Ordering::Relaxed);
        }
        self.0.send_modify(|count| *count += 1);
    }
}

fn missing_resources(catalog: &Catalog, resources: &Resources) -> Vec<String> {
    let mut missing = Vec::new();
    for kind in catalog.kinds() {
        for entry in kind.commands() {
            for need in entry.facts.needs.iter().filter(|need| !resources.has(need)) {
                missing.push(format!("`{}` for the command `{}` of `{}`", need.name, entry.facts.name, kind.name()));
            }
        }
    }
    missing
}

async fn unread_events(catalog: &Catalog, store: &dyn EventStore) -> Result<Vec<String>, StoreError> {
    let mut unread = Vec::new();
    for kind in catalog.kinds() {
        let stored = store.event_names(kind.name().into()).await?;
        unread.extend(
            stored.iter().filter(|name| !kind.reads(name)).map(|name| format!("`{name}` of `{}`", kind.name())),
        );
    }
    Ok(unread)
}

/// Aggregates at work. Dropping it stops them at once.
#[derive(Debug)]
pub struct Engine {
    pub(crate) router: Arc<Router>,
    catalog: Arc<Catalog>,
    health: Arc<Health>,
    phase: watch::Sender<Phase>,
    finishing: watch::Receiver<usize>,
    shards: usize,
    clock: Arc<dyn Clock>,
}

impl Engine {
    /// An engine over this store.
    #[must_use]
    pub fn builder(store: Arc<dyn EventStore>) -> EngineBuilder {
        EngineBuilder {
            store,
            catalog: Catalog::default(),
            duplicate: None,
            options: EngineOptions::default(),
            clock: None,
            seed: Arc::new(SplitMix::from_entropy()),
            resources: Resources::default(),
            spawn: Arc::new(|task| {
                tokio::spawn(task);
            }),
        }
    }

    /// The names that it knows.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// How many shards it has.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Takes nothing new, finishes what is there, and stops. What is not finished within `bound` is left: its callers
    /// get an error that says so. Says whether all was finished.
    ///
    /// # Cancel safety
    /// Dropping the future stops the engine at once.
    pub async fn drain(self, bound: Duration) -> bool {
        self.phase.send_replace(Phase::Draining);
        let shards = self.shards;
        let mut finishing = self.finishing.clone();
        let all = Box::pin(async move {
            // the senders live in the shards: an error means that none is left
            let _ = finishing.wait_for(|count| *count >= shards).await;
        });
        let finished = matches!(select(all, self.clock.sleep(bound)).await, Either::Left(_));
        // a handler that blocks its thread can't be stopped: whoever drains must still get on
        let clock = Arc::clone(&self.clock);
        let stopped = select(Box::pin(self.stop()), clock.sleep(STOP)).await;
        finished && matches!(stopped, Either::Left(_))
    }

    /// Stops at once. What was told is durable; who was not told gets an error.
    ///
    /// # Cancel safety
    /// The engine stops also when the future is dropped.
    pub async fn stop(self) {
        self.phase.send_replace(Phase::Stopped);
        let shards = self.shards;
        let mut finishing = self.finishing.clone();
        // an error means that no shard is left
        let _ = finishing.wait_for(|count| *count >= shards).await;
    }
}
