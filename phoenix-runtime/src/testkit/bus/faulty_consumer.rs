//! The consumer of a bus that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::faulty_bus::FaultyBus;
use crate::bus::{BusError, Consumer, Happening, Received, Subscription, TopicPartition};
use crate::domain::ports::BoxFuture;

pub(super) struct FaultyConsumer {
    bus: FaultyBus,
    inner: Box<dyn Consumer>,
    subscription: Subscription,
    /// What it was told that it has.
    has: BTreeSet<TopicPartition>,
    /// What it was told that it lost, though it has it, and when it gets it back.
    away: BTreeMap<TopicPartition, Duration>,
    /// What is to be given back without being told, as it is away.
    to_release: Vec<TopicPartition>,
}

impl std::fmt::Debug for FaultyConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultyConsumer({:?})", self.inner)
    }
}

impl FaultyConsumer {
    pub(super) fn new(bus: FaultyBus, inner: Box<dyn Consumer>, subscription: Subscription) -> Self {
        let (has, away, to_release) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        Self { bus, inner, subscription, has, away, to_release }
    }

    async fn faulty_next(&mut self) -> Result<Happening, BusError> {
        self.bus.latency().await;
        if let Some(lost) = self.loses() {
            return Ok(lost);
        }
        loop {
            self.bus.wait_for_thaw().await;
            if let Err(error) = self.bus.is_up() {
                // who asks again at once is to find another time
                let changed = pin!(self.bus.changed.notified());
                drop(select(changed, self.bus.clock.sleep(self.bus.random_delay())).await);
                return Err(error);
            }
            if !self.to_release.is_empty() {
                self.inner.release(self.to_release.clone()).await?;
                self.to_release.clear();
            }
            if let Some(back) = self.comes_back().await? {
                return Ok(back);
            }
            let guest = self.bus.guests(&self.subscription).await;
            let until = guest.into_iter().chain(self.away.values().copied()).min();
            let happening = {
                let changed = pin!(self.bus.changed.notified());
                let now = self.bus.clock.monotonic();
                let other = async {
                    match until {
                        Some(until) => {
                            drop(select(changed, self.bus.clock.sleep(until.saturating_sub(now))).await);
                        }
                        None => changed.await,
                    }
                };
                match select(self.inner.next(), pin!(other)).await {
                    Either::Left((happening, _)) => happening?,
                    Either::Right(_) => continue,
                }
            };
            if let Some(told) = self.tells(happening) {
                return Ok(told);
            }
        }
    }

    /// One of its partitions is lost, now and then.
    fn loses(&mut self) -> Option<Happening> {
        if self.has.is_empty() || !self.bus.happens(self.bus.faults.lost) {
            return None;
        }
        let lost = self.has.iter().nth(self.bus.below(self.has.len())).cloned()?;
        self.has.remove(&lost);
        self.inner.pause(std::slice::from_ref(&lost));
        self.away.insert(lost.clone(), self.bus.clock.monotonic() + self.bus.random_delay());
        Some(Happening::Lost(vec![lost]))
    }

    /// What is away comes back when its time is over, from the committed offset on.
    async fn comes_back(&mut self) -> Result<Option<Happening>, BusError> {
        let (now, healthy) = (self.bus.clock.monotonic(), self.bus.is_healthy());
        let due = self.away.iter().find(|(_, at)| healthy || **at <= now).map(|(partition, _)| partition.clone());
        let Some(partition) = due else { return Ok(None) };
        let offsets = self.bus.inner.offsets(partition.clone(), &self.subscription.group).await?;
        self.inner.seek(&partition, offsets.committed.unwrap_or(offsets.earliest)).await?;
        self.inner.resume(std::slice::from_ref(&partition));
        self.away.remove(&partition);
        self.has.insert(partition.clone());
        Ok(Some(Happening::Assigned(vec![(partition, offsets.committed)])))
    }

    /// What the consumer's user is told of what happened; without what is away.
    fn tells(&mut self, happening: Happening) -> Option<Happening> {
        match happening {
            Happening::Assigned(partitions) => {
                self.has.extend(partitions.iter().map(|(partition, _)| partition.clone()));
                Some(Happening::Assigned(partitions))
            }
            Happening::Revoking(partitions) => {
                let (mine, away): (Vec<_>, Vec<_>) = partitions.into_iter().partition(|p| self.has.contains(p));
                self.away.retain(|partition, _| !away.contains(partition));
                self.to_release.extend(away);
                (!mine.is_empty()).then_some(Happening::Revoking(mine))
            }
            Happening::Lost(partitions) => {
                self.away.retain(|partition, _| !partitions.contains(partition));
                let mine: Vec<_> = partitions.into_iter().filter(|partition| self.has.remove(partition)).collect();
                (!mine.is_empty()).then_some(Happening::Lost(mine))
            }
            Happening::Records(records) => {
                let records = self.mixed(records);
                (!records.is_empty()).then_some(Happening::Records(records))
            }
            Happening::OutOfRange { ref partition, .. } => self.has.contains(partition).then_some(happening),
        }
    }

    /// The records of each partition in their order, the partitions in any.
    fn mixed(&self, records: Vec<Received>) -> Vec<Received> {
        let mut by_partition: BTreeMap<TopicPartition, Vec<Received>> = BTreeMap::new();
        for received in records.into_iter().filter(|received| self.has.contains(&received.from)) {
            by_partition.entry(received.from.clone()).or_default().push(received);
        }
        let mut parts: Vec<_> = by_partition.into_values().map(Vec::into_iter).collect();
        let mut mixed = Vec::new();
        while !parts.is_empty() {
            let chosen = self.bus.below(parts.len());
            match parts.get_mut(chosen).and_then(Iterator::next) {
                Some(received) => mixed.push(received),
                None => drop(parts.swap_remove(chosen)),
            }
        }
        mixed
    }

    async fn faulty_commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> Result<(), BusError> {
        self.bus.latency().await;
        if self.bus.is_frozen() {
            self.bus.clock.sleep(self.bus.faults.slowest).await;
            return Err(BusError::Unknown("simulated: no answer".to_owned()));
        }
        self.bus.is_up()?;
        if let Some((lost, _)) = offsets.iter().find(|(partition, _)| self.away.contains_key(partition)) {
            return Err(BusError::Lost(lost.clone()));
        }
        if self.bus.happens(self.bus.faults.before) {
            return Err(BusError::Unavailable("simulated: connection refused".to_owned()));
        }
        self.inner.commit(offsets).await?;
        if self.bus.happens(self.bus.faults.after) {
            return Err(BusError::Unknown("simulated: connection reset after the commit".to_owned()));
        }
        Ok(())
    }
}

impl Consumer for FaultyConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Happening, BusError>> {
        Box::pin(self.faulty_next())
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.faulty_commit(offsets))
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        // what is away stays paused until it comes back
        let mine: Vec<_> = partitions.iter().filter(|partition| self.has.contains(*partition)).cloned().collect();
        self.inner.resume(&mine);
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> BoxFuture<'_, Result<(), BusError>> {
        if self.away.contains_key(partition) {
            return Box::pin(std::future::ready(Err(BusError::Lost(partition.clone()))));
        }
        self.inner.seek(partition, offset)
    }

    fn release(&mut self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), BusError>> {
        let mine: Vec<_> = partitions.into_iter().filter(|partition| self.has.remove(partition)).collect();
        self.inner.release(mine)
    }
}
