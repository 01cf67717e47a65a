//! The store over a store and an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_64;

use super::Moved;
use super::port::Archive;
use super::whole::ArchiveReader;
use crate::domain::id::{AggregateId, Dedup, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::port::{
    Batch, Epoch, EventStore, KnownKeys, Lane, Load, Loaded, Partition, Position, Snapshot, SnapshotInfo, StoreError,
    StoredEvent, StoredOutcome, StreamId, fills_page,
};
use crate::event_store::rules::Room;

/// How many blocks of a stream are moved after a snapshot of it: a long stream that comes to an archive late keeps none
/// of the few who tidy up for long, and goes on after its next snapshots.
const MOST_RETAINED: u64 = 32;

/// How many streams can be moved at the same time.
const MOVES: usize = 64;

/// An event store over an event store and an archive: nobody who reads sees what is in the archive and what is not.
///
/// Appends go straight to the store, and what is read costs a look at each event's codec, unless it is archived.
#[derive(Debug)]
pub struct Archived {
    store: Arc<dyn EventStore>,
    blocks: ArchiveReader,
    /// A stream is moved by one at a time; streams share these.
    moving: Vec<Mutex<()>>,
}

impl Archived {
    /// Over a store and its archive.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, archive: Arc<dyn Archive>) -> Self {
        Self::over(store, Some(archive))
    }

    /// Over a store that has no archive, or has none any more: what is in one is told as missing, and nothing moves.
    #[must_use]
    pub fn without_archive(store: Arc<dyn EventStore>) -> Self {
        Self::over(store, None)
    }

    fn over(store: Arc<dyn EventStore>, archive: Option<Arc<dyn Archive>>) -> Self {
        let moving = (0..MOVES).map(|_| Mutex::new(())).collect();
        let read = Arc::clone(&store);
        let blocks = ArchiveReader::new(
            archive,
            Box::new(move |stream, version| {
                let store = Arc::clone(&read);
                Box::pin(async move { store.read_stream(stream, version, 1).await })
            }),
        );
        Self { store, blocks, moving }
    }

    /// The archive, if there is one.
    #[must_use]
    pub fn archive_port(&self) -> Option<&dyn Archive> {
        self.blocks.archive()
    }

    pub(super) fn store(&self) -> &dyn EventStore {
        &*self.store
    }

    pub(super) fn blocks(&self) -> &ArchiveReader {
        &self.blocks
    }

    /// Waits until nobody else moves the stream.
    pub(super) async fn alone(&self, stream: &StreamId) -> Option<MutexGuard<'_, ()>> {
        let hash = usize::from(xxh3_64(stream.id.as_str().as_bytes()).to_le_bytes()[0]);
        match self.moving.get(hash % MOVES) {
            Some(moving) => Some(moving.lock().await),
            None => None,
        }
    }
}

// every method says where it goes: a default of the port would forget what the store does
#[deny(clippy::missing_trait_methods, reason = "the store under it may have a better one")]
impl EventStore for Archived {
    fn name(&self) -> String {
        match self.blocks.archive() {
            Some(archive) => format!("{}, archive: {}", self.store.name(), archive.name()),
            None => self.store.name(),
        }
    }

    fn is_durable(&self) -> bool {
        self.store.is_durable()
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        self.store.partitions(wanted)
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        self.store.acquire(partitions)
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.append(batch)
    }

    fn append_in(&self, lane: Lane, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.append_in(lane, batch)
    }

    fn lanes(&self) -> u16 {
        self.store.lanes()
    }

    fn lane(&self, slice: Slice) -> Lane {
        self.store.lane(slice)
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        self.store.last_sequences(slices)
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(async move {
            let mut found = self.store.read_stream(stream, from, limit).await?;
            self.blocks.whole(&mut found).await?;
            Ok(found)
        })
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        Box::pin(async move {
            let (mut found, mut position) = self.store.read_all(position, limit).await?;
            self.blocks.whole_up_to(&mut found, &mut position).await?;
            Ok((found, position))
        })
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        Box::pin(async move {
            let mut found = self.store.outcomes(commands.clone()).await?;
            let asked = commands.into_iter().map(|(stream, _)| stream);
            let stored = asked.zip(&mut found).filter_map(|(stream, outcome)| Some((stream, outcome.as_mut()?)));
            self.blocks.told(stored).await?;
            Ok(found)
        })
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        self.store.known_keys(stream, limit)
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.put_snapshot(snapshot)
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        self.store.snapshot(stream, at_most)
    }

    fn load(&self, loads: Vec<Load>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        Box::pin(async move {
            let mut found = self.store.load(loads).await?;
            let mut room = Room::default();
            for loaded in &mut found {
                if loaded.events.iter().any(StoredEvent::is_archived) {
                    if room.is_full() {
                        *loaded = Loaded::left_out();
                        continue;
                    }
                    let count = loaded.events.len();
                    self.blocks.whole(&mut loaded.events).await?;
                    loaded.cut |= loaded.events.len() < count || fills_page(&loaded.events);
                }
                room.takes(loaded.bytes());
            }
            Ok(found)
        })
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        self.store.snapshots(stream)
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.drop_snapshots(stream, below)
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.strip(stream, up_to)
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.refill(events)
    }

    fn retain(&self, stream: StreamId, from: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.blocks.archive().is_some() && from > 1 {
                let Moved { events, blocks, up_to } =
                    self.archive_some(stream.clone(), from - 1, MOST_RETAINED).await?;
                tracing::debug!(%stream, events, blocks, up_to, "moved to the archive");
            }
            Ok(())
        })
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        self.store.event_names(aggregate)
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        self.store.ids(aggregate, after, limit)
    }

    fn letters(&self) -> Option<&dyn Letters> {
        self.store.letters()
    }
}
