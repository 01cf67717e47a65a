//! The order of appends: of two that touch a slice, the second begins when the first has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::domain::id::{SLICES, Slice};

/// A set of slices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SliceSet([u64; SLICES as usize / 64]);

impl SliceSet {
    pub(super) fn insert(&mut self, Slice(slice): Slice) {
        if let Some(word) = self.0.get_mut(usize::from(slice / 64)) {
            *word |= 1 << (slice % 64);
        }
    }

    pub(super) fn contains(&self, Slice(slice): Slice) -> bool {
        self.0.get(usize::from(slice / 64)).is_some_and(|word| word & (1 << (slice % 64)) != 0)
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= !b);
    }
}

impl FromIterator<Slice> for SliceSet {
    fn from_iter<I: IntoIterator<Item = Slice>>(slices: I) -> Self {
        let mut set = Self::default();
        slices.into_iter().for_each(|slice| set.insert(slice));
        set
    }
}

/// Who may append.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    busy: SliceSet,
    waiting: VecDeque<(u64, SliceSet, oneshot::Sender<()>)>,
    next: u64,
}

impl Turns {
    /// Takes a place behind all who came before with one of these slices.
    pub(super) fn enter(self: &Arc<Self>, slices: SliceSet) -> Turn {
        let mut queue = self.lock();
        let blocked = queue.busy.meets(&slices) || queue.waiting.iter().any(|(_, others, _)| others.meets(&slices));
        let number = queue.next;
        queue.next += 1;
        let called = if blocked {
            let (call, called) = oneshot::channel();
            queue.waiting.push_back((number, slices, call));
            Some(called)
        } else {
            queue.busy.add(&slices);
            None
        };
        Turn { turns: Arc::clone(self), slices, number, called }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn call(&mut self) {
        let mut ahead = self.busy;
        let mut left = VecDeque::with_capacity(self.waiting.len());
        for (number, slices, call) in self.waiting.drain(..) {
            if ahead.meets(&slices) {
                ahead.add(&slices);
                left.push_back((number, slices, call));
            } else if call.send(()).is_ok() {
                ahead.add(&slices);
                self.busy.add(&slices);
            }
        }
        self.waiting = left;
    }
}

/// A place in the order; dropped, it lets the next ones go.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    slices: SliceSet,
    number: u64,
    called: Option<oneshot::Receiver<()>>,
}

impl Turn {
    /// Waits until all who came before have ended.
    pub(super) async fn come(&mut self) {
        if let Some(called) = &mut self.called {
            // the sender is only dropped with the queue, which this turn keeps alive
            let _ = called.await;
            self.called = None;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.turns.lock();
        let before = queue.waiting.len();
        queue.waiting.retain(|(number, _, _)| *number != self.number);
        if queue.waiting.len() == before {
            queue.busy.remove(&self.slices);
        }
        queue.call();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn set(slices: &[u16]) -> SliceSet {
        slices.iter().copied().map(Slice).collect()
    }

    fn is_up(turn: &mut Turn) -> bool {
        matches!(pin!(turn.come()).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()))
    }

    #[test]
    fn a_turn_comes_when_all_before_it_with_its_slices_have_ended() {
        let turns = Arc::new(Turns::default());
        let mut first = turns.enter(set(&[1, 70]));
        let mut second = turns.enter(set(&[70, 1023]));
        let mut third = turns.enter(set(&[1023]));
        let mut apart = turns.enter(set(&[5]));
        assert!(is_up(&mut first) && is_up(&mut apart));
        assert!(!is_up(&mut second) && !is_up(&mut third));
        drop(first);
        assert!(is_up(&mut second) && !is_up(&mut third));
        drop(second);
        assert!(is_up(&mut third));
    }

    #[test]
    fn who_gives_up_waiting_holds_nobody_up() {
        let turns = Arc::new(Turns::default());
        let first = turns.enter(set(&[1]));
        let second = turns.enter(set(&[1, 2]));
        let mut third = turns.enter(set(&[2]));
        assert!(!is_up(&mut third));
        drop(second);
        assert!(is_up(&mut third));
        let mut fourth = turns.enter(set(&[1]));
        assert!(!is_up(&mut fourth));
        drop(first);
        assert!(is_up(&mut fourth));
        // called, and dropped before it noticed
        let fifth = turns.enter(set(&[1]));
        let mut sixth = turns.enter(set(&[1]));
        drop(fourth);
        drop(fifth);
        assert!(is_up(&mut sixth));
    }
}
