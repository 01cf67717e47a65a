//! Commands that may be what ended the process: one at a time in the node, and while nothing else begins.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::examine::ALONE;
use super::job::{Job, stream};
use super::pack::{Packer, Place};
use super::rows::{key, until_done};
use super::slot::{Home, Stage};
use super::work::{Done, Work};
use crate::domain::ports::BoxFuture;
use crate::engine::order::Order;
use crate::event_store::letters::{InboxKey, InboxRow};

/// For how long nothing else begins: one that is slow is no reason to stop the node.
const QUIET: Duration = Duration::from_secs(1);

/// The command that is done alone.
#[derive(Debug)]
pub(super) struct Alone {
    partition: u16,
    assignment: u64,
    serial: u64,
}

impl Work {
    /// Whether nothing begins now but what is done alone.
    pub(super) fn is_quiet(&self) -> bool {
        self.parts.clock.monotonic() < self.quiet_until
    }

    /// For a while nothing else begins.
    pub(super) fn be_quiet(&mut self) {
        self.quiet_until = self.parts.clock.monotonic().saturating_add(QUIET);
    }

    /// Puts what is to be done alone, and is the next of a partition, where it waits for its turn.
    pub(super) fn hold_suspects(&mut self, partition: u16) {
        let now = self.parts.clock.monotonic();
        let Some(slot) = self.slots.get_mut(&partition).filter(|slot| !slot.looks) else { return };
        let (mut suspects, mut rest) = (Vec::new(), VecDeque::new());
        // only what nothing of its lane is in front of
        let mut lanes = BTreeSet::new();
        for job in std::mem::take(&mut slot.backlog) {
            if job.suspect && !job.cleared && !lanes.contains(&job.lane) {
                suspects.push(job);
            } else {
                lanes.insert(job.lane);
                rest.push_back(job);
            }
        }
        slot.backlog = rest;
        let mut due = None;
        for job in suspects {
            let lane = slot.lanes.of(job.lane);
            // it is held, for it is a suspect
            drop(lane.enter(job));
            due = lane.rest(|| now, false, |_| Duration::ZERO).or(due);
        }
        self.resend_at(due);
    }

    /// Counts a try durably; then it is made.
    pub(super) fn do_alone(&mut self, mut job: Box<Job>, order: Order) {
        let (counted, uncounted) = (self.counting(&job, 1), self.counting(&job, 0));
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        slot.settling += 1;
        self.alone = Some(Alone { partition: job.partition, assignment: job.assignment, serial: job.serial });
        self.be_quiet();
        job.uncounted = uncounted.map(Box::new);
        let keeping = counted.map(|counted| self.keep(counted));
        self.done.push(Box::pin(async move {
            if let Some(keeping) = keeping {
                keeping.await;
            }
            Done::Counted(job, order)
        }));
    }

    /// The row of a command, with how often it was tried alone, this time included or not. It is the number that is kept,
    /// and not one more, so that an answer that is lost makes no difference.
    fn counting(&self, job: &Job, this: u32) -> Option<(InboxKey, InboxRow)> {
        let slot = self.slots.get(&job.partition)?;
        let Home::Row(id) = slot.entries.get(&job.serial)?.home else { return None };
        let tries = slot.rows.get(id)?.facts.tries.max(ALONE).saturating_add(this);
        let place = Place {
            topic: Arc::clone(&slot.partition.topic),
            partition: job.partition,
            now_micros: self.parts.clock.wall_micros(),
        };
        let mut packer = Packer::one_by_one(place, stream(&job.call), tries);
        packer.push(job.offset, &job.record, job.serial);
        let (row, _) = packer.into_rows().pop()?;
        Some((key(&slot.partition, id), row))
    }

    /// Keeps a row as it is here, unless it is gone: then its command has an outcome.
    fn keep(&self, (name, row): (InboxKey, InboxRow)) -> BoxFuture<'static, ()> {
        let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
        Box::pin(async move {
            until_done(&*store, &*clock, "count a try of a command", |letters| {
                let replacing = letters.replace(name.clone(), vec![row.clone()]);
                Box::pin(async move { replacing.await.map(drop) })
            })
            .await;
        })
    }

    /// A try has not ended the process. Where another node has the command by now, and has counted one of its own, that one
    /// is lost, which only makes a suspect live longer.
    pub(super) fn take_back(&mut self, job: &mut Job) {
        if let Some(uncounted) = job.uncounted.take() {
            let keeping = self.keep(*uncounted);
            self.done.push(Box::pin(async move {
                keeping.await;
                Done::Over
            }));
        }
    }

    /// A try is counted: it is made, unless its partition is about to go.
    pub(super) fn counted(&mut self, mut job: Box<Job>, order: Order) {
        if !self.is_current(&job) {
            self.no_more_alone(&job);
            return self.take_back(&mut job);
        }
        let slot = self.slots.get_mut(&job.partition);
        let runs = slot.is_some_and(|slot| {
            slot.settling -= 1;
            slot.stage == Stage::Running
        });
        match runs {
            true if job.is_command() => self.send(job, order),
            true => self.ask(job),
            false => self.acquit(job),
        }
    }

    /// A command has come back from the engine: so it is not what ends the process.
    pub(super) fn no_more_alone(&mut self, job: &Job) {
        let is_it = self.alone.as_ref().is_some_and(|alone| {
            (alone.partition, alone.assignment, alone.serial) == (job.partition, job.assignment, job.serial)
        });
        if is_it {
            self.alone = None;
        }
    }

    /// Takes back a try that has not ended the process; then it may be tried again.
    pub(super) fn acquit(&mut self, mut job: Box<Job>) {
        self.no_more_alone(&job);
        let Some(uncounted) = job.uncounted.take() else { return self.comes_back(job) };
        let keeping = self.keep(*uncounted);
        if let Some(slot) = self.slots.get_mut(&job.partition) {
            slot.settling += 1;
        }
        self.done.push(Box::pin(async move {
            keeping.await;
            Done::Acquitted(job)
        }));
    }

    pub(super) fn acquitted(&mut self, job: Box<Job>) {
        if !self.is_current(&job) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(&job.partition) {
            slot.settling -= 1;
        }
        self.comes_back(job);
    }

    /// Lets go on what waited for a command that is done alone, if its time is over.
    pub(super) fn go_on(&mut self) {
        let is_gone =
            |alone: &Alone| self.slots.get(&alone.partition).is_none_or(|slot| slot.assignment != alone.assignment);
        if self.alone.as_ref().is_some_and(is_gone) {
            self.alone = None;
        }
        let waits = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.stage == Stage::Running && !slot.blocked && !slot.backlog.is_empty());
        let waiting: Vec<u16> = waits.map(|(partition, _)| *partition).collect();
        for partition in waiting {
            self.dispatch(partition);
        }
    }
}
