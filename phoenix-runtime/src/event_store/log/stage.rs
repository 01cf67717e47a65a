//! What is about to be written: frames, and what they will change in the index once they are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::address::Address;
use super::frame::Draft;
use super::hash::Hash;
use super::heads::{Fresh, Streams};
use super::index::Changes;
use super::path::Path;
use super::run::Entry;
use super::shared::{Reading, Shared};
use super::unit::{Kept, KeptView, Links, put_dealt, put_epochs, put_freed, put_refilled};
use crate::domain::id::{Dedup, SLICES, Slice};
use crate::event_store::encoding::View;
use crate::event_store::port::{Batch, Epoch, Partition, Record, Snapshot, StoreError, StoredEvent, StreamId};
use crate::event_store::rules::{self, Stored};

/// Why a batch was not staged.
pub(super) enum Refusal {
    /// A row of it is in conflict.
    Conflict,
    Failed(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// More bytes than a record and its unit take.
pub(super) fn bound(view: &View<'_>) -> usize {
    let event = view.event.map_or(0, |event| event.name.len() + event.payload.len());
    let command = view.command.map_or(0, |command| {
        let texts = [command.key, command.correlation_id, command.causation_id];
        command.name.len() + command.body.len() + texts.into_iter().flatten().map(str::len).sum::<usize>()
    });
    // the links, and all numbers and lengths
    256 + view.aggregate.len() + view.id.len() + event + command
}

pub(super) struct Stage {
    pub(super) draft: Draft,
    pub(super) streams: Streams,
    changes: Changes,
    /// The end of the log as far as it is durable.
    durable: Address,
    epochs: BTreeMap<Partition, Epoch>,
    partitions: Option<u16>,
    slices: Vec<Option<Path>>,
    /// Keys of records that are staged.
    fresh: Fresh,
    /// What is staged of what is kept of streams.
    kept: HashMap<u128, Kept, RandomState>,
    /// Names of events that the index has.
    names: HashMap<Arc<str>, HashSet<Arc<str>, RandomState>, RandomState>,
}

impl Stage {
    /// Goes on at the end of the index.
    pub(super) fn new(shared: &Shared, streams: usize) -> Self {
        let index = shared.index();
        Self {
            draft: Draft::new(index.state.end),
            streams: Streams::new(streams),
            changes: Changes::default(),
            durable: index.state.end,
            epochs: index.state.epochs.clone(),
            partitions: index.state.partitions,
            slices: vec![None; usize::from(SLICES)],
            fresh: Fresh::default(),
            kept: HashMap::default(),
            names: HashMap::default(),
        }
    }

    /// The epoch of a partition.
    pub(super) fn epoch(&self, partition: Partition) -> Epoch {
        self.epochs.get(&partition).copied().unwrap_or(Epoch(0))
    }

    /// How many partitions there are; from now on as many as are wanted, if nobody has fixed that.
    pub(super) fn partitions(&mut self, wanted: u16) -> Result<u16, StoreError> {
        let first = rules::partitions(wanted, !self.epochs.is_empty())?;
        if let Some(count) = self.partitions {
            return Ok(count);
        }
        self.draft.begin();
        self.draft.unit(|bytes, _| put_dealt(first, bytes));
        self.draft.finish(self.durable);
        self.changes.partitions = Some(first);
        self.partitions = Some(first);
        Ok(first)
    }

    pub(super) fn acquire(&mut self, partitions: &BTreeSet<Partition>) {
        let raise = |partition: &Partition| {
            let epoch = self.epochs.entry(*partition).or_insert(Epoch(0));
            epoch.0 += 1;
            (*partition, *epoch)
        };
        let raised: Vec<_> = partitions.iter().map(raise).collect();
        if !raised.is_empty() {
            self.draft.begin();
            self.draft.unit(|bytes, _| put_epochs(&raised, bytes));
            self.draft.finish(self.durable);
            self.changes.epochs.extend(&raised);
        }
    }

    /// Stages a batch whole. Where it is refused, what is remembered of its streams is wrong: see [`Stage::forget`].
    pub(super) fn append(&mut self, shared: &Shared, batch: &Batch) -> Result<(), Refusal> {
        let mark = self.changes.mark();
        let mut reading = Reading::new(shared);
        self.draft.begin();
        let named = |record: &Record| {
            let hash = Hash::stream(shared.seed, &record.stream.aggregate, record.stream.id.as_str());
            (hash, record.command.as_ref().map(|command| hash.key(shared.seed, command.dedup)))
        };
        let hashes: Vec<_> = batch.records.iter().map(named).collect();
        // nobody but this thread adds to the index, so what is not there now is not there until this is staged
        let known = shared.index().may_have(hashes.iter().map(|(hash, key)| key.unwrap_or(*hash)));
        for ((record, hashes), known) in batch.records.iter().zip(hashes).zip(known) {
            if let Err(refusal) = self.record(shared, record, hashes, known, &mut reading) {
                self.draft.abandon();
                self.changes.take_back(mark);
                return Err(refusal);
            }
        }
        self.draft.finish(self.durable);
        Ok(())
    }

    /// Stages a record; `known` says whether the index may have its key.
    fn record(
        &mut self,
        shared: &Shared,
        record: &Record,
        (hash, key): (Hash, Option<Hash>),
        known: bool,
        reading: &mut Reading<'_>,
    ) -> Result<(), Refusal> {
        let id = &record.stream;
        let room = self.slices.get_mut(usize::from(record.slice.0)).ok_or(Refusal::Conflict)?;
        let slice = match room {
            Some(path) => path,
            none => {
                let (last, at) = shared.index().state.slice(record.slice);
                none.insert(Path::of(last, at))
            }
        };
        if record.sequence.checked_sub(1) != Some(slice.number()) {
            return Err(Refusal::Conflict);
        }
        let stream = self.streams.get(id, hash, shared, reading)?;
        if record.event.as_ref().is_some_and(|event| event.version.checked_sub(1) != Some(stream.events.number())) {
            return Err(Refusal::Conflict);
        }
        if let Some((key, command)) = key.zip(record.command.as_ref())
            && (!self.fresh.insert(key.0) || (known && shared.key(id, hash, command.dedup, reading)?.is_some()))
        {
            return Err(Refusal::Conflict);
        }
        let view = View::from(record);
        let mut links = Links {
            previous: stream.last,
            event: stream.events.last(),
            in_slice: slice.last(),
            in_slice_jump: slice.next_jump(|at| Ok(reading.record(at)?.0.in_slice_jump))?,
            version: stream.events.number(),
            ..Links::default()
        };
        if record.event.is_some() {
            links.jump = stream.events.next_jump(|at| Ok(reading.record(at)?.0.jump))?;
            links.version += 1;
        }
        let at = self.draft.unit(|bytes, at| links.write(&view, bytes, at));
        slice.push(at);
        if record.event.is_some() {
            stream.events.push(at);
        }
        stream.last = at;
        self.changes.record(hash, key, &view, at);
        if let Some(event) = &record.event {
            if event.version == 1 {
                self.changes.ids.push(id.clone());
            }
            let known = self.names.get(&id.aggregate).is_some_and(|names| names.contains(&event.name));
            if !known {
                self.names.entry(Arc::clone(&id.aggregate)).or_default().insert(Arc::clone(&event.name));
                self.changes.names.push((Arc::clone(&id.aggregate), Arc::clone(&event.name)));
            }
        }
        Ok(())
    }

    /// Drops what is remembered of a batch that was refused. Only when nothing else is staged.
    pub(super) fn forget(&mut self, shared: &Shared, batch: &Batch) {
        for Record { stream, slice, .. } in &batch.records {
            self.streams.forget(stream, Hash::stream(shared.seed, &stream.aggregate, stream.id.as_str()));
            if let Some(path) = self.slices.get_mut(usize::from(slice.0)) {
                *path = None;
            }
        }
        self.names.clear();
        self.fresh.clear();
    }

    /// Shows what is durable now to everybody.
    pub(super) fn committed(&mut self, shared: &Shared) {
        let end = self.draft.end();
        shared.publish(&mut self.changes, end);
        self.durable = end;
        self.draft.restart(end);
        self.fresh.clear();
        self.kept.clear();
    }

    /// What is kept of a stream, with what is staged.
    fn kept(&self, shared: &Shared, stream: &StreamId, hash: Hash) -> Result<Kept, StoreError> {
        match self.kept.get(&hash.0) {
            Some(kept) => Ok(kept.clone()),
            None => shared.kept(stream, hash, &mut Reading::new(shared)),
        }
    }

    /// Stages a change of what is kept of a stream.
    fn put_kept(
        &mut self,
        seed: u64,
        (stream, hash): (&StreamId, Hash),
        mut kept: Kept,
        payload: &[u8],
        freed: &BTreeMap<u32, u64>,
        change: impl FnOnce(&mut Kept, Address),
    ) {
        let view = KeptView { aggregate: &stream.aggregate, id: stream.id.as_str(), payload };
        self.draft.begin();
        let at = self.draft.unit(|bytes, at| {
            change(&mut kept, at);
            kept.write(&view, bytes, at);
        });
        if !freed.is_empty() {
            self.draft.unit(|bytes, _| put_freed(freed, bytes));
            self.changes.freed.extend(freed.iter().map(|(segment, bytes)| (*segment, *bytes)));
        }
        self.draft.finish(self.durable);
        self.changes.entries.push(Entry { hash: hash.kept(seed), at });
        self.changes.stripped |= !kept.strips.is_empty();
        self.kept.insert(hash.0, kept);
    }

    pub(super) fn put_snapshot(&mut self, shared: &Shared, snapshot: &Snapshot) -> Result<(), StoreError> {
        let stream = &snapshot.stream;
        let hash = Hash::stream(shared.seed, &stream.aggregate, stream.id.as_str());
        let kept = self.kept(shared, stream, hash)?;
        let freed = bytes_of(&kept, |version| version == snapshot.version);
        let put = |kept: &mut Kept, at| kept.put(snapshot, at);
        self.put_kept(shared.seed, (stream, hash), kept, &snapshot.payload, &freed, put);
        Ok(())
    }

    /// Says how many snapshots are dropped.
    pub(super) fn drop_snapshots(&mut self, shared: &Shared, stream: &StreamId, below: u64) -> Result<u64, StoreError> {
        let hash = Hash::stream(shared.seed, &stream.aggregate, stream.id.as_str());
        let mut kept = self.kept(shared, stream, hash)?;
        let freed = bytes_of(&kept, |version| version < below);
        let before = kept.snapshots.len();
        kept.snapshots.retain(|(info, ..)| info.version >= below);
        let dropped = before - kept.snapshots.len();
        if dropped > 0 {
            self.put_kept(shared.seed, (stream, hash), kept, &[], &freed, |_, _| {});
        }
        Ok(dropped as u64)
    }

    /// Says how many events are stripped; `freed` says about how many bytes these have. Only when nothing else is staged.
    pub(super) fn strip(
        &mut self,
        shared: &Shared,
        stream: &StreamId,
        up_to: u64,
        freed: &BTreeMap<u32, u64>,
    ) -> Result<u64, StoreError> {
        let hash = Hash::stream(shared.seed, &stream.aggregate, stream.id.as_str());
        let (count, up_to, kept) = shared.to_strip(stream, hash, up_to)?;
        if count > 0 {
            self.put_kept(shared.seed, (stream, hash), kept, &[], freed, |kept, at| kept.strip(up_to, at));
        }
        Ok(count)
    }

    pub(super) fn refill(&mut self, seed: u64, events: &[&StoredEvent]) {
        if events.is_empty() {
            return;
        }
        self.draft.begin();
        for stored in events {
            let view = View::from(*stored);
            let at = self.draft.unit(|bytes, _| put_refilled(&view, bytes));
            let hash = Hash::stream(seed, view.aggregate, view.id).refilled(seed, stored.event.version);
            self.changes.entries.push(Entry { hash, at });
        }
        self.draft.finish(self.durable);
    }
}

/// How many bytes snapshots of these versions have in each segment.
fn bytes_of(kept: &Kept, versions: impl Fn(u64) -> bool) -> BTreeMap<u32, u64> {
    let mut freed = BTreeMap::new();
    for (info, _, at) in kept.snapshots.iter().filter(|(info, ..)| versions(info.version)) {
        *freed.entry(at.segment()).or_default() += info.bytes;
    }
    freed
}

/// Names the conflicts of a batch that was refused, when nothing else is staged.
pub(super) fn conflicts(shared: &Shared, batch: &Batch) -> StoreError {
    rules::conflicts(batch, &mut Questions(shared)).map_or_else(|e| e, StoreError::Conflict)
}

/// Those of the events that have to get their bytes back, when nothing else is staged.
pub(super) fn to_refill<'e>(shared: &Shared, events: &'e [StoredEvent]) -> Result<Vec<&'e StoredEvent>, StoreError> {
    let mut wanted = Vec::new();
    for given in events {
        let stored = shared.read_stream(&given.stream, given.event.version, 1)?;
        let stored = stored.first().filter(|stored| stored.event.version == given.event.version);
        if rules::takes_back(stored.ok_or_else(|| rules::not_there(given))?, given)? {
            wanted.push(given);
        }
    }
    Ok(wanted)
}

/// Answers from what is durable.
struct Questions<'a>(&'a Shared);

impl Questions<'_> {
    fn hash(&self, stream: &StreamId) -> Hash {
        Hash::stream(self.0.seed, &stream.aggregate, stream.id.as_str())
    }
}

impl Stored for Questions<'_> {
    fn last_sequence(&mut self, slice: Slice) -> Result<u64, StoreError> {
        Ok(self.0.index().state.slice(slice).0)
    }

    fn last_version(&mut self, stream: &StreamId) -> Result<u64, StoreError> {
        let head = self.0.head(stream, self.hash(stream), &mut Reading::new(self.0))?;
        Ok(head.map_or(0, |head| head.version))
    }

    fn has_key(&mut self, stream: &StreamId, dedup: Dedup) -> Result<bool, StoreError> {
        let at = self.0.key(stream, self.hash(stream), dedup, &mut Reading::new(self.0))?;
        Ok(at.is_some())
    }
}
