//! Keeps everything in memory: for tests, for measurements, and for what may be lost.

mod letters;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::ready;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use self::source::Shared;
use crate::domain::id::{AggregateId, Dedup, SLICES, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::MemoryArchive;
use crate::event_store::letters::{Book, Letters};
use crate::event_store::port::{
    ARCHIVED, Batch, Epoch, EventStore, KnownKeys, Partition, Position, Record, Snapshot, SnapshotInfo, StoreError,
    StoredEvent, StoredOutcome, StreamId,
};
use crate::event_store::rules::{self, Room, Stored};

/// An event store in memory. Clones share their contents: two engines over two clones are two nodes over one database.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Contents>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // nothing panics while the lock is held; if something did, the contents would still be whole batches
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

/// Where a record is: batches are kept as they came, and everything else points into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    batch: u32,
    index: u32,
}

struct Stream {
    hash: u64,
    id: StreamId,
    /// The event of version v is at v - 1.
    events: Vec<Place>,
    commands: Vec<Place>,
}

struct Key {
    hash: u64,
    place: Place,
}

struct Contents {
    hasher: RandomState,
    epochs: BTreeMap<Partition, Epoch>,
    partitions: Option<u16>,
    batches: Vec<Arc<Batch>>,
    /// The record of sequence number n is at n - 1.
    slices: Vec<Vec<Place>>,
    streams: HashTable<Stream>,
    keys: HashTable<Key>,
    ids: BTreeMap<Arc<str>, BTreeSet<AggregateId>>,
    snapshots: BTreeMap<StreamId, BTreeMap<u64, Snapshot>>,
    shared: Shared,
    table: MemoryArchive,
    letters: Book<Vec<u8>>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            epochs: BTreeMap::new(),
            partitions: None,
            batches: Vec::new(),
            slices: vec![Vec::new(); usize::from(SLICES)],
            streams: HashTable::new(),
            keys: HashTable::new(),
            ids: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            shared: Shared::default(),
            table: MemoryArchive::new(),
            letters: Book::default(),
        }
    }
}

impl Contents {
    fn record(&self, place: Place) -> Option<&Record> {
        record_of(&self.batches, place)
    }

    fn stream(&self, id: &StreamId) -> Option<&Stream> {
        self.streams.find(self.hasher.hash_one(id), |stream| stream.id == *id)
    }

    fn key(&self, id: &StreamId, dedup: Dedup) -> Option<&Record> {
        let hash = self.hasher.hash_one((self.hasher.hash_one(id), dedup));
        let found = self.keys.find(hash, |key| is_key(&self.batches, key.place, id, dedup))?;
        self.record(found.place)
    }

    fn append(&mut self, batch: &Arc<Batch>) -> Result<(), StoreError> {
        rules::fence(&batch.epochs, |partition| Ok(self.epoch(partition)))?;
        rules::well_formed(batch)?;
        self.shared.holds(batch)?;
        if batch.records.is_empty() { Ok(()) } else { self.take(batch) }
    }

    /// Takes a batch that may be taken, unless it is in conflict.
    fn take(&mut self, batch: &Arc<Batch>) -> Result<(), StoreError> {
        let (Ok(number), Ok(_)) = (u32::try_from(self.batches.len()), u32::try_from(batch.records.len())) else {
            return Err(StoreError::Unavailable("the memory store is full: it takes 2^32 batches".to_owned()));
        };
        // the batch goes in first, because keys are compared where they are
        self.batches.push(Arc::clone(batch));
        for (record, index) in batch.records.iter().zip(0..) {
            if !self.apply(Place { batch: number, index }, record) {
                self.undo(&batch.records, index as usize);
                self.batches.pop();
                return Err(rules::conflicts(batch, self).map_or_else(|e| e, StoreError::Conflict));
            }
        }
        Ok(())
    }

    fn record_mut(&mut self, place: Place) -> Option<&mut Record> {
        // who still reads the batch keeps its bytes
        Arc::make_mut(self.batches.get_mut(place.batch as usize)?).records.get_mut(place.index as usize)
    }

    fn strip(&mut self, stream: &StreamId, up_to: u64) -> u64 {
        let end = usize::try_from(up_to).unwrap_or(usize::MAX);
        let places = self.stream(stream).map(|stream| &stream.events[..end.min(stream.events.len())]);
        let is_whole = |place: &&Place| {
            let event = self.record(**place).and_then(|record| record.event.as_ref());
            event.is_some_and(|event| event.codec != ARCHIVED)
        };
        let whole: Vec<Place> = places.unwrap_or_default().iter().rev().take_while(is_whole).copied().collect();
        for place in &whole {
            if let Some(Record { event: Some(event), command, .. }) = self.record_mut(*place) {
                rules::strip(event, command.as_deref_mut());
            }
        }
        whole.len() as u64
    }

    fn refill(&mut self, events: Vec<StoredEvent>) -> Result<(), StoreError> {
        let mut places = Vec::new();
        for given in events {
            let index = given.event.version.checked_sub(1).and_then(|index| usize::try_from(index).ok());
            let place = index.and_then(|index| self.stream(&given.stream)?.events.get(index)).copied();
            let stored = place.and_then(|place| stored_event(self.record(place)?));
            let (Some(place), Some(stored)) = (place, stored) else { return Err(rules::not_there(&given)) };
            if rules::takes_back(&stored, &given)? {
                places.push((place, given));
            }
        }
        for (place, StoredEvent { event, command, .. }) in places {
            if let Some(record) = self.record_mut(place) {
                (record.event, record.command) = (Some(event), command);
            }
        }
        Ok(())
    }

    fn epoch(&self, partition: Partition) -> Epoch {
        self.epochs.get(&partition).copied().unwrap_or(Epoch(0))
    }

    /// Takes one record, unless it is in conflict: then nothing has changed.
    fn apply(&mut self, place: Place, record: &Record) -> bool {
        let Some(slice) = self.slices.get_mut(usize::from(record.slice.0)) else { return false };
        if slice.len() as u64 + 1 != record.sequence {
            return false;
        }
        let hash = self.hasher.hash_one(&record.stream);
        let version = record.event.as_ref().map(|event| event.version);
        let stream = match self.streams.entry(hash, |stream| stream.id == record.stream, |stream| stream.hash) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if version.is_some_and(|version| version != 1) => return false,
            Entry::Vacant(entry) => {
                let id = record.stream.clone();
                entry.insert(Stream { hash, id, events: Vec::new(), commands: Vec::new() }).into_mut()
            }
        };
        if version.is_some_and(|version| version != stream.events.len() as u64 + 1) {
            return false;
        }
        if let Some(command) = &record.command {
            let hash = self.hasher.hash_one((hash, command.dedup));
            let same = |key: &Key| is_key(&self.batches, key.place, &record.stream, command.dedup);
            match self.keys.entry(hash, same, |key| key.hash) {
                Entry::Occupied(_) => return false,
                Entry::Vacant(entry) => entry.insert(Key { hash, place }),
            };
            stream.commands.push(place);
        }
        if version.is_some() {
            if stream.events.is_empty() {
                let StreamId { aggregate, id } = record.stream.clone();
                self.ids.entry(aggregate).or_default().insert(id);
            }
            stream.events.push(place);
        }
        slice.push(place);
        true
    }

    /// Takes the first `count` of these records, which were the last ones applied, away again.
    fn undo(&mut self, records: &[Record], count: usize) {
        for record in records.iter().take(count).rev() {
            if let Some(slice) = self.slices.get_mut(usize::from(record.slice.0)) {
                slice.pop();
            }
            let hash = self.hasher.hash_one(&record.stream);
            if let Some(stream) = self.streams.find_mut(hash, |stream| stream.id == record.stream) {
                if record.event.is_some() {
                    stream.events.pop();
                    if stream.events.is_empty()
                        && let Some(ids) = self.ids.get_mut(&record.stream.aggregate)
                    {
                        ids.remove(&record.stream.id);
                    }
                }
                if record.command.is_some() {
                    stream.commands.pop();
                }
            }
            if let Some(command) = &record.command {
                let hash = self.hasher.hash_one((hash, command.dedup));
                let same = |key: &Key| is_key(&self.batches, key.place, &record.stream, command.dedup);
                if let Ok(entry) = self.keys.find_entry(hash, same) {
                    entry.remove();
                }
            }
        }
    }

    fn read_all(&self, mut position: Position, limit: usize) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        let (mut events, mut room) = (Vec::new(), Room::default());
        let order: Vec<_> = rules::reading_order(&position).collect();
        for (slice, behind) in order {
            let places = self.slices.get(usize::from(slice.0)).map_or(&[][..], Vec::as_slice);
            rules::reached(slice, behind, places.len() as u64)?;
            let start = usize::try_from(behind).unwrap_or(usize::MAX);
            for record in places.iter().skip(start).filter_map(|place| self.record(*place)) {
                if events.len() == limit {
                    return Ok((events, position));
                }
                if record.event.is_some() && !room.takes(record.bytes()) {
                    return Ok((events, position));
                }
                events.extend(stored_event(record));
                position.0.insert(slice, record.sequence);
            }
        }
        Ok((events, position))
    }

    fn known_keys(&self, stream: &StreamId, limit: usize) -> KnownKeys {
        let commands = self.stream(stream).map_or(&[][..], |stream| &stream.commands);
        let newest = commands.get(commands.len().saturating_sub(limit)..).unwrap_or_default();
        let dedup = |place: &Place| self.record(*place)?.command.as_ref().map(|command| command.dedup.short());
        KnownKeys { keys: newest.iter().filter_map(dedup).collect(), complete: commands.len() <= limit }
    }
}

fn record_of(batches: &[Arc<Batch>], place: Place) -> Option<&Record> {
    batches.get(place.batch as usize)?.records.get(place.index as usize)
}

fn is_key(batches: &[Arc<Batch>], place: Place, stream: &StreamId, dedup: Dedup) -> bool {
    record_of(batches, place).is_some_and(|record| {
        record.command.as_ref().is_some_and(|command| command.dedup == dedup) && record.stream == *stream
    })
}

fn stored_event(record: &Record) -> Option<StoredEvent> {
    Some(StoredEvent {
        stream: record.stream.clone(),
        slice: record.slice,
        sequence: record.sequence,
        time_micros: record.time_micros,
        event: record.event.clone()?,
        command: record.command.clone(),
    })
}

impl Stored for Contents {
    fn last_sequence(&mut self, slice: Slice) -> Result<u64, StoreError> {
        Ok(self.slices.get(usize::from(slice.0)).map_or(0, |places| places.len() as u64))
    }

    fn last_version(&mut self, stream: &StreamId) -> Result<u64, StoreError> {
        Ok(self.stream(stream).map_or(0, |stream| stream.events.len() as u64))
    }

    fn has_key(&mut self, stream: &StreamId, dedup: Dedup) -> Result<bool, StoreError> {
        Ok(self.key(stream, dedup).is_some())
    }
}

impl EventStore for MemoryStore {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        let mut contents = self.contents();
        let first = rules::partitions(wanted, !contents.epochs.is_empty());
        Box::pin(ready(first.map(|first| *contents.partitions.get_or_insert(first))))
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        let mut contents = self.contents();
        let raised = rules::acquired(&partitions).map(|once| {
            for partition in once {
                contents.epochs.entry(partition).or_insert(Epoch(0)).0 += 1;
            }
            let epoch = |partition| contents.epochs.get(&partition).copied().unwrap_or(Epoch(0));
            partitions.into_iter().map(|partition| (partition, epoch(partition))).collect()
        });
        Box::pin(ready(raised))
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(self.contents().append(&batch)))
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        let mut contents = self.contents();
        let last = slices.into_iter().map(|slice| Ok((slice, contents.last_sequence(slice)?)));
        Box::pin(ready(last.collect()))
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let contents = self.contents();
        let start = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        let places = contents.stream(&stream).and_then(|stream| stream.events.get(start..)).unwrap_or_default();
        let mut room = Room::default();
        let records = places.iter().take(limit).filter_map(|place| contents.record(*place));
        let events = records.take_while(|record| room.takes(record.bytes())).filter_map(stored_event);
        Box::pin(ready(Ok(events.collect())))
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        Box::pin(ready(self.contents().read_all(position, limit)))
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        let contents = self.contents();
        let outcome = |(stream, dedup)| {
            let record = contents.key(&stream, dedup)?;
            Some(StoredOutcome {
                command: record.command.as_deref()?.clone(),
                first_version: record.event.as_ref().map(|event| event.version),
                sequence: record.sequence,
            })
        };
        Box::pin(ready(Ok(commands.into_iter().map(outcome).collect())))
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        Box::pin(ready(Ok(self.contents().known_keys(&stream, limit))))
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut contents = self.contents();
        contents.snapshots.entry(snapshot.stream.clone()).or_default().insert(snapshot.version, snapshot);
        Box::pin(ready(Ok(())))
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        let contents = self.contents();
        let of_stream = contents.snapshots.get(&stream);
        let newest = of_stream.and_then(|versions| versions.range(..=at_most).next_back());
        Box::pin(ready(Ok(newest.map(|(_, snapshot)| snapshot.clone()))))
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        let contents = self.contents();
        let of_stream = contents.snapshots.get(&stream).into_iter().flat_map(|versions| versions.values().rev());
        Box::pin(ready(Ok(of_stream.map(Snapshot::info).collect())))
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        let mut contents = self.contents();
        let dropped = contents.snapshots.get_mut(&stream).map_or(0, |versions| {
            let kept = versions.split_off(&below);
            std::mem::replace(versions, kept).len() as u64
        });
        Box::pin(ready(Ok(dropped)))
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        let mut contents = self.contents();
        let settled = contents.shared.settled(stream.slice());
        Box::pin(ready(settled.map(|()| contents.strip(&stream, up_to))))
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut contents = self.contents();
        let settled = events.iter().try_for_each(|stored| contents.shared.settled(stored.stream.slice()));
        Box::pin(ready(settled.and_then(|()| contents.refill(events))))
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        let contents = self.contents();
        let records = contents.batches.iter().flat_map(|batch| &batch.records);
        let events = records.filter(|record| record.stream.aggregate == aggregate).filter_map(|r| r.event.as_ref());
        Box::pin(ready(Ok(events.map(|event| event.name.to_string()).collect())))
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        let contents = self.contents();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = contents.ids.get(&aggregate).map(|ids| ids.range((start, Bound::Unbounded)));
        Box::pin(ready(Ok(ids.into_iter().flatten().take(limit).cloned().collect())))
    }

    fn letters(&self) -> Option<&dyn Letters> {
        Some(self)
    }
}
