//! Commands go to the engine and come back with their outcomes, or are tried again.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use super::TICK;
use super::job::{AtWork, Finished, Job};
use super::rows::key;
use super::settle::{Burial, Dead, Ticket};
use super::slot::{Home, Stage};
use super::work::{Done, Work};
use crate::bus::envelope::Call;
use crate::client::local::deliver::{CallOptions, Sent};
use crate::client::named::{self, Delivered};
use crate::domain::error::{AskError, Code, Fault, QueryError};
use crate::domain::pending::NamedAnswer;
use crate::engine::order::{Order, is_open};

/// Whether it is no fault of a query.
const fn is_elsewhere(code: Code) -> bool {
    matches!(code, Code::OwnershipLost | Code::Stopping | Code::StoreFailed | Code::MailboxFull | Code::OutcomeUnknown)
}

/// How many commands may still be tried again in a tick.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// Which tick of the clock.
    tick: Option<u128>,
    left: usize,
}

impl Allowance {
    /// What is left now of so many a tick.
    fn at(&mut self, now: Duration, most: usize) -> &mut usize {
        let tick = Some(now.as_nanos() / TICK.as_nanos());
        if self.tick != tick {
            (self.tick, self.left) = (tick, most.max(1));
        }
        &mut self.left
    }
}

impl Work {
    /// Sends what waits in a partition to the engine.
    pub(super) fn dispatch(&mut self, partition: u16) {
        if self.is_quiet() {
            return self.hold_suspects(partition);
        }
        while let Some(slot) = self.slots.get_mut(&partition) {
            if slot.blocked || slot.looks || slot.stage != Stage::Running {
                return;
            }
            let Some(job) = slot.backlog.pop_front() else { return };
            let lane = slot.lanes.of(job.lane);
            match lane.enter(job) {
                Some((job, order)) if job.is_command() => self.send(job, order),
                Some((job, _)) => self.ask(job),
                None => {
                    // one that has to be done alone may be the first of its lane
                    let due = lane.rest(|| self.parts.clock.monotonic(), false, |_| Duration::ZERO);
                    self.resend_at(due);
                }
            }
        }
    }

    pub(super) fn send(&mut self, mut job: Box<Job>, order: Order) {
        job.epoch = self.epoch(job.partition);
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        let clock = &self.parts.clock;
        let expires = job.call.deadline_millis.map(|deadline| {
            let left = deadline.saturating_sub(clock.wall_micros() / 1000);
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        slot.at_work += 1;
        let call = Arc::clone(&job.call);
        let options = CallOptions {
            message: Some(call.id),
            key: call.idempotency_key.clone(),
            priority: call.priority,
            metadata: (!call.metadata.is_empty()).then(|| call.metadata.clone()),
            sent: if job.before { Sent::Before } else { Sent::Perhaps },
            order: Some(order),
            ..CallOptions::default()
        };
        let Call { aggregate, name, payload, .. } = &*call;
        let delivered = Delivered { aggregate, name, payload, options, expires };
        let (partition, assignment) = (job.partition, job.assignment);
        let at_work = AtWork::new(job, self.tell.clone());
        let mut leaving = named::deliver(&self.parts.client, delivered, |answer| at_work.answered(answer));
        if leaving.poll(&mut TaskContext::from_waker(Waker::noop())).is_pending() {
            slot.blocked = true;
            self.done.push(Box::pin(async move {
                poll_fn(|cx| leaving.poll(cx)).await;
                Done::Left { partition, assignment }
            }));
        }
    }

    /// Asks a query.
    pub(super) fn ask(&mut self, mut job: Box<Job>) {
        job.epoch = self.epoch(job.partition);
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        slot.at_work += 1;
        let call = &job.call;
        let asked = self.parts.client.query_named(&call.aggregate, &call.name, &call.payload, Duration::MAX);
        self.done.push(Box::pin(async move {
            let answer = asked.await.answer.map_err(|error| match error {
                QueryError::NotFound => AskError::NotFound { replayed: false },
                QueryError::Fault(fault) => AskError::Fault(fault),
            });
            Done::Answered(job, answer)
        }));
    }

    /// The engine has answered: an outcome goes to its sender, a fault is tried again, or is a dead letter.
    pub(super) fn answered(&mut self, mut job: Box<Job>, answer: NamedAnswer) {
        self.no_more_alone(&job);
        if !self.is_current(&job) {
            return self.take_back(&mut job);
        }
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        slot.at_work -= 1;
        let mut fault = match answer {
            // a query that failed by itself is told so, and may be asked again; one that met no owner or no store is
            // answered later, here or by the next owner
            Err(AskError::Fault(fault)) if job.is_command() || is_elsewhere(fault.code) => fault,
            outcome => {
                self.has_left(&job);
                return self.settle(job, outcome, None);
            }
        };
        job.before = true;
        let counts = matches!(fault.code, Code::Panicked | Code::DeadlinePassed);
        job.tries += u32::from(counts);
        let wall = self.parts.clock.wall_micros() / 1000;
        let expired = fault.code == Code::DeadlinePassed && job.call.deadline_millis.is_some_and(|end| end <= wall);
        let now = self.parts.clock.monotonic();
        // one that waits for those before it is not tried
        let tried = is_open(fault.code) && fault.code != Code::Behind;
        let age = if tried { now.saturating_sub(*job.failed.get_or_insert(now)) } else { Duration::ZERO };
        if let Some(most) = self.redelivery.max_age().filter(|most| tried && *most <= age) {
            let detail = format!(
                "tried for {age:?} without an outcome, and {most:?} are the most (delivery.max_age); the last time: {fault}"
            );
            fault = Fault::new(Code::Expired, detail);
        } else if expired {
            fault.code = Code::Expired;
        }
        let code = fault.code;
        // letters of an aggregate are kept in its order, also of one that fails before those in front of it have
        let waits = !is_open(code) && slot.lanes.of(job.lane).is_behind(&job);
        if (!is_open(code) && !waits) || (counts && job.tries >= self.parts.options.max_tries) {
            self.has_left(&job);
            let dead = Dead { code, reason: fault.detail.clone(), tries: job.tries };
            return self.settle(job, Err(fault.into()), Some(dead));
        }
        if code != Code::Behind {
            metrics::counter!("phoenix_delivery_retries_total", "code" => code.as_str()).increment(1);
            tracing::debug!(id = %job.call.id, %fault, "no outcome; trying again");
        }
        if job.suspect { self.acquit(job) } else { self.comes_back(job) }
    }

    /// A command is with the engine no more, and will not be again.
    fn has_left(&mut self, job: &Job) {
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        let lane = slot.lanes.of(job.lane);
        lane.finished(job);
        let due = lane.rest(|| self.parts.clock.monotonic(), false, |_| Duration::ZERO);
        let is_spilled = lane.is_spilled();
        self.resend_at(due);
        if is_spilled {
            self.refill(job.partition, job.lane);
        }
    }

    /// A command has no outcome: it is tried again later, and those behind it wait.
    pub(super) fn comes_back(&mut self, job: Box<Job>) {
        let now = self.parts.clock.monotonic();
        let draw = self.parts.seed.next_u64();
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        let lane = slot.lanes.of(job.lane);
        lane.came_back(job);
        let due = lane.rest(|| now, true, |failures| self.redelivery.pause(failures, draw));
        self.resend_at(due);
    }

    pub(super) fn resend_at(&mut self, due: Option<Duration>) {
        self.next_resend = self.next_resend.into_iter().chain(due).min();
    }

    /// Tells the outcome, or keeps the dead letter; then the record is finished.
    pub(super) fn settle(&mut self, mut job: Box<Job>, answer: NamedAnswer, dead: Option<Dead>) {
        // the partition may go before its row does
        self.take_back(&mut job);
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        slot.tidy(job.lane);
        if dead.is_none() && job.call.reply_to.is_none() {
            return slot.finish(job.serial);
        }
        slot.settling += 1;
        let Some(dead) = dead else {
            match self.settling.outgoing(&job, answer) {
                Some((outgoing, reply)) => self.replies.push((outgoing, Ticket::Reply(reply))),
                None => self.settled(Finished::of(&job)),
            }
            return;
        };
        let row = match slot.entries.get(&job.serial).map(|entry| entry.home) {
            Some(Home::Row(id)) if slot.rows.is_last(id) => Some(key(&slot.partition, id)),
            _ => None,
        };
        let (origin, settling) = (slot.origin(job.offset), Arc::clone(&self.settling));
        self.done.push(Box::pin(async move {
            let call = Some(&*job.call);
            let burial = Burial { origin: &origin, record: &job.record, call, dead: &dead, row: row.as_ref() };
            if !settling.bury(burial, job.epoch).await {
                return Done::NotBuried(job);
            }
            settling.reply(&job, answer).await;
            Done::Settled(Finished::of(&job))
        }));
    }

    /// Another node has owned its partition since it failed here, and may have done it.
    pub(super) fn not_buried(&mut self, job: Box<Job>) {
        if !self.is_current(&job) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(&job.partition) {
            slot.settling -= 1;
            slot.lanes.of(job.lane).front += 1;
        }
        self.comes_back(job);
    }

    /// Tries commands again whose pause is over, those that wait longest first; in each tick never more than the options
    /// say. What is left of an aggregate follows when its first ones have their outcomes.
    pub(super) fn resend(&mut self, now: Duration) {
        if self.next_resend.is_none_or(|next| now < next) {
            return;
        }
        let (is_busy, is_quiet) = (self.alone.is_some(), self.is_quiet());
        let allowed = self.resends.at(now, self.parts.options.max_resends);
        if *allowed == 0 {
            self.next_resend = Some(now + TICK);
            return;
        }
        let (mut due, mut next) = (Vec::new(), None);
        for (number, slot) in &mut self.slots {
            let ready = slot.stage == Stage::Running && !slot.blocked && !slot.looks;
            for (hash, lane) in slot.lanes.iter_mut() {
                let Some(at) = lane.due() else { continue };
                let may = if lane.is_suspect() { !is_busy } else { !is_quiet };
                if ready && at <= now && may {
                    due.push((at, *number, hash));
                } else {
                    next = next.into_iter().chain([at.max(now + TICK)]).min();
                }
            }
        }
        due.sort_unstable();
        let (mut suspect, mut touched) = (None, BTreeSet::new());
        for (at, number, hash) in due {
            let Some(slot) = self.slots.get_mut(&number) else { continue };
            let lane = slot.lanes.of(hash);
            if *allowed == 0 || (lane.is_suspect() && suspect.is_some()) {
                next = next.into_iter().chain([at.max(now + TICK)]).min();
            } else if lane.is_suspect() {
                *allowed -= 1;
                suspect = lane.suspect();
            } else {
                let again = lane.again(*allowed);
                *allowed -= again.len();
                // in front of what came after them
                again.into_iter().rev().for_each(|job| slot.backlog.push_front(job));
                touched.insert(number);
            }
        }
        self.next_resend = next;
        if let Some((job, order)) = suspect {
            self.do_alone(job, order);
        }
        for number in touched {
            self.dispatch(number);
        }
    }
}
