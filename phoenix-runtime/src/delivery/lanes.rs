//! The lanes of a partition: found by a hash, and used again, so that a command costs no allocation here.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::lane::Lane;

/// How many lanes without commands keep their memory for the next aggregates.
const SPARE: usize = 256;

/// The commands of a partition by aggregate, each by its [`identity_hash`]. Two aggregates with one hash share a lane: they
/// are done in one order then, and nothing else comes of it.
///
/// [`identity_hash`]: crate::domain::id::identity_hash
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Where each is. The hashes are good ones, and equal runs find them in the same order.
    places: HashMap<u64, usize, FixedState>,
    /// Each keeps its place: moving them about in a map of them costs more than finding one.
    all: Vec<Lane>,
    /// Places with nothing in them.
    free: Vec<usize>,
}

impl Lanes {
    /// The lane of an aggregate.
    pub(super) fn of(&mut self, hash: u64) -> &mut Lane {
        let place = match self.places.entry(hash) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(vacant) => {
                let place = self.free.pop().unwrap_or_else(|| {
                    self.all.push(Lane::default());
                    self.all.len() - 1
                });
                *vacant.insert(place)
            }
        };
        &mut self.all[place]
    }

    /// Whether an aggregate has a lane.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.places.contains_key(&hash)
    }

    /// Puts a lane aside that has nothing in it. Says whether it had nothing.
    pub(super) fn tidy(&mut self, hash: u64) -> bool {
        let Entry::Occupied(place) = self.places.entry(hash) else { return true };
        let lane = &mut self.all[*place.get()];
        if !lane.is_empty() {
            return false;
        }
        if self.free.len() >= SPARE || !lane.is_as_new() {
            *lane = Lane::default();
        }
        self.free.push(place.remove());
        if self.places.is_empty() && self.all.len() > SPARE {
            // there were many once
            *self = Self::default();
        }
        true
    }

    /// All of them, with their hashes.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Lane)> {
        let mut hashes = vec![None; self.all.len()];
        for (hash, place) in &self.places {
            hashes[*place] = Some(*hash);
        }
        self.all.iter_mut().zip(hashes).filter_map(|(lane, hash)| Some((hash?, lane)))
    }
}
