//! Partitions come and go: taken before anything of them is done, finished before they are let go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::slot::{Slot, Stage};
use super::work::{Done, Work};
use crate::bus::port::{Consumer, TopicPartition};
use crate::event_store::letters::Backlog;
use crate::event_store::port::{EventStore, Partition, StoreError};

/// The first and the longest pause before partitions that could not be taken are tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How long the bus has for saying that a partition is another node's, before it is taken again.
const AGAIN: Duration = Duration::from_secs(15);

/// What waits in the inbox, by partition.
async fn backlogs(store: &dyn EventStore, topic: Arc<str>) -> Result<BTreeMap<u16, Backlog>, StoreError> {
    let Some(letters) = store.letters() else { return Ok(BTreeMap::new()) };
    let all = letters.backlog(Some(topic)).await?;
    Ok(all.into_iter().map(|((_, partition), backlog)| (partition, backlog)).collect())
}

impl Work {
    pub(super) fn assigned(&mut self, partitions: Vec<(TopicPartition, Option<u64>)>, consumer: &mut dyn Consumer) {
        let mut taking = Vec::new();
        let count = self.parts.partitions.count();
        for (partition, committed) in partitions {
            consumer.pause(std::slice::from_ref(&partition));
            if partition.partition >= count {
                metrics::counter!("phoenix_delivery_refused_partitions_total").increment(1);
                tracing::error!(
                    %partition,
                    "NOTHING OF THIS PARTITION IS DONE: the topic has grown, and the event store is dealt to {count} partitions. \
                     Make a topic with {count} partitions, send there what came to this one, and have nodes and clients use it"
                );
                continue;
            }
            self.assignments += 1;
            taking.push((partition.partition, self.assignments));
            let mut slot = Slot::new(partition.clone(), self.assignments, committed);
            slot.flow.paused = true;
            self.slots.insert(partition.partition, slot);
        }
        self.take_partitions(taking, FIRST_PAUSE);
    }

    /// Makes the aggregates of these partitions this node's.
    pub(super) fn take_partitions(&mut self, taking: Vec<(u16, u64)>, pause: Duration) {
        let partitions = self.parts.partitions.clone();
        let (store, topic) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.topic));
        self.done.push(Box::pin(async move {
            let wanted = taking.iter().map(|(partition, _)| Partition(*partition));
            let taken = match partitions.take(wanted).await {
                // only now nobody else puts anything of them
                Ok(()) => backlogs(&*store, topic).await,
                Err(error) => Err(error),
            };
            match taken {
                Ok(backlogs) => {
                    let backlog = |partition| backlogs.get(&partition).copied().unwrap_or_default();
                    Done::Taken(
                        taking.into_iter().map(|(number, assignment)| (number, assignment, backlog(number))).collect(),
                    )
                }
                Err(error) => {
                    tracing::warn!(%error, "can't take partitions; trying again");
                    Done::NotTaken(taking, pause)
                }
            }
        }));
    }

    /// They could not be taken: later, and later each time.
    pub(super) fn not_taken(&mut self, taking: Vec<(u16, u64)>, pause: Duration) {
        let taking = self.still_taking(taking);
        if !taking.is_empty() {
            self.take_later(taking, pause, (pause * 2).min(MAX_PAUSE));
        }
    }

    /// As [`Work::take_partitions`], later: by then they may be gone.
    pub(super) fn take_later(&mut self, taking: Vec<(u16, u64)>, after: Duration, pause: Duration) {
        let clock = Arc::clone(&self.parts.clock);
        self.done.push(Box::pin(async move {
            clock.sleep(after).await;
            Done::Due(taking, pause)
        }));
    }

    pub(super) fn still_taking(&self, mut taking: Vec<(u16, u64)>) -> Vec<(u16, u64)> {
        let is_current = |slot: &Slot, assignment| slot.assignment == assignment && slot.stage == Stage::Taking;
        taking.retain(|(partition, assignment)| {
            self.slots.get(partition).is_some_and(|slot| is_current(slot, *assignment))
        });
        taking
    }

    /// Another node took partitions that the bus has not taken from this one. Either the bus says so soon, or it was a
    /// mistake: then they are taken again.
    pub(super) fn notice_losses(&mut self) {
        if !self.owned.has_changed().unwrap_or(false) {
            return;
        }
        let owned = Arc::clone(&self.owned.borrow_and_update());
        let mut lost = Vec::new();
        for (number, slot) in &mut self.slots {
            if slot.stage == Stage::Running && !owned.contains(&Partition(*number)) {
                tracing::warn!(partition = %slot.partition, "another node has taken a partition that the bus says is this node's");
                metrics::counter!("phoenix_delivery_fenced_total").increment(1);
                slot.stage = Stage::Taking;
                lost.push((*number, slot.assignment));
            }
        }
        if !lost.is_empty() {
            self.take_later(lost, AGAIN, FIRST_PAUSE);
        }
    }

    /// Partitions go to another node: what is open comes to its outcomes, what has not begun is left to the other.
    pub(super) fn leave(&mut self, partitions: &[u16]) {
        let until = self.parts.clock.monotonic().saturating_add(self.parts.options.handover);
        let mut leaving = Vec::new();
        for partition in partitions {
            let Some(slot) = self.slots.get_mut(partition) else { continue };
            if matches!(slot.stage, Stage::Leaving { .. }) {
                continue;
            }
            slot.stage = Stage::Leaving { until, given_back: false };
            slot.backlog.clear();
            slot.fresh.clear();
            leaving.push((*partition, slot.assignment));
        }
        self.give_back(leaving, self.parts.options.handover);
    }

    /// Partitions are gone: nothing of them counts any more.
    pub(super) fn lose(&mut self, partitions: &[u16]) {
        let gone =
            partitions.iter().filter_map(|partition| Some((*partition, self.slots.remove(partition)?.assignment)));
        let gone: Vec<_> = gone.collect();
        self.give_back(gone, Duration::ZERO);
    }

    pub(super) fn give_back(&mut self, leaving: Vec<(u16, u64)>, bound: Duration) {
        if leaving.is_empty() {
            return;
        }
        let partitions = self.parts.partitions.clone();
        self.done.push(Box::pin(async move {
            partitions.give_back(leaving.iter().map(|(partition, _)| Partition(*partition)), bound).await;
            Done::GivenBack(leaving)
        }));
    }
}
