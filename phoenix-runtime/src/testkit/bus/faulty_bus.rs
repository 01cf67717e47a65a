//! A bus that fails as networks, brokers and groups do, by a seed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::faulty_consumer::FaultyConsumer;
use super::faulty_follower::FaultyFollower;
use super::{Failure, ServerFaults};
use crate::bus::{Bus, BusError, Consumer, Follower, Keep, Offsets, Outgoing, Subscription, TopicPartition, Traits};
use crate::domain::ports::{BoxFuture, Clock, Seed};
use crate::engine::Spawn;
use crate::testkit::simulation::Simulation;

/// How often things go wrong: once in so many calls, 0 for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusFaults {
    /// A call fails before anything is done.
    pub before: u64,
    /// An outage begins: every call fails before anything is done, for a while.
    pub outage: u64,
    /// It is done, and the answer is lost.
    pub after: u64,
    /// The connection is torn: the answer is lost, and what was sent comes later, or never.
    pub torn: u64,
    /// Records are there twice, as after a try again that nobody knows of.
    pub twice: u64,
    /// A call takes long.
    pub slow: u64,
    /// A further consumer of the group comes for a while, takes its share of partitions, and goes.
    pub rebalance: u64,
    /// A consumer loses a partition and gets it back later, from the committed offset on.
    pub lost: u64,
    /// The longest that anything takes: a slow call, an outage, a further consumer.
    pub slowest: Duration,
}

impl BusFaults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        before: 0,
        outage: 0,
        after: 0,
        torn: 0,
        twice: 0,
        slow: 0,
        rebalance: 0,
        lost: 0,
        slowest: Duration::from_millis(50),
    };

    /// A bad day.
    pub const MANY: Self = Self {
        before: 12,
        outage: 60,
        after: 10,
        torn: 14,
        twice: 10,
        slow: 4,
        rebalance: 12,
        lost: 12,
        slowest: Duration::from_millis(200),
    };
}

/// A bus that fails now and then, within what the port allows. Clones are the same bus.
///
/// Equal seeds give equal runs over a bus without threads of its own, in a world with a clock and tasks of the test's.
#[derive(Clone)]
pub struct FaultyBus {
    pub(super) inner: Arc<dyn Bus>,
    pub(super) clock: Arc<dyn Clock>,
    seed: Arc<dyn Seed>,
    /// Where torn calls go on: the broker's side, which a killed client does not take along.
    spawn: Spawn,
    pub(super) faults: BusFaults,
    standing: Arc<Mutex<Standing>>,
    /// Wakes who waits for the servers.
    pub(super) changed: Arc<Notify>,
}

/// How the servers are, and what they have to do.
#[derive(Default)]
struct Standing {
    healthy: bool,
    killed: bool,
    frozen: bool,
    down_until: Duration,
    /// What was sent to servers that stand still.
    sent: VecDeque<Arc<[Outgoing]>>,
    /// Further consumers of a group, and when they go.
    guests: BTreeMap<String, (Duration, Box<dyn Consumer>)>,
}

impl FaultyBus {
    /// Fails as `faults` says, over `inner`.
    #[must_use]
    pub fn new(
        inner: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        seed: Arc<dyn Seed>,
        spawn: Spawn,
        faults: BusFaults,
    ) -> Self {
        let (standing, changed) = (Arc::default(), Arc::default());
        Self { inner, clock, seed, spawn, faults, standing, changed }
    }

    /// In a simulated world, with its clock, its seed, and tasks of a group of their own.
    #[must_use]
    pub fn in_world(inner: Arc<dyn Bus>, world: &Simulation, faults: BusFaults) -> Self {
        Self::new(inner, Arc::new(world.clock()), world.seed(), world.spawner(world.group()), faults)
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        let mut standing = self.standing();
        (standing.healthy, standing.down_until) = (true, Duration::ZERO);
        let guests = std::mem::take(&mut standing.guests);
        drop(standing);
        // they wake the others when they go
        drop(guests);
        self.changed.notify_waiters();
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.standing().healthy
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.seed.next_u64() % bound.max(1) as u64).unwrap_or_default()
    }

    pub(super) fn happens(&self, once_in: u64) -> bool {
        once_in > 0 && !self.is_healthy() && self.seed.next_u64().is_multiple_of(once_in)
    }

    pub(super) fn random_delay(&self) -> Duration {
        let micros = u64::try_from(self.faults.slowest.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(1 + self.seed.next_u64() % micros)
    }

    pub(super) async fn latency(&self) {
        if self.happens(self.faults.slow) {
            self.clock.sleep(self.random_delay()).await;
        }
    }

    /// Whether the servers answer at all; an outage may begin with this question.
    pub(super) fn is_up(&self) -> Result<(), BusError> {
        let now = self.clock.monotonic();
        if self.happens(self.faults.outage) {
            let until = now + self.random_delay();
            self.standing().down_until = until;
        }
        let standing = self.standing();
        if standing.killed || now < standing.down_until {
            return Err(BusError::Unavailable("simulated: connection refused".to_owned()));
        }
        Ok(())
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.standing().frozen
    }

    pub(super) async fn wait_for_thaw(&self) {
        while self.is_frozen() {
            // made before the question, so that no news between them are missed
            let changed = self.changed.notified();
            if self.is_frozen() {
                changed.await;
            }
        }
    }

    /// A further consumer comes now and then, and goes when its time is over. Tells when the present one goes.
    pub(super) async fn guests(&self, subscription: &Subscription) -> Option<Duration> {
        let (group, now) = (&subscription.group, self.clock.monotonic());
        let gone = {
            let mut standing = self.standing();
            let is_over = standing.guests.get(group).is_some_and(|(until, _)| *until <= now);
            if is_over { standing.guests.remove(group) } else { None }
        };
        // without the lock: those that it wakes may ask at once
        drop(gone);
        let has_one = self.standing().guests.contains_key(group);
        if !has_one && self.inner.traits().rebalances && self.happens(self.faults.rebalance) {
            let until = now + self.random_delay();
            if let Ok(guest) = self.inner.subscribe(subscription.clone()).await {
                self.standing().guests.insert(group.clone(), (until, guest));
            }
        }
        self.standing().guests.get(group).map(|(until, _)| *until)
    }

    async fn faulty_produce(&self, records: Arc<[Outgoing]>) -> Vec<Result<u64, BusError>> {
        let count = records.len();
        let all = |error: &BusError| (0..count).map(|_| Err(error.clone())).collect();
        let unknown = |what: &str| BusError::Unknown(format!("simulated: {what}"));
        self.latency().await;
        if self.is_frozen() {
            self.standing().sent.push_back(records);
            self.clock.sleep(self.faults.slowest).await;
            return all(&unknown("no answer"));
        }
        if let Err(error) = self.is_up() {
            return all(&error);
        }
        if self.happens(self.faults.before) {
            return all(&BusError::Unavailable("simulated: connection refused".to_owned()));
        }
        if self.happens(self.faults.torn) {
            if self.below(2) == 0 {
                let (inner, clock, delay) = (Arc::clone(&self.inner), Arc::clone(&self.clock), self.random_delay());
                (self.spawn)(Box::pin(async move {
                    clock.sleep(delay).await;
                    // nobody waits for what becomes of it
                    drop(inner.produce(records).await);
                }));
            }
            return all(&unknown("connection reset"));
        }
        self.in_any_order(records).await
    }

    /// Sends partition by partition, in any order of these.
    async fn in_any_order(&self, records: Arc<[Outgoing]>) -> Vec<Result<u64, BusError>> {
        let mut answers: Vec<_> =
            records.iter().map(|_| Err(BusError::Unknown("simulated: no answer".to_owned()))).collect();
        let mut by_partition: BTreeMap<TopicPartition, Vec<(usize, Outgoing)>> = BTreeMap::new();
        for (index, outgoing) in records.iter().enumerate() {
            by_partition.entry(outgoing.to.clone()).or_default().push((index, outgoing.clone()));
        }
        let mut parts: Vec<_> = by_partition.into_values().collect();
        while !parts.is_empty() {
            let (indices, records): (Vec<_>, Vec<_>) = parts.swap_remove(self.below(parts.len())).into_iter().unzip();
            let records: Arc<[Outgoing]> = records.into();
            let again = self.happens(self.faults.twice).then(|| Arc::clone(&records));
            let told = self.inner.produce(records).await;
            if let Some(again) = again {
                drop(self.inner.produce(again).await);
            }
            let is_lost = self.happens(self.faults.after);
            for (index, answer) in indices.into_iter().zip(told) {
                if let (Some(slot), false) = (answers.get_mut(index), is_lost && answer.is_ok()) {
                    *slot = answer;
                }
            }
            self.latency().await;
        }
        answers
    }
}

impl fmt::Debug for FaultyBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyBus({:?}, {:?})", self.inner, self.faults)
    }
}

impl Bus for FaultyBus {
    fn name(&self) -> String {
        format!("faulty {}", self.inner.name())
    }

    fn traits(&self) -> Traits {
        self.inner.traits()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn partitions(&self, topic: Arc<str>) -> BoxFuture<'_, Result<Option<u16>, BusError>> {
        Box::pin(async move {
            self.latency().await;
            self.is_up()?;
            self.inner.partitions(topic).await
        })
    }

    fn create_keeping(&self, topic: Arc<str>, partitions: u16, keep: Keep) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            self.latency().await;
            self.is_up()?;
            self.inner.create_keeping(topic, partitions, keep).await
        })
    }

    fn produce(&self, records: Arc<[Outgoing]>) -> BoxFuture<'_, Vec<Result<u64, BusError>>> {
        Box::pin(self.faulty_produce(records))
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        Box::pin(async move {
            self.latency().await;
            self.is_up()?;
            let inner = self.inner.subscribe(subscription.clone()).await?;
            Ok(Box::new(FaultyConsumer::new(self.clone(), inner, subscription)) as Box<dyn Consumer>)
        })
    }

    fn follow(
        &self,
        partition: TopicPartition,
        max_records: usize,
    ) -> BoxFuture<'_, Result<Box<dyn Follower>, BusError>> {
        Box::pin(async move {
            self.latency().await;
            self.is_up()?;
            let inner = self.inner.follow(partition, max_records).await?;
            Ok(Box::new(FaultyFollower::new(self.clone(), inner)) as Box<dyn Follower>)
        })
    }

    fn offsets(&self, partition: TopicPartition, group: &str) -> BoxFuture<'_, Result<Offsets, BusError>> {
        let group = group.to_owned();
        Box::pin(async move {
            self.latency().await;
            self.is_up()?;
            self.inner.offsets(partition, &group).await
        })
    }
}

impl ServerFaults for FaultyBus {
    fn kill(&self) -> BoxFuture<'_, Result<(), Failure>> {
        self.standing().killed = true;
        self.changed.notify_waiters();
        Box::pin(std::future::ready(Ok(())))
    }

    fn revive(&self) -> BoxFuture<'_, Result<(), Failure>> {
        self.standing().killed = false;
        self.changed.notify_waiters();
        Box::pin(std::future::ready(Ok(())))
    }

    fn freeze(&self) -> BoxFuture<'_, Result<(), Failure>> {
        self.standing().frozen = true;
        Box::pin(std::future::ready(Ok(())))
    }

    fn thaw(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async {
            loop {
                let Some(records) = self.standing().sent.pop_front() else { break };
                drop(self.inner.produce(records).await);
            }
            self.standing().frozen = false;
            self.changed.notify_waiters();
            Ok(())
        })
    }
}
