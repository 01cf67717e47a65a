//! Where things are in the log.
//!
//! The newest entries are in memory. When there are enough of them they are frozen, sorted into a [`Run`], and noted
//! in the checkpoint, from which a start goes on; runs of one size are merged into a larger one. So the number of runs
//! grows with the logarithm of the log, and a start reads no more than what was in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table;

use super::address::Address;
use super::hash::Hash;
use super::run::{Entry, Run};
use super::unit::Unit;
use crate::domain::id::{SLICES, Slice};
use crate::event_store::encoding::{Malformed, Names, View};
use crate::event_store::port::{Epoch, Partition, StreamId};

/// The part of the index that is small, as of one end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// Behind the last frame that is in the index.
    pub(super) end: Address,
    pub(super) epochs: BTreeMap<Partition, Epoch>,
    /// How many partitions there are, once that is fixed.
    pub(super) partitions: Option<u16>,
    /// The last sequence number of each slice, and its record.
    pub(super) slices: Vec<(u64, Address)>,
    /// The names of stored events, by aggregate.
    pub(super) names: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Whether anything was ever stripped.
    pub(super) stripped: bool,
    /// How many bytes of each segment nobody needs any more: at least about so many.
    pub(super) freed: BTreeMap<u32, u64>,
}

impl State {
    pub(super) fn empty(end: Address) -> Self {
        let slices = vec![(0, Address::NONE); usize::from(SLICES)];
        Self {
            end,
            epochs: BTreeMap::new(),
            partitions: None,
            slices,
            names: BTreeMap::new(),
            stripped: false,
            freed: BTreeMap::new(),
        }
    }

    pub(super) fn slice(&self, slice: Slice) -> (u64, Address) {
        self.slices.get(usize::from(slice.0)).copied().unwrap_or((0, Address::NONE))
    }
}

/// What frames add to the index.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) entries: Vec<Entry>,
    pub(super) slices: Vec<(Slice, u64, Address)>,
    pub(super) names: Vec<(Arc<str>, Arc<str>)>,
    pub(super) epochs: Vec<(Partition, Epoch)>,
    pub(super) partitions: Option<u16>,
    /// Streams that have their first event.
    pub(super) ids: Vec<StreamId>,
    pub(super) stripped: bool,
    /// Bytes of segments that nobody needs any more.
    pub(super) freed: Vec<(u32, u64)>,
}

/// How many changes there are: to take back what came after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    entries: usize,
    slices: usize,
    names: usize,
    ids: usize,
}

impl Changes {
    /// A record at this address.
    pub(super) fn record(&mut self, stream: Hash, key: Option<Hash>, view: &View<'_>, at: Address) {
        self.entries.push(Entry { hash: stream, at });
        self.entries.extend(key.map(|hash| Entry { hash, at }));
        self.slices.push((view.slice, view.sequence, at));
    }

    /// A unit that was read from the log.
    pub(super) fn unit(&mut self, seed: u64, unit: &Unit<'_>, at: Address, names: &mut Names) -> Result<(), Malformed> {
        match unit {
            Unit::Record(_, view) => {
                let stream = Hash::stream(seed, view.aggregate, view.id);
                self.record(stream, view.command.map(|command| stream.key(seed, command.dedup)), view, at);
                if let Some(event) = &view.event {
                    self.names.push((names.shared(view.aggregate), names.shared(event.name)));
                    if event.version == 1 {
                        self.ids.push(view.stream(names)?);
                    }
                }
            }
            Unit::Epochs(epochs) => self.epochs.extend(epochs),
            Unit::Freed(freed) => self.freed.extend(freed),
            Unit::Dealt(partitions) => self.partitions = Some(*partitions),
            Unit::Kept(kept, view) => {
                let hash = Hash::stream(seed, view.aggregate, view.id).kept(seed);
                self.entries.push(Entry { hash, at });
                self.stripped |= !kept.strips.is_empty();
            }
            Unit::Refilled(view) => {
                let version = view.event.map_or(0, |event| event.version);
                let hash = Hash::stream(seed, view.aggregate, view.id).refilled(seed, version);
                self.entries.push(Entry { hash, at });
            }
        }
        Ok(())
    }

    pub(super) fn mark(&self) -> Mark {
        let Self { entries, slices, names, ids, .. } = self;
        Mark { entries: entries.len(), slices: slices.len(), names: names.len(), ids: ids.len() }
    }

    /// Takes back the records that came after the mark.
    pub(super) fn take_back(&mut self, mark: Mark) {
        self.entries.truncate(mark.entries);
        self.slices.truncate(mark.slices);
        self.names.truncate(mark.names);
        self.ids.truncate(mark.ids);
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.slices.clear();
        self.names.clear();
        self.epochs.clear();
        self.partitions = None;
        self.ids.clear();
        self.stripped = false;
        self.freed.clear();
    }
}

/// How many entries go into a table of so many bytes.
fn entries_in(bytes: usize) -> usize {
    let buckets = (bytes / (size_of::<Entry>() + 1)).max(16);
    (1_usize << buckets.ilog2()) / 8 * 7
}

/// Entries in memory, in no order.
#[derive(Debug)]
pub(super) struct Memory(HashTable<Entry>);

impl Memory {
    /// Room for as many entries as go into so many bytes.
    fn new(bytes: usize) -> Self {
        // the table is made once and never grows, so no append waits for that
        Self(HashTable::with_capacity(entries_in(bytes)))
    }

    fn insert(&mut self, entry: Entry) {
        let same = |other: &Entry| other.hash == entry.hash;
        match self.0.entry(entry.hash.low(), same, |other| other.hash.low()) {
            hash_table::Entry::Occupied(mut found) => *found.get_mut() = entry,
            hash_table::Entry::Vacant(room) => drop(room.insert(entry)),
        }
    }

    fn find(&self, hash: Hash) -> Option<Address> {
        self.0.find(hash.low(), |entry| entry.hash == hash).map(|entry| entry.at)
    }

    pub(super) fn sorted(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.0.iter().copied().collect();
        entries.sort_unstable();
        entries
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.0.iter().copied()
    }
}

/// A part of the index on its way into a run.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) memory: Memory,
    pub(super) state: State,
}

/// The index as far as the log is durable.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) state: State,
    memory: Memory,
    bytes: usize,
    pub(super) frozen: Option<Arc<Frozen>>,
    /// The newest first.
    pub(super) runs: Arc<Vec<Arc<Run>>>,
}

impl Index {
    pub(super) fn new(state: State, runs: Vec<Arc<Run>>, bytes: usize) -> Self {
        Self { state, memory: Memory::new(bytes), bytes, frozen: None, runs: Arc::new(runs) }
    }

    /// Takes in what was written up to `end`.
    pub(super) fn apply(&mut self, changes: &mut Changes, end: Address) {
        changes.entries.iter().for_each(|entry| self.memory.insert(*entry));
        for (slice, sequence, at) in &changes.slices {
            if let Some(last) = self.state.slices.get_mut(usize::from(slice.0)) {
                *last = (*sequence, *at);
            }
        }
        for (aggregate, name) in changes.names.drain(..) {
            self.state.names.entry(aggregate).or_default().insert(name);
        }
        self.state.epochs.extend(changes.epochs.iter().copied());
        self.state.partitions = changes.partitions.or(self.state.partitions);
        self.state.stripped |= changes.stripped;
        for (segment, bytes) in &changes.freed {
            let freed = self.state.freed.entry(*segment).or_default();
            *freed = freed.saturating_add(*bytes);
        }
        self.state.end = end;
        changes.clear();
    }

    /// Whether the memory is so full that it should be frozen; `times` its size. What one commit adds still finds room.
    pub(super) fn is_full(&self, times: usize) -> bool {
        let room = self.room();
        self.memory.0.len() + room / 16 >= room * times
    }

    /// How many entries go into memory.
    pub(super) fn room(&self) -> usize {
        entries_in(self.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.memory.0.is_empty()
    }

    /// Moves what is in memory out of the way, unless the last one is still on its way.
    pub(super) fn freeze(&mut self) -> Option<Arc<Frozen>> {
        if self.frozen.is_none() {
            let memory = std::mem::replace(&mut self.memory, Memory::new(self.bytes));
            self.frozen = Some(Arc::new(Frozen { memory, state: self.state.clone() }));
        }
        self.frozen.clone()
    }

    /// The place of something, if it is in memory, and the runs in which to look otherwise.
    pub(super) fn find(&self, hash: Hash) -> Result<Address, Arc<Vec<Arc<Run>>>> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.memory.find(hash));
        self.memory.find(hash).or_else(frozen).ok_or_else(|| Arc::clone(&self.runs))
    }

    /// Which of these things may be there, as far as memory tells. No question waits for the answer to another one, so the
    /// processor fetches what many of them need at once.
    pub(super) fn may_have(&self, hashes: impl Iterator<Item = Hash>) -> Vec<bool> {
        let in_frozen = |hash| self.frozen.as_ref().is_some_and(|frozen| frozen.memory.find(hash).is_some());
        let in_runs = |hash| self.runs.iter().fold(false, |found, run| found | run.may_have(hash));
        hashes.map(|hash| self.memory.find(hash).is_some() | in_frozen(hash) | in_runs(hash)).collect()
    }

    /// The last records of all streams: what is in memory, and the runs.
    pub(super) fn streams(&self) -> (Vec<Entry>, Arc<Vec<Arc<Run>>>) {
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.memory.iter());
        let all = self.memory.iter().chain(frozen);
        (all.filter(|entry| entry.hash < Hash::END_OF_STREAMS).collect(), Arc::clone(&self.runs))
    }

    /// What the index takes in memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        let tables = self.memory.0.allocation_size() + self.frozen.as_ref().map_or(0, |f| f.memory.0.allocation_size());
        tables + self.runs.iter().map(|run| run.memory()).sum::<usize>()
    }
}

/// Looks for something in runs, the newest first.
pub(super) fn find_in(runs: &[Arc<Run>], hash: Hash) -> io::Result<Option<Address>> {
    for run in runs {
        if let Some(at) = run.find(hash)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
