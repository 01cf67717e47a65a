//! What a store remembers of its database, so that an append need not ask for it.
//!
//! Everything here stays true whoever appends: that a stream has a version, that a slice has a sequence number, where
//! a stream begins. It proves predecessors; whether a row is new is for the unique indexes to say. The one fact that
//! may become false is that a stream is not there yet, and then its insertion fails, and the database is asked.
//!
//! All of it is true of one server alone: a standby that takes over may lack what was stored last. So everything is
//! forgotten whenever a connection has been made.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet, HashTable};

use super::turns::SliceSet;
use crate::domain::id::{SLICES, Slice};
use crate::event_store::port::{Batch, Partition, StreamId};

/// What is known of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    /// Its number: the position of its first record. `None` if it has no record yet.
    pub(super) number: Option<i64>,
    /// A version that it has, the last one as far as is known; 0 for none.
    pub(super) version: u64,
}

/// The facts.
#[derive(Debug)]
pub(super) struct Known {
    streams: Recent,
    hasher: RandomState,
    sequences: Vec<u64>,
    /// The sequence numbers that are durable, which is more than to be seen.
    durable: Vec<u64>,
    names: HashMap<Arc<str>, HashSet<Arc<str>, RandomState>, RandomState>,
    moves: Vec<i64>,
    away: SliceSet,
    /// How many connections there had been when the first of this was learned.
    connections: u64,
}

impl Known {
    pub(super) fn new(streams: usize) -> Self {
        Self {
            streams: Recent::new(streams),
            hasher: RandomState::default(),
            sequences: vec![0; usize::from(SLICES)],
            durable: vec![0; usize::from(SLICES)],
            names: HashMap::default(),
            moves: vec![0; usize::from(SLICES)],
            away: SliceSet::default(),
            connections: 0,
        }
    }

    /// Forgets everything if a connection has been made since it was learned.
    pub(super) fn hold_for(&mut self, connections: u64) {
        if self.connections != connections {
            self.connections = connections;
            self.forget_all();
        }
    }

    /// How many connections there had been when all of this was learned.
    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    /// By which a stream is found.
    pub(super) fn hash(&self, stream: &StreamId) -> u64 {
        self.hasher.hash_one(stream)
    }

    pub(super) fn stream(&mut self, stream: &StreamId) -> Option<Stream> {
        self.stream_at(self.hash(stream), stream)
    }

    /// A stream whose hash is known.
    pub(super) fn stream_at(&mut self, hash: u64, stream: &StreamId) -> Option<Stream> {
        self.streams.get_mut(hash, stream).copied()
    }

    /// Notes what was read of a stream, unless more is known.
    pub(super) fn note_stream(&mut self, stream: &StreamId, found: Stream) {
        self.note_stream_at(self.hash(stream), stream, found);
    }

    /// Notes what was read of a stream whose hash is known, unless more is known.
    pub(super) fn note_stream_at(&mut self, hash: u64, stream: &StreamId, found: Stream) {
        if let Some(known) = self.streams.get_mut(hash, stream) {
            let number = found.number.or(known.number);
            let version = found.version.max(known.version);
            // one that is there, and where it begins was not read, tells nothing
            if number.is_some() || version == 0 {
                *known = Stream { number, version };
            }
        } else if found.number.is_some() || found.version == 0 {
            self.streams.add(Remembered { hash, stream: stream.clone(), found });
        }
    }

    /// A sequence number that the slice has, 0 if none is known.
    pub(super) fn sequence(&self, slice: Slice) -> u64 {
        self.sequences.get(usize::from(slice.0)).copied().unwrap_or(0)
    }

    pub(super) fn note_sequence(&mut self, slice: Slice, sequence: u64) {
        if let Some(known) = self.sequences.get_mut(usize::from(slice.0)) {
            *known = sequence.max(*known);
        }
    }

    /// Whether a sequence number of the slice is known to be durable.
    pub(super) fn is_durable(&self, slice: Slice, sequence: u64) -> bool {
        self.durable.get(usize::from(slice.0)).is_some_and(|durable| sequence <= *durable)
    }

    pub(super) fn note_durable(&mut self, slice: Slice, sequence: u64) {
        if let Some(durable) = self.durable.get_mut(usize::from(slice.0)) {
            *durable = sequence.max(*durable);
        }
    }

    /// Whether the name of an event is in its table.
    pub(super) fn has_name(&self, aggregate: &str, name: &str) -> bool {
        self.names.get(aggregate).is_some_and(|names| names.contains(name))
    }

    pub(super) fn note_name(&mut self, aggregate: &str, name: &str) {
        match self.names.get_mut(aggregate) {
            Some(names) => drop(names.insert(name.into())),
            None => drop(self.names.entry(aggregate.into()).or_default().insert(name.into())),
        }
    }

    /// How often slices were taken away, as far as is known.
    pub(super) fn moves(&self, partition: Partition) -> i64 {
        self.moves.get(usize::from(partition.0)).copied().unwrap_or(0)
    }

    /// Which slices are in another database, as it was read after `moves`.
    pub(super) fn note_away(&mut self, moves: impl IntoIterator<Item = (Partition, i64)>, away: SliceSet) {
        for (partition, moves) in moves {
            if let Some(known) = self.moves.get_mut(usize::from(partition.0)) {
                *known = moves;
            }
        }
        self.away = away;
    }

    pub(super) fn away(&self) -> &SliceSet {
        &self.away
    }

    /// Drops what is known of the streams and slices of a batch.
    pub(super) fn forget(&mut self, batch: &Batch) {
        for record in &batch.records {
            self.streams.remove(self.hasher.hash_one(&record.stream), &record.stream);
            if let Some(sequence) = self.sequences.get_mut(usize::from(record.slice.0)) {
                *sequence = 0;
            }
        }
    }

    /// Drops what is known of all streams and slices: another owner, or another server, may have come.
    pub(super) fn forget_all(&mut self) {
        self.streams.clear();
        self.sequences.fill(0);
        self.durable.fill(0);
        self.names.clear();
    }
}

/// Streams that were used last, by two generations: the older one is dropped whole. A stream is hashed once for each
/// append, and found by its hash from then on.
#[derive(Debug)]
struct Recent {
    young: HashTable<Remembered>,
    old: HashTable<Remembered>,
    room: usize,
}

#[derive(Debug)]
struct Remembered {
    hash: u64,
    stream: StreamId,
    found: Stream,
}

impl Remembered {
    fn is(&self, hash: u64, stream: &StreamId) -> bool {
        self.hash == hash && self.stream == *stream
    }
}

impl Recent {
    fn new(room: usize) -> Self {
        Self { young: HashTable::new(), old: HashTable::new(), room: (room / 2).max(1) }
    }

    fn get_mut(&mut self, hash: u64, stream: &StreamId) -> Option<&mut Stream> {
        if self.young.find(hash, |one| one.is(hash, stream)).is_none() {
            let found = self.old.find_entry(hash, |one| one.is(hash, stream)).ok()?.remove().0;
            self.add(found);
        }
        self.young.find_mut(hash, |one| one.is(hash, stream)).map(|one| &mut one.found)
    }

    /// Adds one that is not there.
    fn add(&mut self, one: Remembered) {
        if self.young.len() >= self.room {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert_unique(one.hash, one, |one| one.hash);
    }

    fn remove(&mut self, hash: u64, stream: &StreamId) {
        for generation in [&mut self.young, &mut self.old] {
            if let Ok(entry) = generation.find_entry(hash, |one| one.is(hash, stream)) {
                entry.remove();
            }
        }
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AggregateId;

    #[test]
    fn what_was_used_last_is_kept() {
        let mut known = Known::new(4);
        let stream = |n: u64| StreamId { aggregate: "tally".into(), id: AggregateId::from_field(&n).expect("an id") };
        let at = |version| Stream { number: Some(7), version };
        for n in 0..100 {
            known.note_stream(&stream(n), at(n + 1));
            assert_eq!(known.stream(&stream(0)).map(|found| found.version), Some(1), "used all the time");
            assert!(known.streams.young.len() + known.streams.old.len() <= 4);
        }
        assert_eq!(known.stream(&stream(99)), Some(at(100)));
        assert_eq!(known.stream(&stream(90)), None);
        known.note_stream(&stream(0), Stream { number: None, version: 9 });
        assert_eq!(known.stream(&stream(0)), Some(at(9)), "what is known is added to");
        known.note_stream(&stream(0), at(3));
        assert_eq!(known.stream(&stream(0)), Some(at(9)), "and never taken back");
        known.forget_all();
        assert_eq!(known.stream(&stream(0)), None);
    }
}
