//! Slices dealt to lanes by hand, over a store that knows none: for stores that play several databases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::{Slice, identity_hash};
use crate::event_store::port::{Batch, Lane, StoreError, StreamId};

/// Which slice is in which lane; a slice that nobody moved is in its number modulo the lanes. Clones are the same map.
#[derive(Debug, Clone)]
pub struct LaneMap {
    lanes: u16,
    moved: Arc<Mutex<BTreeMap<Slice, Lane>>>,
}

impl LaneMap {
    /// So many lanes, at least one.
    #[must_use]
    pub fn new(lanes: u16) -> Self {
        Self { lanes: lanes.max(1), moved: Arc::default() }
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

    /// Moves a slice; appends of it in any other lane are refused from now on.
    pub fn relocate(&self, slice: Slice, lane: Lane) {
        self.moved().insert(slice, Lane(lane.0 % self.lanes));
    }

    /// Whether a batch may be appended in this lane.
    ///
    /// # Errors
    /// [`StoreError::Moved`] with the slices that are elsewhere.
    pub fn check(&self, lane: Lane, batch: &Batch) -> Result<(), StoreError> {
        let mut elsewhere: Vec<Slice> =
            batch.records.iter().map(|record| record.slice).filter(|slice| self.lane(*slice) != lane).collect();
        elsewhere.sort_unstable();
        elsewhere.dedup();
        if elsewhere.is_empty() { Ok(()) } else { Err(StoreError::Moved(elsewhere)) }
    }
}
