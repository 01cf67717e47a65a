//! Time-outs of asks: hardly any runs out, so all of them share one sleeper instead of having a timer each.
//!
//! A thread sleeps until the earliest deadline that it knows. Most asks are answered long before: it finds nothing due
//! then, and sleeps until the earliest deadline of those that wait at that moment. Who comes with an earlier one wakes it.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::domain::ports::Clock;

/// Threads that ask seldom meet at one of so many locks.
const PARTS: usize = 16;

/// The thread is looking for the earliest deadline, or is about to.
const LOOKING: u64 = u64::MAX;
/// Nobody waits.
const NEVER: u64 = u64::MAX - 1;

/// Time-outs of an engine's asks.
pub(crate) struct Timers {
    shared: Arc<Shared>,
    thread: Thread,
}

/// The place of one who waits. Who has it gives it back with [`Timers::end`].
#[derive(Debug)]
pub(crate) struct Ticket {
    part: usize,
    place: usize,
}

struct Shared {
    clock: Arc<dyn Clock>,
    parts: [Part; PARTS],
    /// When the thread wakes, in microseconds on the monotonic time, or [`LOOKING`], or [`NEVER`].
    next: AtomicU64,
    closed: AtomicBool,
}

/// A lock on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Part(Mutex<Places>);

#[derive(Default)]
struct Places {
    all: Vec<Place>,
    /// The first that nobody has.
    free: Option<usize>,
}

enum Place {
    Waiting {
        deadline: u64,
        waker: Waker,
    },
    Over,
    /// With the next that nobody has.
    Free(Option<usize>),
}

impl Part {
    fn places(&self) -> MutexGuard<'_, Places> {
        // nothing but cloning and dropping wakers can panic while it is held; the places are whole then
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timers {
    /// On this clock, whose time must be the machine's: the thread sleeps on that.
    ///
    /// # Errors
    /// A system that starts no thread.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let parts = std::array::from_fn(|_| Part::default());
        let shared = Arc::new(Shared { clock, parts, next: AtomicU64::new(LOOKING), closed: AtomicBool::new(false) });
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new().name("phoenix-timers".to_owned()).spawn(move || its.run())?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// Wakes when the monotonic time has come to `deadline`.
    pub(crate) fn begin(&self, deadline: Duration, waker: &Waker) -> Ticket {
        let deadline = u64::try_from(deadline.as_micros()).unwrap_or(NEVER).min(NEVER - 1);
        let part = part_of_thread();
        let waiting = Place::Waiting { deadline, waker: waker.clone() };
        let mut places = self.shared.parts[part].places();
        let Places { all, free } = &mut *places;
        let place = free.unwrap_or(all.len());
        if let Some(slot) = all.get_mut(place) {
            *free = if let Place::Free(next) = slot { *next } else { None };
            *slot = waiting;
        } else {
            all.push(waiting);
        }
        drop(places);
        // the thread says that it looks before it takes the first lock: either it finds this one, or it is told here
        if deadline < self.shared.next.load(Ordering::SeqCst) {
            let before = self.shared.next.fetch_min(deadline, Ordering::SeqCst);
            if before != LOOKING && deadline < before {
                self.thread.unpark();
            }
        }
        Ticket { part, place }
    }

    /// Whether the deadline is over; the waker is the one that is woken then.
    pub(crate) fn poll(&self, ticket: &Ticket, waker: &Waker) -> Poll<()> {
        let mut places = self.shared.parts[ticket.part].places();
        let Some(Place::Waiting { waker: known, .. }) = places.all.get_mut(ticket.place) else {
            return Poll::Ready(());
        };
        let before = (!known.will_wake(waker)).then(|| std::mem::replace(known, waker.clone()));
        drop(places);
        // a waker's end may run code of others
        drop(before);
        Poll::Pending
    }

    /// Nobody waits any more.
    #[allow(clippy::needless_pass_by_value, reason = "the place is somebody else's from now on")]
    pub(crate) fn end(&self, ticket: Ticket) {
        let mut places = self.shared.parts[ticket.part].places();
        let Places { all, free } = &mut *places;
        let gone =
            all.get_mut(ticket.place).map(|place| std::mem::replace(place, Place::Free(free.replace(ticket.place))));
        drop(places);
        drop(gone);
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn run(&self) {
        while !self.closed.load(Ordering::SeqCst) {
            self.next.store(LOOKING, Ordering::SeqCst);
            let now = self.now();
            let earliest = self.wake_due(now);
            let next = self.next.fetch_min(earliest, Ordering::SeqCst).min(earliest);
            if next == NEVER {
                thread::park();
            } else {
                // a part of a millisecond late rather than often
                thread::park_timeout(Duration::from_micros(next.saturating_sub(now)));
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(NEVER)
    }

    /// Wakes those whose time is over. Gives the earliest deadline of the others.
    fn wake_due(&self, now: u64) -> u64 {
        let mut earliest = NEVER;
        let mut due = Vec::new();
        for part in &self.parts {
            for place in &mut part.places().all {
                if let Place::Waiting { deadline, .. } = place {
                    if *deadline > now {
                        earliest = earliest.min(*deadline);
                    } else if let Place::Waiting { waker, .. } = std::mem::replace(place, Place::Over) {
                        due.push(waker);
                    }
                }
            }
        }
        for waker in due {
            // it is another's code: if it panics, others are woken all the same
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        earliest
    }
}

/// Which part this thread begins at.
fn part_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PART: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let part = PART.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed) % PARTS);
    PART.set(Some(part));
    part
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Wake;

    use super::*;
    use crate::clock::SystemClock;

    /// Says when it was woken.
    struct Says(Sender<(u64, Duration)>, u64, Arc<dyn Clock>);

    impl Wake for Says {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send((self.1, self.2.monotonic()));
        }
    }

    struct World {
        clock: Arc<dyn Clock>,
        timers: Timers,
        sender: Sender<(u64, Duration)>,
        woken: Receiver<(u64, Duration)>,
    }

    impl World {
        #[allow(clippy::expect_used, reason = "a test")]
        fn new() -> Self {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
            let (sender, woken) = channel();
            Self { timers: Timers::new(Arc::clone(&clock)).expect("a thread"), clock, sender, woken }
        }

        fn waker(&self, name: u64) -> Waker {
            Waker::from(Arc::new(Says(self.sender.clone(), name, Arc::clone(&self.clock))))
        }

        fn begin(&self, name: u64, millis: u64) -> Ticket {
            self.timers.begin(self.clock.monotonic() + Duration::from_millis(millis), &self.waker(name))
        }

        fn next(&self, within: Duration) -> Option<(u64, Duration)> {
            self.woken.recv_timeout(within).ok()
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn who_comes_later_with_an_earlier_deadline_is_woken_first() {
        let world = World::new();
        let begin = |millis: u64| {
            // the thread sleeps until an earlier one's deadline, or is about to
            while world.timers.shared.next.load(Ordering::SeqCst) == LOOKING {
                thread::yield_now();
            }
            world.begin(millis, millis)
        };
        let tickets: Vec<_> = [30_000, 90, 60, 30].into_iter().map(begin).collect();
        let mut order = Vec::new();
        while order.len() < 3 {
            let (name, at) = world.next(LONG).unwrap_or_default();
            assert!(at >= Duration::from_millis(name), "{name} was woken at {at:?}");
            order.push(name);
        }
        assert_eq!(order, [30, 60, 90]);
        let over: Vec<_> = tickets.iter().map(|t| world.timers.poll(t, Waker::noop()).is_ready()).collect();
        assert_eq!(over, [false, true, true, true]);
    }

    #[test]
    fn who_has_ended_is_not_woken_and_its_place_is_used_again() {
        let world = World::new();
        for name in 0..10_000 {
            let ticket = world.begin(name, 10);
            assert_eq!(ticket.place, 0, "places that nobody has are used again");
            world.timers.end(ticket);
        }
        let ticket = world.begin(10_000, 20);
        assert_eq!(world.next(LONG).map(|(name, _)| name), Some(10_000), "and nobody else");
        world.timers.end(ticket);
    }

    #[test]
    fn the_newest_waker_is_woken() {
        let world = World::new();
        let ticket = world.begin(1, 50);
        assert!(world.timers.poll(&ticket, &world.waker(2)).is_pending());
        assert_eq!(world.next(LONG).map(|(name, _)| name), Some(2));
    }

    #[test]
    fn none_is_missed_while_the_thread_looks() {
        let world = World::new();
        let tickets: Vec<Ticket> = thread::scope(|scope| {
            let some = |thread: u64| {
                let world = (
                    &world.timers,
                    &world.clock,
                    (0..2_500).map(|n| world.waker(thread * 2_500 + n)).collect::<Vec<_>>(),
                );
                scope.spawn(move || {
                    let (timers, clock, wakers) = world;
                    let begin = |(n, waker): (u64, Waker)| {
                        timers.begin(clock.monotonic() + Duration::from_micros(n * 7919 % 40_000), &waker)
                    };
                    (0..).zip(wakers).map(begin).collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> = (0..4).map(some).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        let mut names: Vec<_> = (0..10_000).map_while(|_| world.next(LONG)).map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(names, (0..10_000).collect::<Vec<_>>());
        assert!(tickets.iter().all(|ticket| world.timers.poll(ticket, Waker::noop()).is_ready()));
    }

    #[test]
    fn the_thread_ends_with_its_timers() {
        let world = World::new();
        let shared = Arc::downgrade(&world.timers.shared);
        let _waits = world.begin(1, 60_000);
        drop(world);
        let began = std::time::Instant::now();
        while shared.upgrade().is_some() {
            assert!(began.elapsed() < LONG, "the thread is still there");
            thread::yield_now();
        }
    }
}
