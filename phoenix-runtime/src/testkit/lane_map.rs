//! Slices dealt to lanes by hand, over a store that knows none: for stores that play several databases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::{Slice, identity_hash};
use crate::event_store::port::{Batch, Lane, StoreError, StreamId};

/// Which slice is in which lane; a slice that nobody moved is in its number modulo the lanes. Clones are the same map.
#[derive(Debug, Clone)]
pub struct LaneMap {
    lanes: u16,
    moved: Arc<Mutex<BTreeMap<Slice, Lane>>>,
    away: Arc<Mutex<BTreeSet<Slice>>>,
}

impl LaneMap {
    /// So many lanes, at least one.
    #[must_use]
    pub fn new(lanes: u16) -> Self {
        Self { lanes: lanes.max(1), moved: Arc::default(), away: Arc::default() }
    }

    fn moved(&self) -> MutexGuard<'_, BTreeMap<Slice, Lane>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lanes there are.
    #[must_use]
    pub fn lanes(&self) -> u16 {
        self.lanes
    }

    /// Where a slice is.
    #[must_use]
    pub fn lane(&self, slice: Slice) -> Lane {
        self.moved().get(&slice).copied().unwrap_or(Lane(slice.0 % self.lanes))
    }

    /// Where the aggregates of a stream's slice are.
    #[must_use]
    pub fn lane_of(&self, stream: &StreamId) -> Lane {
        self.lane(Slice::from_hash(identity_hash(&stream.aggregate, stream.id.as_str())))
    }

    fn away(&self) -> MutexGuard<'_, BTreeSet<Slice>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slice away, as in the middle of a move: until it is relocated it takes no appends, and can't be read.
    pub fn take_away(&self, slice: Slice) {
        self.away().insert(slice);
    }

    /// Whether a stream's slice is taken away.
    #[must_use]
    pub fn is_away(&self, stream: &StreamId) -> bool {
        self.away().contains(&stream.slice())
    }

    /// Moves a slice; appends of it in any other lane are refused from now on.
    pub fn relocate(&self, slice: Slice, lane: Lane) {
        self.moved().insert(slice, Lane(lane.0 % self.lanes));
        self.away().remove(&slice);
    }

    /// Whether a batch may be appended in this lane.
    ///
    /// # Errors
    /// [`StoreError::Moved`] with the slices that are elsewhere.
    pub fn check(&self, lane: Lane, batch: &Batch) -> Result<(), StoreError> {
        let is_elsewhere = |slice: &Slice| self.lane(*slice) != lane || self.away().contains(slice);
        let mut elsewhere: Vec<Slice> = batch.records.iter().map(|record| record.slice).filter(is_elsewhere).collect();
        elsewhere.sort_unstable();
        elsewhere.dedup();
        if elsewhere.is_empty() { Ok(()) } else { Err(StoreError::Moved(elsewhere)) }
    }
}
