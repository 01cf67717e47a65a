//! What a reader of all events does in front of a gap: it waits, and raises an alarm if the gap stays.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::id::Slice;

/// How long a gap is waited at. An owner appends to a slice in order, so that none is ever seen; only a copy of rows
/// in the wrong order, or a loss, makes one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gaps that readers stand in front of: the last sequence number before each, and since when.
#[derive(Debug, Default)]
pub(super) struct Gaps(Mutex<BTreeMap<Slice, (u64, Instant)>>);

impl Gaps {
    /// Notes that the record behind `last` is missing. Says whether it has been for too long.
    pub(super) fn stays(&self, slice: Slice, last: u64) -> bool {
        let mut gaps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, since) = gaps.entry(slice).or_insert((last, Instant::now()));
        if *known != last {
            (*known, *since) = (last, Instant::now());
        }
        since.elapsed() >= PATIENCE
    }

    /// Notes that the records of a slice up to `read` have been read.
    pub(super) fn closed(&self, slice: Slice, read: u64) {
        let mut gaps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gaps.get(&slice).is_some_and(|(last, _)| *last < read) {
            gaps.remove(&slice);
        }
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
