//! What the writer remembers of streams, so that it need not read their ends again.

use foldhash::fast::RandomState;
use hashbrown::hash_table::Entry;
use hashbrown::{HashSet, HashTable};

use super::address::Address;
use super::hash::Hash;
use super::path::Path;
use super::shared::{Reading, Shared};
use crate::event_store::port::{StoreError, StreamId};

/// The end of a stream, with everything that was staged.
#[derive(Debug)]
pub(super) struct Stream {
    id: StreamId,
    pub(super) hash: Hash,
    /// Its last record.
    pub(super) last: Address,
    /// Its events.
    pub(super) events: Path,
}

/// The streams that were appended to lately: a bounded number, in two generations.
#[derive(Debug)]
pub(super) struct Streams {
    young: HashTable<Stream>,
    old: HashTable<Stream>,
    most: usize,
}

impl Streams {
    pub(super) fn new(most: usize) -> Self {
        Self { young: HashTable::new(), old: HashTable::new(), most: most.max(2) }
    }

    /// Forgets the older half if there are too many. Not while something is staged: nobody else knows that.
    pub(super) fn age(&mut self) {
        if self.young.len() >= self.most / 2 {
            self.old = std::mem::replace(&mut self.young, HashTable::with_capacity(self.most / 2));
        }
    }

    pub(super) fn get(
        &mut self,
        id: &StreamId,
        hash: Hash,
        shared: &Shared,
        reading: &mut Reading<'_>,
    ) -> Result<&mut Stream, StoreError> {
        let entry = self.young.entry(hash.low(), |stream| stream.id == *id, |stream| stream.hash.low());
        let room = match entry {
            Entry::Occupied(found) => return Ok(found.into_mut()),
            Entry::Vacant(room) => room,
        };
        if let Ok(found) = self.old.find_entry(hash.low(), |stream| stream.id == *id) {
            return Ok(room.insert(found.remove().0).into_mut());
        }
        let (last, events) = match shared.head(id, hash, reading)? {
            None => (Address::NONE, Path::default()),
            Some(head) => (head.at, Path::of(head.version, head.event)),
        };
        Ok(room.insert(Stream { id: id.clone(), hash, last, events }).into_mut())
    }

    pub(super) fn forget(&mut self, id: &StreamId, hash: Hash) {
        for generation in [&mut self.young, &mut self.old] {
            if let Ok(found) = generation.find_entry(hash.low(), |stream| stream.id == *id) {
                found.remove();
            }
        }
    }
}

/// Keys that were staged and are not in the index yet.
pub(super) type Fresh = HashSet<u128, RandomState>;
