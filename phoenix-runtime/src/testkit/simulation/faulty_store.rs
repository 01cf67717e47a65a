//! A store that fails as networks and disks do, by a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::id::{AggregateId, Dedup, MessageId, SLICES, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::port::{
    Batch, Conflict, ConflictKind, Epoch, EventStore, KnownKeys, Lane, Load, Loaded, Partition, Position, Snapshot,
    SnapshotInfo, StoreError, StoredEvent, StoredOutcome, StreamId,
};
use crate::testkit::lane_map::LaneMap;
use crate::testkit::simulation::executor::{Simulation, TaskGroup};

/// How often things go wrong: once in so many calls, 0 for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// A call fails before anything is written.
    pub before: u64,
    /// An append is written, and the answer is lost.
    pub after: u64,
    /// The connection is torn: the answer is lost, and what was sent arrives later, or never.
    pub torn: u64,
    /// An append is told of a conflict that is not there.
    pub conflict: u64,
    /// A call takes long.
    pub slow: u64,
    /// The longest that a slow call takes.
    pub slowest: Duration,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self =
        Self { before: 0, after: 0, torn: 0, conflict: 0, slow: 0, slowest: Duration::from_millis(50) };

    /// A bad day.
    pub const MANY: Self =
        Self { before: 12, after: 12, torn: 16, conflict: 12, slow: 4, slowest: Duration::from_millis(200) };
}

/// A store in a simulated world that fails now and then.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn EventStore>,
    world: Simulation,
    faults: Faults,
    lanes: LaneMap,
    /// Databases that do not answer.
    down: Arc<Mutex<BTreeSet<Lane>>>,
    /// Where torn requests go on: the database's side, which a killed client does not take along.
    remote: TaskGroup,
    healthy: Arc<AtomicBool>,
    /// Slices that the node of this handle has given back.
    given_back: Arc<Mutex<BTreeSet<Slice>>>,
    /// The first commands of batches that were sent: a conflict that is not there is told to new ones only.
    sent: Arc<Mutex<Vec<MessageId>>>,
    breaches: Arc<Mutex<Vec<String>>>,
}

impl FaultyStore {
    /// Fails as `faults` says, over `inner`, which plays as many databases as there are lanes.
    #[must_use]
    pub fn new(inner: Arc<dyn EventStore>, world: &Simulation, faults: Faults, lanes: LaneMap) -> Self {
        let remote = world.group();
        let healthy = Arc::new(AtomicBool::new(false));
        Self {
            inner,
            world: world.clone(),
            faults,
            lanes,
            down: Arc::default(),
            remote,
            healthy,
            given_back: Arc::default(),
            sent: Arc::default(),
            breaches: Arc::default(),
        }
    }

    /// The same store, as another node has it.
    #[must_use]
    pub fn for_node(&self) -> Self {
        Self { given_back: Arc::default(), ..self.clone() }
    }

    /// From now on the node of this handle stores nothing of a partition, of so many: it has given it back, and finished
    /// everything.
    pub fn given_back(&self, partition: Partition, count: u16) {
        let slices = (0..SLICES).map(Slice).filter(|slice| Partition::of(*slice, count) == partition);
        self.not_mine().extend(slices);
    }

    /// The node of this handle is about to take a partition.
    pub fn taken(&self, partition: Partition, count: u16) {
        self.not_mine().retain(|slice| Partition::of(*slice, count) != partition);
    }

    fn not_mine(&self) -> MutexGuard<'_, BTreeSet<Slice>> {
        self.given_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_owner(&self, batch: &Batch) {
        let not_mine = self.not_mine();
        if let Some(record) = batch.records.iter().find(|record| not_mine.contains(&record.slice)) {
            let text = format!("an event of {} from a node that has given it back", record.stream);
            self.breaches.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.healthy.store(true, Ordering::Relaxed);
        self.down().clear();
    }

    /// From now on the database of this lane is down.
    pub fn stop(&self, lane: Lane) {
        self.down().insert(lane);
    }

    /// The database of this lane is up again.
    pub fn restart(&self, lane: Lane) {
        self.down().remove(&lane);
    }

    fn down(&self) -> MutexGuard<'_, BTreeSet<Lane>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_up(&self, lane: Lane) -> Result<(), StoreError> {
        if self.down().contains(&lane) {
            return Err(StoreError::Unavailable("simulated: the database is down".to_owned()));
        }
        Ok(())
    }

    /// What the store was asked for that its port forbids.
    #[must_use]
    pub fn breaches(&self) -> Vec<String> {
        self.breaches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A snapshot is of a durable version, or it would outlive what it holds.
    async fn check_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let event = self.inner.read_stream(snapshot.stream.clone(), snapshot.version, 1).await?;
        if event.is_empty() {
            let text =
                format!("a snapshot of {} at version {}, which is not durable", snapshot.stream, snapshot.version);
            self.breaches.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        Ok(())
    }

    /// What is let go below a version needs a snapshot of that version or a newer one to stand for it, a durable one.
    async fn check_standing(&self, stream: &StreamId, version: u64, what: &str) -> Result<(), StoreError> {
        let mut stands = false;
        for info in self.inner.snapshots(stream.clone()).await?.into_iter().filter(|info| info.version >= version) {
            stands |= !self.inner.read_stream(stream.clone(), info.version, 1).await?.is_empty();
        }
        if !stands {
            let text =
                format!("{what} of {stream} below {version} are let go, and no durable snapshot stands for them");
            self.breaches.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        Ok(())
    }

    fn happens(&self, once_in: u64) -> bool {
        once_in > 0 && !self.healthy.load(Ordering::Relaxed) && self.world.once_in(once_in)
    }

    fn random_delay(&self) -> Duration {
        let micros = u64::try_from(self.faults.slowest.as_micros()).unwrap_or(1);
        Duration::from_micros(1 + self.world.below(micros))
    }

    async fn latency(&self) {
        if self.happens(self.faults.slow) {
            self.world.sleep(self.random_delay()).await;
        } else if self.world.once_in(2) {
            self.world.yield_now().await;
        }
    }

    async fn read(&self, streams: impl IntoIterator<Item = &StreamId>) -> Result<(), StoreError> {
        self.latency().await;
        for stream in streams {
            self.is_up(self.lanes.lane_of(stream))?;
        }
        if self.happens(self.faults.before) {
            return Err(StoreError::Unavailable("simulated: connection refused".to_owned()));
        }
        Ok(())
    }

    /// What the database itself does, when the batch has come to it.
    async fn apply(&self, lane: Lane, batch: Arc<Batch>) -> Result<(), StoreError> {
        self.lanes.check(lane, &batch)?;
        self.inner.append(batch).await
    }

    pub(super) fn inner(&self) -> &Arc<dyn EventStore> {
        &self.inner
    }

    /// Before a question to the first database.
    pub(super) async fn question(&self) -> Result<(), StoreError> {
        self.latency().await;
        self.is_up(Lane(0))?;
        if self.happens(self.faults.before) {
            return Err(StoreError::Unavailable("simulated: connection refused".to_owned()));
        }
        Ok(())
    }

    /// Changes something in the first database that is not fenced.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(Arc<dyn EventStore>) -> BoxFuture<'static, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.question().await?;
        if self.happens(self.faults.torn) {
            if self.world.once_in(2) {
                let (store, world, delay) = (Arc::clone(&self.inner), self.world.clone(), self.random_delay());
                self.world.spawn(self.remote, async move {
                    world.sleep(delay).await;
                    // nobody waits for what becomes of it
                    let _ = change(store).await;
                });
            }
            return Err(StoreError::Unknown("simulated: connection reset".to_owned()));
        }
        let outcome = change(Arc::clone(&self.inner)).await;
        self.latency().await;
        if outcome.is_ok() && self.happens(self.faults.after) {
            return Err(StoreError::Unknown("simulated: connection reset".to_owned()));
        }
        outcome
    }

    fn is_new(&self, batch: &Batch) -> bool {
        let first = batch.records.iter().find_map(|r| r.command.as_ref()).map(|c| c.id);
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        first.is_some_and(|first| {
            let new = !sent.contains(&first);
            if new {
                sent.push(first);
            }
            new
        })
    }

    async fn faulty_append(&self, lane: Lane, batch: Arc<Batch>) -> Result<(), StoreError> {
        self.check_owner(&batch);
        self.latency().await;
        self.is_up(lane)?;
        if self.is_new(&batch) && self.happens(self.faults.conflict) {
            return Err(StoreError::Conflict(vec![Conflict { index: 0, kind: ConflictKind::Version }]));
        }
        if self.happens(self.faults.before) {
            return Err(StoreError::Unavailable("simulated: connection refused".to_owned()));
        }
        if self.happens(self.faults.torn) {
            if self.world.once_in(2) {
                let (store, world, delay) = (self.clone(), self.world.clone(), self.random_delay());
                self.world.spawn(self.remote, async move {
                    world.sleep(delay).await;
                    // nobody waits for what becomes of it
                    let _ = store.apply(lane, batch).await;
                });
            }
            return Err(StoreError::Unknown("simulated: connection reset".to_owned()));
        }
        let outcome = self.apply(lane, batch).await;
        self.latency().await;
        if outcome.is_ok() && self.happens(self.faults.after) {
            return Err(StoreError::Unknown("simulated: connection reset after the commit".to_owned()));
        }
        outcome
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?}, {:?})", self.inner, self.faults)
    }
}

impl EventStore for FaultyStore {
    fn name(&self) -> String {
        format!("faulty {}", self.inner.name())
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        self.inner.partitions(wanted)
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        self.inner.acquire(partitions)
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        let lane = batch.records.first().map_or_else(Lane::default, |record| self.lanes.lane(record.slice));
        self.append_in(lane, batch)
    }

    fn append_in(&self, lane: Lane, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.faulty_append(lane, batch))
    }

    fn lanes(&self) -> u16 {
        self.lanes.lanes()
    }

    fn lane(&self, slice: Slice) -> Lane {
        self.lanes.lane(slice)
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        self.inner.last_sequences(slices)
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(async move {
            self.read([&stream]).await?;
            self.inner.read_stream(stream, from, limit).await
        })
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        Box::pin(async move {
            self.read([]).await?;
            self.inner.read_all(position, limit).await
        })
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        Box::pin(async move {
            self.read(commands.iter().map(|(stream, _)| stream)).await?;
            self.inner.outcomes(commands).await
        })
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        Box::pin(async move {
            self.read([&stream]).await?;
            self.inner.known_keys(stream, limit).await
        })
    }

    fn load(&self, loads: Vec<Load>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        Box::pin(async move {
            self.read(loads.iter().map(|load| &load.stream)).await?;
            self.inner.load(loads).await
        })
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.check_snapshot(&snapshot).await?;
            self.read([&snapshot.stream]).await?;
            self.inner.put_snapshot(snapshot).await
        })
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        Box::pin(async move {
            self.read([&stream]).await?;
            self.inner.snapshot(stream, at_most).await
        })
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        Box::pin(async move {
            self.read([&stream]).await?;
            self.inner.snapshots(stream).await
        })
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            self.read([&stream]).await?;
            self.check_standing(&stream, below, "snapshots").await?;
            self.inner.drop_snapshots(stream, below).await
        })
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.strip(stream, up_to)
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.refill(events)
    }

    fn retain(&self, stream: StreamId, from: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.read([&stream]).await?;
            self.check_standing(&stream, from, "events").await?;
            self.inner.retain(stream, from).await
        })
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        self.inner.event_names(aggregate)
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        self.inner.ids(aggregate, after, limit)
    }

    fn letters(&self) -> Option<&dyn Letters> {
        self.inner.letters().map(|_| self as &dyn Letters)
    }
}
