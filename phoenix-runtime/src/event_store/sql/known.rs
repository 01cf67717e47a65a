//! What a store remembers of its database, so that an append need not ask for it.
//!
//! Everything here stays true whoever appends: that a stream has a version, that a slice has a sequence number, where
//! a stream begins. It proves predecessors; whether a row is new is for the unique indexes to say. The one fact that
//! may become false is that a stream is not there yet, and then its insertion fails, and the database is asked.
//!
//! All of it is true of one server alone: a standby that takes over may lack what was stored last. So everything is
//! forgotten whenever a connection has been made.

use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

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
    streams: Recent<StreamId, Stream>,
    sequences: Vec<u64>,
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
            sequences: vec![0; usize::from(SLICES)],
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

    pub(super) fn stream(&mut self, stream: &StreamId) -> Option<Stream> {
        self.streams.get(stream)
    }

    /// Notes what was read of a stream, unless more is known.
    pub(super) fn note_stream(&mut self, stream: &StreamId, found: Stream) {
        let known = self.streams.get(stream);
        let number = found.number.or(known.and_then(|known| known.number));
        let version = found.version.max(known.map_or(0, |known| known.version));
        if number.is_none() && version > 0 {
            // it is there, and where it begins was not read
            return;
        }
        self.streams.put(stream, Stream { number, version });
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
            self.streams.remove(&record.stream);
            if let Some(sequence) = self.sequences.get_mut(usize::from(record.slice.0)) {
                *sequence = 0;
            }
        }
    }

    /// Drops what is known of all streams and slices: another owner, or another server, may have come.
    pub(super) fn forget_all(&mut self) {
        self.streams.clear();
        self.sequences.fill(0);
        self.names.clear();
    }
}

/// A map that keeps what was used last, by two generations: the older one is dropped whole.
#[derive(Debug)]
struct Recent<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    room: usize,
}

impl<K: Eq + Hash + Clone, V: Copy> Recent<K, V> {
    fn new(room: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), room: (room / 2).max(1) }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(*value);
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.add(key, value);
        Some(value)
    }

    fn put(&mut self, key: &K, value: V) {
        if let Some(known) = self.young.get_mut(key) {
            *known = value;
            return;
        }
        self.old.remove(key);
        self.add(key.clone(), value);
    }

    fn add(&mut self, key: K, value: V) {
        if self.young.len() >= self.room {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_kept() {
        let mut recent = Recent::new(4);
        for key in 0..100 {
            recent.put(&key, key);
            assert_eq!(recent.get(&0), Some(0), "used all the time");
            assert!(recent.young.len() + recent.old.len() <= 4);
        }
        assert_eq!(recent.get(&99), Some(99));
        assert_eq!(recent.get(&90), None);
        recent.put(&0, 7);
        assert_eq!(recent.get(&0), Some(7));
        recent.remove(&0);
        assert_eq!(recent.get(&0), None);
    }
}
