//! Commands that may be what ended the process: one at a time in the node, and while nothing else begins.

use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, stream};
use super::pack::{Packer, Place};
use super::rows::key;
use super::slot::{Home, Stage};
use super::work::{Done, Work};
use crate::engine::order::Order;

/// For how long nothing else begins: one that is slow is no reason to stop the node.
const QUIET: Duration = Duration::from_secs(1);

/// The command that is done alone.
#[derive(Debug)]
pub(super) struct Alone {
    partition: u16,
    assignment: u64,
    serial: u64,
    /// Until then nothing else begins.
    until: Duration,
}

impl Work {
    /// Whether nothing else begins now.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.as_ref().is_some_and(|alone| {
            let is_here = self.slots.get(&alone.partition).is_some_and(|slot| slot.assignment == alone.assignment);
            is_here && self.parts.clock.monotonic() < alone.until
        })
    }

    /// Counts a try durably; then it is made.
    pub(super) fn do_alone(&mut self, job: Job, order: Order) {
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        slot.settling += 1;
        let home = slot.entries.get(&job.serial).map(|entry| entry.home);
        let row = match home {
            Some(Home::Row(id)) => Some(key(&slot.partition, id)),
            _ => None,
        };
        let until = self.parts.clock.monotonic().saturating_add(QUIET);
        self.alone = Some(Alone { partition: job.partition, assignment: job.assignment, serial: job.serial, until });
        let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
        self.done.push(Box::pin(async move {
            let mut counted = true;
            if let (Some(row), Some(letters)) = (row, store.letters())
                && let Err(error) = letters.note_try(vec![row], clock.wall_micros()).await
            {
                tracing::warn!(%error, "can't count a try of a command; trying again");
                counted = false;
            }
            Done::Counted(Box::new(job), order, counted)
        }));
    }

    /// A try is counted: it is made, unless its partition is about to go.
    pub(super) fn counted(&mut self, job: Job, order: Order, counted: bool) {
        if !self.is_current(&job) {
            self.alone = None;
            return;
        }
        let slot = self.slots.get_mut(&job.partition);
        let runs = slot.is_some_and(|slot| {
            slot.settling -= 1;
            slot.stage == Stage::Running
        });
        match (counted, runs) {
            (true, true) if job.is_command() => self.send(job, order),
            (true, true) => self.ask(job),
            (true, false) => self.acquit(job),
            (false, _) => {
                self.alone = None;
                self.comes_back(job);
            }
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
    pub(super) fn acquit(&mut self, job: Job) {
        self.no_more_alone(&job);
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        let home = slot.entries.get(&job.serial).map(|entry| entry.home);
        let found = match home {
            Some(Home::Row(id)) => slot.rows.get(id).map(|row| (id, row.facts.tries)),
            _ => None,
        };
        let Some((id, tries)) = found else { return self.comes_back(job) };
        let place = Place {
            topic: Arc::clone(&slot.partition.topic),
            partition: job.partition,
            now_micros: self.parts.clock.wall_micros(),
        };
        let mut packer = Packer::one_by_one(place, stream(&job.call), tries);
        packer.push(job.offset, &job.record, job.serial);
        let rows = packer.into_rows().into_iter().map(|(row, _)| row).collect();
        slot.settling += 1;
        let (name, store) = (key(&slot.partition, id), Arc::clone(&self.parts.store));
        self.done.push(Box::pin(async move {
            if let Some(letters) = store.letters()
                && let Err(error) = letters.replace(name, rows).await
            {
                tracing::warn!(%error, "a try of a command that came back is counted all the same");
            }
            Done::Acquitted(Box::new(job))
        }));
    }

    pub(super) fn acquitted(&mut self, job: Job) {
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
        if self.is_alone() {
            return;
        }
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
