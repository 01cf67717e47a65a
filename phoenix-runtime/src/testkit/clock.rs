//! Time that a test moves by hand.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::domain::ports::{BoxFuture, Clock};

/// A clock that stands still until it is told to move. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct VirtualClock(Arc<Mutex<Time>>);

#[derive(Debug, Default)]
struct Time {
    monotonic: Duration,
    /// What the wall clock shows besides the monotonic time, in microseconds.
    wall_offset: i64,
    /// Who waits for which moment; a number tells those of one moment apart.
    sleepers: BTreeMap<(Duration, u64), Option<Waker>>,
    next_sleeper: u64,
}

impl VirtualClock {
    /// A clock whose wall time starts at this many microseconds since the Unix epoch.
    #[must_use]
    pub fn starting_at(wall_micros: i64) -> Self {
        let clock = Self::default();
        clock.time().wall_offset = wall_micros;
        clock
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves both times on and wakes whose moment has come.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time();
        time.monotonic += by;
        let now = time.monotonic;
        let due: Vec<_> = time.sleepers.range(..=(now, u64::MAX)).map(|(key, _)| *key).collect();
        let wakers: Vec<_> = due.iter().filter_map(|key| time.sleepers.get_mut(key).and_then(Option::take)).collect();
        // woken tasks may look at the clock
        drop(time);
        for waker in wakers {
            waker.wake();
        }
    }

    /// Moves on to the next moment that somebody waits for. Says whether there was one.
    #[must_use]
    pub fn advance_to_next(&self) -> bool {
        let time = self.time();
        let next = time.sleepers.iter().find(|(_, waker)| waker.is_some()).map(|((at, _), _)| *at);
        let by = next.map(|at| at.saturating_sub(time.monotonic));
        drop(time);
        by.inspect(|by| self.advance(*by)).is_some()
    }

    /// Lets the wall clock jump, forwards or back; the monotonic time stays.
    pub fn jump_wall(&self, micros: i64) {
        let mut time = self.time();
        time.wall_offset = time.wall_offset.saturating_add(micros);
    }
}

impl Clock for VirtualClock {
    fn wall_micros(&self) -> i64 {
        let time = self.time();
        i64::try_from(time.monotonic.as_micros()).unwrap_or(i64::MAX).saturating_add(time.wall_offset)
    }

    fn monotonic(&self) -> Duration {
        self.time().monotonic
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut time = self.time();
        let key = (time.monotonic.saturating_add(duration), time.next_sleeper);
        time.next_sleeper += 1;
        time.sleepers.insert(key, None);
        drop(time);
        Box::pin(Sleep { clock: self.clone(), key })
    }
}

struct Sleep {
    clock: VirtualClock,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut time = self.clock.time();
        if time.monotonic >= self.key.0 {
            return Poll::Ready(());
        }
        time.sleepers.insert(self.key, Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let gone = self.clock.time().sleepers.remove(&self.key);
        // a waker may own what owns this clock: dropped without the lock
        drop(gone);
    }
}
