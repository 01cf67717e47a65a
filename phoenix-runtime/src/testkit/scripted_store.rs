//! A store that does what a test says: holds calls back, fails the next one, loses an answer, refuses a record, and
//! remembers what it was asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::id::{AggregateId, Dedup, SLICES, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::port::{
    Batch, Epoch, EventStore, KnownKeys, Lane, Load, Loaded, Partition, Position, Record, Snapshot, SnapshotInfo,
    StoreError, StoredEvent, StoredOutcome, StreamId, one_by_one,
};
use crate::testkit::lane_map::LaneMap;

/// The calls of the port that can be scripted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// [`EventStore::acquire`].
    Acquire,
    /// [`EventStore::append`].
    Append,
    /// [`EventStore::last_sequences`].
    LastSequences,
    /// [`EventStore::read_stream`].
    ReadStream,
    /// [`EventStore::outcomes`].
    Outcomes,
    /// [`EventStore::load`]; it goes on as the single questions that it stands for.
    Load,
    /// [`EventStore::known_keys`].
    KnownKeys,
    /// [`EventStore::put_snapshot`].
    PutSnapshot,
    /// [`EventStore::snapshot`].
    Snapshot,
    /// [`EventStore::snapshots`].
    Snapshots,
    /// [`EventStore::drop_snapshots`].
    DropSnapshots,
    /// [`EventStore::retain`].
    Retain,
    /// [`EventStore::event_names`].
    EventNames,
    /// [`Letters::bury`].
    Bury,
}

/// What a call does instead of what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Does nothing and fails.
    Fail(StoreError),
    /// Is done, and its answer is lost: [`StoreError::Unknown`].
    Lose,
}

/// An append that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Where.
    pub lane: Lane,
    /// What was to be appended.
    pub batch: Arc<Batch>,
    /// The answer.
    pub outcome: Result<(), StoreError>,
}

/// What stands at the door of the store.
#[derive(Debug, Default)]
struct Doors {
    /// How many calls of a held kind may still pass.
    held: BTreeMap<Call, u64>,
    streams: BTreeSet<String>,
    /// Databases that do not answer.
    lanes: BTreeSet<Lane>,
}

type Refuses = Box<dyn Fn(&Record) -> bool + Send + Sync>;

#[derive(Default)]
struct Script {
    steps: BTreeMap<Call, VecDeque<Step>>,
    refuses: Option<Refuses>,
    calls: BTreeMap<Call, u64>,
    appended: Vec<Appended>,
    in_flight: usize,
    most_in_flight: usize,
    events_read: u64,
    asked_about: u64,
    retained: Vec<(StreamId, u64)>,
    /// What reads of aggregates with these ids fail with.
    fails: BTreeMap<String, StoreError>,
}

/// A store that does what a test says, over another one. Clones are the same store.
#[derive(Clone)]
pub struct ScriptedStore {
    inner: Arc<dyn EventStore>,
    lanes: LaneMap,
    doors: Arc<watch::Sender<Doors>>,
    script: Arc<Mutex<Script>>,
}

impl ScriptedStore {
    /// Does what `inner` does until it is told otherwise.
    #[must_use]
    pub fn new(inner: Arc<dyn EventStore>) -> Self {
        Self::with_lanes(inner, LaneMap::new(1))
    }

    /// Plays several databases over one.
    #[must_use]
    pub fn with_lanes(inner: Arc<dyn EventStore>, lanes: LaneMap) -> Self {
        Self { inner, lanes, doors: Arc::new(watch::Sender::new(Doors::default())), script: Arc::default() }
    }

    /// Which slice is in which lane.
    #[must_use]
    pub fn lane_map(&self) -> &LaneMap {
        &self.lanes
    }

    pub(super) fn inner(&self) -> &dyn EventStore {
        &*self.inner
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a step: the next call of this kind that has no other step does it.
    pub fn next(&self, call: Call, step: Step) {
        self.script().steps.entry(call).or_default().push_back(step);
    }

    /// From now on records that `refuses` picks can't be stored.
    pub fn refuse(&self, refuses: impl Fn(&Record) -> bool + Send + Sync + 'static) {
        self.script().refuses = Some(Box::new(refuses));
    }

    /// From now on calls of this kind wait at the door.
    pub fn hold(&self, call: Call) {
        self.doors.send_modify(|doors| _ = doors.held.insert(call, 0));
    }

    /// Lets so many held calls of this kind pass.
    pub fn pass(&self, call: Call, count: u64) {
        self.doors.send_modify(|doors| *doors.held.entry(call).or_default() += count);
    }

    /// Opens the door for calls of this kind.
    pub fn release(&self, call: Call) {
        self.doors.send_modify(|doors| _ = doors.held.remove(&call));
    }

    /// From now on reads of the aggregates with this id wait at the door: they stay cold. A load of several that has one
    /// of them is refused, as by a store that has all but one.
    pub fn hold_stream(&self, id: &str) {
        self.doors.send_modify(|doors| _ = doors.streams.insert(id.to_owned()));
    }

    /// From now on the database of this lane does not answer: appends and reads of its slices wait.
    pub fn hold_lane(&self, lane: Lane) {
        self.doors.send_modify(|doors| _ = doors.lanes.insert(lane));
    }

    /// Lets the database of this lane answer again.
    pub fn release_lane(&self, lane: Lane) {
        self.doors.send_modify(|doors| _ = doors.lanes.remove(&lane));
    }

    /// From now on reads of the aggregates with this id fail, and so does whatever is asked together with them.
    pub fn fail_stream(&self, id: &str, error: StoreError) {
        self.script().fails.insert(id.to_owned(), error);
    }

    /// Lets the aggregates with this id be read again.
    pub fn mend_stream(&self, id: &str) {
        self.script().fails.remove(id);
    }

    fn check_streams<'a>(&self, asked: impl Iterator<Item = &'a StreamId>) -> Result<(), StoreError> {
        for stream in asked {
            if self.lanes.is_away(stream) {
                return Err(StoreError::Unavailable(format!("scripted: the slice of {stream} is on its way")));
            }
            if let Some(error) = self.script().fails.get(stream.id.as_str()) {
                return Err(error.clone());
            }
        }
        Ok(())
    }

    /// Lets the aggregates with this id be read.
    pub fn release_stream(&self, id: &str) {
        self.doors.send_modify(|doors| _ = doors.streams.remove(id));
    }

    /// How many calls of this kind there were, those at the door included.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.script().calls.get(&call).copied().unwrap_or_default()
    }

    /// The appends that were answered, in the order of their answers.
    #[must_use]
    pub fn appended(&self) -> Vec<Appended> {
        self.script().appended.clone()
    }

    /// How many appends were refused for rows that were in conflict.
    #[must_use]
    pub fn conflicts(&self) -> usize {
        self.script().appended.iter().filter(|a| matches!(a.outcome, Err(StoreError::Conflict(_)))).count()
    }

    /// How many appends there were at one time, at most.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.script().most_in_flight
    }

    /// How many events were read from streams.
    #[must_use]
    pub fn events_read(&self) -> u64 {
        self.script().events_read
    }

    /// Which events were said to be needed no more, in order: those of the stream below the version.
    #[must_use]
    pub fn retained(&self) -> Vec<(StreamId, u64)> {
        self.script().retained.clone()
    }

    /// How many outcomes were asked for.
    #[must_use]
    pub fn asked_about(&self) -> u64 {
        self.script().asked_about
    }

    /// Counts the call and waits at the door.
    async fn arrive(&self, call: Call, stream: Option<&StreamId>, lane: Option<Lane>) {
        *self.script().calls.entry(call).or_default() += 1;
        let mut seen = self.doors.subscribe();
        loop {
            let mut passes = false;
            self.doors.send_if_modified(|doors| {
                let known = stream.is_none_or(|stream| !doors.streams.contains(stream.id.as_str()));
                let answers = lane.is_none_or(|lane| !doors.lanes.contains(&lane));
                passes = known
                    && answers
                    && match doors.held.get_mut(&call) {
                        None => true,
                        Some(0) => false,
                        Some(left) => {
                            *left -= 1;
                            true
                        }
                    };
                false
            });
            if passes || seen.changed().await.is_err() {
                return;
            }
        }
    }

    fn step(&self, call: Call) -> Option<Step> {
        self.script().steps.get_mut(&call)?.pop_front()
    }

    /// Does a call as the script says. The store below hears of it only when it has passed the door.
    pub(super) async fn play<'a, T>(
        &'a self,
        call: Call,
        stream: Option<&StreamId>,
        lane: Option<Lane>,
        work: impl FnOnce(&'a dyn EventStore) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.arrive(call, stream, lane).await;
        match self.step(call) {
            None => work(&*self.inner).await,
            Some(Step::Fail(error)) => Err(error),
            Some(Step::Lose) => {
                work(&*self.inner).await?;
                Err(StoreError::Unknown("scripted: the answer was lost".to_owned()))
            }
        }
    }

    async fn scripted_append(&self, lane: Lane, batch: Arc<Batch>) -> Result<(), StoreError> {
        let refused = self.script().refuses.as_ref().and_then(|refuses| batch.records.iter().position(refuses));
        if let Some(index) = refused {
            self.arrive(Call::Append, None, Some(lane)).await;
            return Err(StoreError::Refused { index, reason: "scripted: this record can't be stored".to_owned() });
        }
        let lanes = self.lanes.clone();
        self.play(Call::Append, None, Some(lane), |inner| {
            Box::pin(async move {
                lanes.check(lane, &batch)?;
                inner.append_in(lane, batch).await
            })
        })
        .await
    }
}

/// An append that is under way, also if nobody waits for it any more.
struct InFlight<'a>(&'a ScriptedStore);

impl<'a> InFlight<'a> {
    fn new(store: &'a ScriptedStore) -> Self {
        let mut script = store.script();
        script.in_flight += 1;
        script.most_in_flight = script.most_in_flight.max(script.in_flight);
        drop(script);
        Self(store)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.script().in_flight -= 1;
    }
}

impl fmt::Debug for ScriptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptedStore({:?})", self.inner)
    }
}

impl EventStore for ScriptedStore {
    fn name(&self) -> String {
        format!("scripted {}", self.inner.name())
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        self.inner.partitions(wanted)
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        Box::pin(self.play(Call::Acquire, None, None, |inner| inner.acquire(partitions)))
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        let lane = batch.records.first().map_or_else(Lane::default, |record| self.lanes.lane(record.slice));
        self.append_in(lane, batch)
    }

    fn append_in(&self, lane: Lane, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let in_flight = InFlight::new(self);
            let outcome = self.scripted_append(lane, Arc::clone(&batch)).await;
            drop(in_flight);
            self.script().appended.push(Appended { lane, batch, outcome: outcome.clone() });
            outcome
        })
    }

    fn lanes(&self) -> u16 {
        self.lanes.lanes()
    }

    fn lane(&self, slice: Slice) -> Lane {
        self.lanes.lane(slice)
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        let lane = slices.first().filter(|_| slices.len() < usize::from(SLICES)).map(|slice| self.lanes.lane(*slice));
        Box::pin(self.play(Call::LastSequences, None, lane, |inner| inner.last_sequences(slices)))
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(async move {
            let name = stream.clone();
            let events = self
                .play(Call::ReadStream, Some(&name), Some(self.lanes.lane_of(&name)), |inner| {
                    inner.read_stream(stream, from, limit)
                })
                .await?;
            self.script().events_read += events.len() as u64;
            Ok(events)
        })
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        self.inner.read_all(position, limit)
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        self.script().asked_about += commands.len() as u64;
        let lane = commands.first().map(|(stream, _)| self.lanes.lane_of(stream));
        Box::pin(self.play(Call::Outcomes, None, lane, move |inner| {
            Box::pin(async move {
                self.check_streams(commands.iter().map(|(stream, _)| stream))?;
                inner.outcomes(commands).await
            })
        }))
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        Box::pin(async move {
            let name = stream.clone();
            self.play(Call::KnownKeys, Some(&name), Some(self.lanes.lane_of(&name)), |inner| {
                inner.known_keys(stream, limit)
            })
            .await
        })
    }

    fn load(&self, loads: Vec<Load>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        Box::pin(async move {
            self.play(Call::Load, None, None, |_| Box::pin(ready(Ok(())))).await?;
            self.check_streams(loads.iter().map(|load| &load.stream))?;
            let is_held = |load: &Load| self.doors.borrow().streams.contains(load.stream.id.as_str());
            if loads.len() > 1 && loads.iter().any(is_held) {
                return Err(StoreError::Unavailable("scripted: one of them can't be read".to_owned()));
            }
            one_by_one(self, loads).await
        })
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        let lane = Some(self.lanes.lane_of(&snapshot.stream));
        Box::pin(self.play(Call::PutSnapshot, None, lane, |inner| inner.put_snapshot(snapshot)))
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        Box::pin(async move {
            let name = stream.clone();
            self.play(Call::Snapshot, Some(&name), Some(self.lanes.lane_of(&name)), |inner| {
                inner.snapshot(stream, at_most)
            })
            .await
        })
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        let lane = Some(self.lanes.lane_of(&stream));
        Box::pin(self.play(Call::Snapshots, None, lane, |inner| inner.snapshots(stream)))
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        let lane = Some(self.lanes.lane_of(&stream));
        Box::pin(self.play(Call::DropSnapshots, None, lane, move |inner| inner.drop_snapshots(stream, below)))
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.strip(stream, up_to)
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.refill(events)
    }

    fn retain(&self, stream: StreamId, from: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        let lane = Some(self.lanes.lane_of(&stream));
        self.script().retained.push((stream.clone(), from));
        Box::pin(self.play(Call::Retain, None, lane, move |inner| inner.retain(stream, from)))
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        self.inner.ids(aggregate, after, limit)
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        Box::pin(self.play(Call::EventNames, None, None, |inner| inner.event_names(aggregate)))
    }

    fn letters(&self) -> Option<&dyn Letters> {
        self.inner.letters().map(|_| self as &dyn Letters)
    }
}
