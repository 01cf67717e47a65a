//! A message meets its aggregate.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::task::Context as TaskContext;

use crate::domain::error::{Code, Fault};
use crate::engine::cell::{Busy, Cell, CellRef, Task, Window};
use crate::engine::lanes::Admission;
use crate::engine::mailbox::{Body, Mail};
use crate::engine::options::Overflow;
use crate::engine::shard::Shard;

impl Shard {
    /// Takes a message from the mailbox.
    pub(super) fn deliver(&mut self, mut mail: Mail) {
        if !self.holdings.takes(mail.slice(), mail.inside) {
            return self.refuse(mail);
        }
        if !self.lanes.claim(&mut mail) {
            return mail.fail(lane_full("as many bytes"));
        }
        match self.lanes.admit(mail.slice(), mail.inside) {
            Admission::Now => self.accept(mail),
            Admission::Later => self.lanes.put_off(mail.slice(), mail),
            Admission::Over => {
                let until = self.now.saturating_add(self.options.overflow_wait);
                let kept = match self.options.overflow {
                    Overflow::Wait => self.lanes.put_behind(until, mail),
                    Overflow::Fail => Err(mail),
                };
                if let Err(mail) = kept {
                    mail.fail(lane_full("as many messages"));
                }
            }
        }
    }

    /// Brings a message to its aggregate.
    pub(super) fn accept(&mut self, mut mail: Mail) {
        let slice = mail.slice();
        if !self.holdings.takes(slice, mail.inside) {
            return self.refuse(mail);
        }
        let cell = match self.cells.find(mail.kind, mail.hash, mail.id.as_str()) {
            Some(cell) => cell,
            None => match self.parked_fault(&mail) {
                Some(fault) => return mail.fail(fault),
                None => self.summon(&mail),
            },
        };
        let Some(found) = self.cells.get_mut(cell) else { return self.refuse(mail) };
        match &mut found.busy {
            Some(busy) if busy.queue.len() >= self.options.aggregate_queue => {
                // a few may wait behind it, of all aggregates together
                let waits = self.options.overflow == Overflow::Wait;
                if !waits || self.lanes.overflowing >= self.options.aggregate_queue {
                    return mail.fail(queue_full(busy.queue.len()));
                }
                let until = self.now.saturating_add(self.options.overflow_wait);
                mail.give_up = Some(until);
                self.lanes.overflowing += 1;
                self.lanes.hold(mail.slice(), 1);
                busy.queue.push_back(mail);
                self.overflow.insert((until, cell));
            }
            Some(busy) => {
                self.lanes.hold(mail.slice(), 1);
                busy.queue.push_back(mail);
            }
            None => self.execute(cell, mail),
        }
    }

    /// Refuses those that have waited too long behind a queue, or for a lane, that is still full.
    pub(super) fn poll_overflow(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if self.lanes.overflowing == 0 {
            self.overflow.clear();
        }
        let first = self.overflow.first().map(|(until, _)| *until);
        let Some(until) = first.into_iter().chain(self.lanes.first_to_give_up()).min() else {
            self.overflow_timer = None;
            return false;
        };
        if self.now < until {
            let (clock, pause) = (&self.clock, until.saturating_sub(self.now));
            let timer = self.overflow_timer.get_or_insert_with(|| clock.sleep(pause));
            if timer.as_mut().poll(cx).is_ready() {
                self.overflow_timer = None;
                return true;
            }
            return false;
        }
        while let Some(mail) = self.lanes.next_in_vain(self.now) {
            mail.fail(lane_full("as many messages"));
        }
        let mut due = BTreeSet::new();
        while let Some((until, cell)) = self.overflow.pop_first() {
            if until > self.now {
                self.overflow.insert((until, cell));
                break;
            }
            due.insert(cell);
        }
        for cell in due {
            let Some(busy) = self.cells.get_mut(cell).and_then(|found| found.busy.as_mut()) else { continue };
            let queue = std::mem::take(&mut busy.queue);
            let bound = self.options.aggregate_queue;
            for mut mail in queue {
                let Some(busy) = self.cells.get_mut(cell).and_then(|found| found.busy.as_mut()) else { break };
                if busy.queue.len() < bound {
                    self.lanes.let_in(&mut mail);
                } else if mail.give_up.is_some_and(|until| until <= self.now) {
                    self.lanes.let_go(&mut mail);
                    mail.fail(queue_full(bound));
                    continue;
                }
                busy.queue.push_back(mail);
            }
        }
        true
    }

    /// Executes a message on an aggregate that is not busy. Afterwards it may be.
    pub(super) fn execute(&mut self, cell: CellRef, mail: Mail) {
        let now = self.now_seconds();
        if let Some(cell) = self.cells.get_mut(cell) {
            cell.last_used = now;
        }
        match &mail.body {
            Body::Command(_) => self.command(cell, mail),
            Body::Query(_) => self.query(cell, mail),
            Body::Snapshot(_) => self.snapshot_asked(cell, mail),
        }
    }

    /// Why the aggregate is not tried now.
    fn parked_fault(&self, mail: &Mail) -> Option<Fault> {
        if self.parked.is_empty() {
            return None;
        }
        let parked = self.parked.get(&(mail.kind, mail.id.clone()))?;
        (self.now < parked.until).then(|| parked.fault.clone())
    }

    /// A new cell for an aggregate that is not in memory, on its way there.
    fn summon(&mut self, mail: &Mail) -> CellRef {
        let cell = self.cells.insert(Cell {
            id: mail.id.clone(),
            hash: mail.hash,
            kind: mail.kind,
            generation: 0,
            pins: 0,
            last_used: self.now_seconds(),
            state: None,
            version: 0,
            snapshot_version: 0,
            snapshot_bytes: 0,
            time_micros: i64::MIN,
            window: Window::default(),
            busy: None,
        });
        self.health.resident.fetch_add(1, Ordering::Relaxed);
        if !self.departures.is_empty() {
            self.note_departing(cell, mail.slice());
        }
        self.hold(cell, Task::Activation);
        if self.cells.is_over(mail.kind) {
            self.passivate();
        }
        cell
    }

    /// Makes a cell busy; what needs its earlier batches settled starts when they are.
    pub(super) fn hold(&mut self, cell: CellRef, with: Task) {
        if let Some(found) = self.cells.get_mut(cell) {
            // who waits already keeps waiting
            let queue = found.busy.take().map(|busy| busy.queue).unwrap_or_default();
            let activate = matches!(with, Task::Activation);
            found.busy = Some(Box::new(Busy { with, queue }));
            if activate {
                self.start_activation(cell);
            } else {
                self.advance(cell);
            }
        }
    }

    /// Puts a message in front of those who wait for a busy cell.
    pub(super) fn wait(&mut self, cell: CellRef, mail: Mail) {
        let Some(busy) = self.cells.get_mut(cell).and_then(|found| found.busy.as_mut()) else {
            return self.refuse(mail);
        };
        self.lanes.hold(mail.slice(), 1);
        busy.queue.push_front(mail);
    }

    /// The cell is busy no longer: those who waited are executed, in their order, until it is busy again.
    pub(super) fn resume(&mut self, cell: CellRef) {
        let Some(busy) = self.cells.get_mut(cell).and_then(|found| found.busy.take()) else { return };
        self.drain_queue(cell, busy.queue);
    }

    pub(super) fn drain_queue(&mut self, cell: CellRef, mut queue: VecDeque<Mail>) {
        while let Some(mut mail) = queue.pop_front() {
            self.lanes.let_go(&mut mail);
            self.execute(cell, mail);
            if let Some(busy) = self.cells.get_mut(cell).and_then(|found| found.busy.as_mut()) {
                busy.queue.append(&mut queue);
                return;
            }
        }
        self.drop_if_nothing(cell);
    }

    /// An aggregate without events takes no memory, for the store knows its keys: otherwise asking for made-up ids would.
    pub(super) fn drop_if_nothing(&mut self, cell: CellRef) {
        if let Some(found) = self.cells.get_mut(cell)
            && found.is_idle()
            && found.version == 0
        {
            self.forget(cell);
        }
    }
}

fn lane_full(what: &str) -> Fault {
    let text =
        format!("the database that has this aggregate is too slow: {what} as may wait for it do; try again later");
    Fault::new(Code::MailboxFull, text)
}

fn queue_full(waiting: usize) -> Fault {
    Fault::new(Code::MailboxFull, format!("{waiting} messages wait for this aggregate already; try again later"))
}
