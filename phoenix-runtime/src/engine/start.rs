//! Building, starting, draining and stopping an engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::watch;

use crate::clock::SystemClock;
use crate::domain::aggregate::Aggregate;
use crate::domain::context::Resources;
use crate::domain::id::SLICES;
use crate::domain::ports::{BoxFuture, Clock, Seed, SplitMix};
use crate::engine::batch::Sequences;
use crate::engine::catalog::Catalog;
use crate::engine::forward::Forward;
use crate::engine::health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::idle::Idle;
use crate::engine::mailbox::mailbox;
use crate::engine::options::EngineOptions;
use crate::engine::ownership::{Owning, Partitions, Standing, Taken, controls};
use crate::engine::router::Router;
use crate::engine::shard::{Parts, Phase, Shard};
use crate::engine::timers::Timers;
use crate::event_store::port::{EventStore, Partition, StoreError};

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
    /// A number of partitions that can't be.
    #[error("`partitions` is {0}, and it must be 1 to {SLICES}")]
    PartitionCount(u16),
    /// The store was made for another number of partitions: with two numbers two nodes could own one aggregate.
    #[error(
        "`partitions` is {wanted}, and this event store has {stored}: the first start fixed that, for all nodes; set \
         `partitions` to {stored}"
    )]
    OtherPartitions {
        /// How many the store has.
        stored: u16,
        /// How many were asked for.
        wanted: u16,
    },
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
    owning: Owning,
    forward: Option<Arc<dyn Forward>>,
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

    /// What it owns when it starts: everything, unless somebody deals the partitions.
    #[must_use]
    pub fn owning(mut self, owning: Owning) -> Self {
        self.owning = owning;
        self
    }

    /// Sends messages for aggregates that this node does not own to their owners, instead of refusing them.
    #[must_use]
    pub fn forward(mut self, forward: Arc<dyn Forward>) -> Self {
        self.forward = Some(forward);
        self
    }

    /// Takes what it shall own and starts the shards. Whoever had that before can append to it no more.
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
        let wanted = self.options.partitions;
        if !(1..=SLICES).contains(&wanted) {
            return Err(StartError::PartitionCount(wanted));
        }
        let stored = self.store.partitions(wanted).await?;
        if stored != wanted {
            return Err(StartError::OtherPartitions { stored, wanted });
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let shards = self.options.shards.map_or_else(cores, usize::from);
        let shards = shards.clamp(1, usize::from(SLICES));
        let mine = match self.owning {
            Owning::All => (0..wanted).map(Partition).collect(),
            Owning::Nothing => BTreeSet::new(),
        };
        let taken = Taken::acquire(&*self.store, mine, wanted).await?;
        let catalog = Arc::new(self.catalog);
        let health = Arc::new(Health::default());
        let standing = Arc::new(Standing::new(wanted, Arc::clone(&health)));
        standing.taken(&taken.epochs);
        let (words, controls) = controls(shards);
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
        for (mailbox, control) in boxes.into_iter().zip(controls) {
            let (mut sequences, mut holdings) = (Sequences::new(), Holdings::new(wanted));
            taken.last.iter().for_each(|(slice, last)| sequences.set(*slice, *last));
            taken.epochs.iter().for_each(|(partition, epoch)| holdings.hold(*partition, *epoch));
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
                holdings,
                standing: Arc::clone(&standing),
                control,
                forward: self.forward.clone(),
                phase: observed.clone(),
                idle: Idle::new(Arc::clone(&idle), shards),
            });
            let end = End(Arc::clone(&finished), Arc::clone(&health));
            (self.spawn)(Box::pin(async move {
                shard.run().await;
                drop(end);
            }));
        }
        let partitions = Partitions::new(wanted, self.store, Arc::clone(&clock), standing, words);
        Ok(Engine { router, catalog, health, phase, finishing, shards, clock, partitions })
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
    partitions: Partitions,
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
            owning: Owning::default(),
            forward: None,
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

    /// Its partitions, for whoever takes them and gives them back.
    #[must_use]
    pub fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// Takes partitions; see [`Partitions::take`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn take(&self, partitions: impl IntoIterator<Item = Partition>) -> Result<(), StoreError> {
        self.partitions.take(partitions).await
    }

    /// Gives partitions back; see [`Partitions::give_back`].
    ///
    /// # Cancel safety
    /// As there.
    pub async fn give_back(&self, partitions: impl IntoIterator<Item = Partition>, bound: Duration) -> bool {
        self.partitions.give_back(partitions, bound).await
    }

    /// The partitions that it believes to own; see [`Partitions::owned`].
    #[must_use]
    pub fn owned(&self) -> watch::Receiver<Arc<BTreeSet<Partition>>> {
        self.partitions.owned()
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
