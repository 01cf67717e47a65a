//! Commands go to the engine and come back with their outcomes, or are tried again.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use super::TICK;
use super::job::Job;
use super::settle::Dead;
use super::slot::Stage;
use super::work::{Done, Work};
use crate::client::named::{self, Delivered, Sent};
use crate::domain::error::{AskError, Code, Fault, QueryError};
use crate::domain::pending::NamedAnswer;
use crate::engine::order::{Order, is_open};

/// Whether it is no fault of a query.
const fn is_elsewhere(code: Code) -> bool {
    matches!(code, Code::OwnershipLost | Code::Stopping | Code::StoreFailed | Code::MailboxFull | Code::OutcomeUnknown)
}

impl Work {
    /// Sends what waits in a partition to the engine.
    pub(super) fn dispatch(&mut self, partition: u16) {
        while let Some(slot) = self.slots.get_mut(&partition) {
            if slot.blocked || slot.stage != Stage::Running {
                return;
            }
            let Some(job) = slot.backlog.pop_front() else { return };
            match slot.lanes.of(job.lane).enter(job) {
                Some((job, order)) if job.is_command() => self.send(job, order),
                Some((job, _)) => self.ask(job),
                None => {}
            }
        }
    }

    pub(super) fn send(&mut self, job: Job, order: Order) {
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        let clock = &self.parts.clock;
        let expires = job.call.deadline_millis.map(|deadline| {
            let left = deadline.saturating_sub(clock.wall_micros() / 1000);
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        slot.at_work += 1;
        let delivered = Delivered { before: job.before, order: Some(order), expires };
        let mut sent = named::deliver(&self.parts.client, job.envelope(), delivered);
        if sent.poll_left(&mut TaskContext::from_waker(Waker::noop())).is_pending() {
            slot.blocked = true;
            self.done.push(Box::pin(async move {
                poll_fn(|cx| sent.poll_left(cx)).await;
                Done::Left(job, sent)
            }));
        } else {
            self.await_answer(job, sent);
        }
    }

    pub(super) fn await_answer(&mut self, job: Job, sent: Sent) {
        self.done.push(Box::pin(async move {
            let answer = sent.await.answer;
            Done::Answered(job, answer)
        }));
    }

    /// Asks a query.
    pub(super) fn ask(&mut self, job: Job) {
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
    pub(super) fn answered(&mut self, mut job: Job, answer: NamedAnswer) {
        if !self.is_current(&job) {
            return;
        }
        let now = self.parts.clock.monotonic();
        let draw = self.parts.seed.next_u64();
        let pause = |failures| self.redelivery.pause(failures, draw);
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        slot.at_work -= 1;
        let fault = match answer {
            // a query that failed by itself is told so, and may be asked again; one that met no owner or no store is
            // answered later, here or by the next owner
            Err(AskError::Fault(fault)) if job.is_command() || is_elsewhere(fault.code) => fault,
            outcome => {
                let lane = slot.lanes.of(job.lane);
                lane.finished();
                let due = lane.rest(now, false, pause);
                self.resend_at(due);
                return self.settle(job, outcome, None);
            }
        };
        job.before = true;
        let counts = matches!(fault.code, Code::Panicked | Code::DeadlinePassed);
        job.tries += u32::from(counts);
        let wall = self.parts.clock.wall_micros() / 1000;
        let expired = fault.code == Code::DeadlinePassed && job.call.deadline_millis.is_some_and(|end| end <= wall);
        let code = if expired { Code::Expired } else { fault.code };
        if expired || !is_open(code) || (counts && job.tries >= self.parts.options.max_tries) {
            let lane = slot.lanes.of(job.lane);
            lane.finished();
            let due = lane.rest(now, false, pause);
            self.resend_at(due);
            let dead = Dead { code, reason: fault.detail.clone(), tries: job.tries };
            return self.settle(job, Err(Fault { code, ..fault }.into()), Some(dead));
        }
        if code != Code::Behind {
            metrics::counter!("phoenix_delivery_retries_total", "code" => code.as_str()).increment(1);
            tracing::debug!(id = %job.call.id, %fault, "no outcome; trying again");
        }
        let lane = slot.lanes.of(job.lane);
        lane.came_back(job);
        let due = lane.rest(now, true, pause);
        self.resend_at(due);
    }

    pub(super) fn resend_at(&mut self, due: Option<Duration>) {
        self.next_resend = self.next_resend.into_iter().chain(due).min();
    }

    /// Tells the outcome, or keeps the dead letter; then the record is finished.
    pub(super) fn settle(&mut self, job: Job, answer: NamedAnswer, dead: Option<Dead>) {
        let topic = Arc::clone(&self.parts.topic);
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        slot.lanes.tidy(job.lane);
        let (partition, assignment, offset, bytes) = (job.partition, job.assignment, job.offset, job.bytes());
        if dead.is_none() && job.call.reply_to.is_none() {
            return slot.finish(offset, bytes);
        }
        slot.settling += 1;
        let settling = Arc::clone(&self.settling);
        self.done.push(Box::pin(async move {
            if let Some(dead) = &dead {
                settling.bury((partition, offset), &topic, &job.record, Some(&job), dead).await;
            }
            settling.reply(&job, answer).await;
            Done::Settled { partition, assignment, offset, bytes }
        }));
    }

    /// Tries commands again whose pause is over; never more at once than the options say.
    pub(super) fn resend(&mut self, now: Duration) {
        if self.next_resend.is_none_or(|next| now < next) {
            return;
        }
        let (mut due, mut next) = (Vec::new(), None);
        for (number, slot) in &mut self.slots {
            let ready = slot.stage == Stage::Running && !slot.blocked;
            for lane in slot.lanes.iter_mut() {
                let Some(at) = lane.due() else { continue };
                if ready && at <= now && due.len() < self.parts.options.max_resends.max(1) {
                    due.push((*number, lane.again()));
                } else {
                    next = next.into_iter().chain([at.max(now + TICK)]).min();
                }
            }
        }
        self.next_resend = next;
        for (number, jobs) in due {
            let Some(slot) = self.slots.get_mut(&number) else { continue };
            // in front of what came after them
            for job in jobs.into_iter().rev() {
                slot.backlog.push_front(job);
            }
            self.dispatch(number);
        }
    }
}
