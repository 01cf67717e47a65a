//! The lanes of a partition: found by a hash, and used again, so that a command costs no allocation here.

use std::collections::BTreeMap;

use super::lane::Lane;

/// How many lanes without commands are kept for the next aggregates.
const SPARE: usize = 256;

/// The commands of a partition by aggregate, each by its [`identity_hash`]. Two aggregates with one hash share a lane: they
/// are done in one order then, and nothing else comes of it.
///
/// [`identity_hash`]: crate::domain::id::identity_hash
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Ordered, so that equal runs look through them in the same way.
    open: BTreeMap<u64, Lane>,
    spare: Vec<Lane>,
}

impl Lanes {
    /// The lane of an aggregate.
    pub(super) fn of(&mut self, hash: u64) -> &mut Lane {
        self.open.entry(hash).or_insert_with(|| self.spare.pop().unwrap_or_default())
    }

    /// Whether an aggregate has a lane.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.open.contains_key(&hash)
    }

    /// Puts a lane aside that has nothing in it. Says whether it had nothing.
    pub(super) fn tidy(&mut self, hash: u64) -> bool {
        let is_empty = self.open.get(&hash).is_none_or(Lane::is_empty);
        if is_empty
            && let Some(lane) = self.open.remove(&hash)
            && self.spare.len() < SPARE
            && lane.is_as_new()
        {
            self.spare.push(lane);
        }
        is_empty
    }

    /// All of them, with their hashes.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Lane)> {
        self.open.iter_mut().map(|(hash, lane)| (*hash, lane))
    }
}
