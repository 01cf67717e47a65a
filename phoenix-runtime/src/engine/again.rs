//! What the store did not answer, on its way to be asked for again: in halves, so that what makes others fail soon stands
//! alone, and a few at a time, so that a store that comes back is not asked for everything at once.

use std::collections::VecDeque;

use crate::engine::journal::Backoff;

/// How many of them a lane has in flight at a time.
const AT_A_TIME: usize = 16;

/// Parts of questions that failed together.
pub(crate) struct Again<T> {
    waiting: VecDeque<(Vec<T>, Backoff)>,
    in_flight: usize,
}

impl<T> Default for Again<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), in_flight: 0 }
    }
}

impl<T> Again<T> {
    /// Those that failed together are put again in halves.
    pub(crate) fn put(&mut self, mut failed: Vec<T>, backoff: &Backoff) {
        let second = failed.split_off(failed.len() / 2);
        for half in [failed, second] {
            if !half.is_empty() {
                self.waiting.push_back((half, backoff.clone()));
            }
        }
    }

    /// The next one, if one more may be in flight.
    pub(crate) fn next(&mut self) -> Option<(Vec<T>, Backoff)> {
        if self.in_flight >= AT_A_TIME {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(next)
    }

    /// One is in flight no longer.
    pub(crate) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
