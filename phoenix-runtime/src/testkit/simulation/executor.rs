//! A scheduler that picks the next task by a seed, and moves time only when no task can run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::domain::ports::{BoxFuture, Seed, SplitMix};
use crate::engine::Spawn;
use crate::testkit::clock::VirtualClock;

/// A world on one thread. Clones are the same world.
#[derive(Clone)]
pub struct Simulation {
    world: Arc<World>,
    clock: VirtualClock,
    seed: Arc<SplitMix>,
}

struct World {
    tasks: Mutex<Tasks>,
    ready: Mutex<Vec<u64>>,
}

#[derive(Default)]
struct Tasks {
    next: u64,
    next_group: u64,
    all: BTreeMap<u64, (TaskGroup, Option<BoxFuture<'static, ()>>)>,
}

/// Tasks that live and die together, as those of a process do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskGroup(u64);

struct Ready {
    world: Arc<World>,
    task: u64,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.world.ready);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulation {
    /// A world of its own for a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World { tasks: Mutex::default(), ready: Mutex::default() };
        // some day in 2025
        let clock = VirtualClock::starting_at(1_750_000_000_000_000);
        Self { world: Arc::new(world), clock, seed: Arc::new(SplitMix::new(seed)) }
    }

    /// The world's clock.
    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// The world's randomness.
    #[must_use]
    pub fn seed(&self) -> Arc<SplitMix> {
        Arc::clone(&self.seed)
    }

    /// A number below `bound`.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.seed.next_u64() % bound.max(1)
    }

    /// Whether something happens that happens once in `times`.
    #[must_use]
    pub fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A new group of tasks.
    #[must_use]
    pub fn group(&self) -> TaskGroup {
        let mut tasks = lock(&self.world.tasks);
        tasks.next_group += 1;
        TaskGroup(tasks.next_group)
    }

    /// Starts a task.
    pub fn spawn(&self, group: TaskGroup, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.world.tasks);
        let id = tasks.next;
        tasks.next += 1;
        tasks.all.insert(id, (group, Some(Box::pin(task))));
        drop(tasks);
        lock(&self.world.ready).push(id);
    }

    /// Starts an engine's tasks in this group.
    #[must_use]
    pub fn spawner(&self, group: TaskGroup) -> Spawn {
        let simulation = self.clone();
        Arc::new(move |task| simulation.spawn(group, task))
    }

    /// Ends all tasks of a group wherever they are, as kill -9 does.
    pub fn kill(&self, group: TaskGroup) {
        let mut tasks = lock(&self.world.tasks);
        let ids: Vec<u64> = tasks.all.iter().filter(|(_, (of, _))| *of == group).map(|(id, _)| *id).collect();
        let killed: Vec<_> = ids.iter().filter_map(|id| tasks.all.remove(id)).collect();
        drop(tasks);
        // what they own may wake or start others
        drop(killed);
    }

    /// Waits on the world's clock.
    pub async fn sleep(&self, duration: Duration) {
        use crate::domain::ports::Clock as _;
        self.clock.sleep(duration).await;
    }

    /// Lets other tasks run.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Runs until `main` is done and gives what it gives; `None` if nothing can go on any more, or not within
    /// `steps` turns of tasks.
    pub fn run<T: Send + 'static>(&self, steps: u64, main: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        self.spawn(TaskGroup(0), async move {
            let value = main.await;
            *lock(&slot) = Some(value);
        });
        let mut value = None;
        for _ in 0..steps {
            value = lock(&result).take();
            if value.is_some() || (!self.step() && !self.clock.advance_to_next()) {
                break;
            }
        }
        // tasks hold this world, and it holds them
        let left = std::mem::take(&mut lock(&self.world.tasks).all);
        drop(left);
        value
    }

    /// One turn of one task that can run. Says whether there was one.
    fn step(&self) -> bool {
        let mut ready = lock(&self.world.ready);
        if ready.is_empty() {
            return false;
        }
        let chosen = usize::try_from(self.below(ready.len() as u64)).unwrap_or_default();
        let id = ready.swap_remove(chosen);
        drop(ready);
        let Some(mut task) = lock(&self.world.tasks).all.get_mut(&id).and_then(|(_, task)| task.take()) else {
            return true;
        };
        let waker = Waker::from(Arc::new(Ready { world: Arc::clone(&self.world), task: id }));
        let finished = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut tasks = lock(&self.world.tasks);
        if finished {
            tasks.all.remove(&id);
        } else if let Some((_, slot)) = tasks.all.get_mut(&id) {
            *slot = Some(task);
            return true;
        }
        drop(tasks);
        true
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Simulation({} tasks)", lock(&self.world.tasks).all.len())
    }
}
