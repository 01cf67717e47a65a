//! The loop: partitions come and go, records become commands, outcomes become replies.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::frontier::Frontier;
use super::job::Job;
use super::options::{Exponential, Redelivery};
use super::settle::{Dead, Settling};
use super::slot::{Slot, Stage};
use super::{Parts, TICK};
use crate::bus::envelope::Message;
use crate::bus::port::{BusError, Consumer, Happening, Received, Subscription, TopicPartition};
use crate::bus::sender::Sender;
use crate::client::named::{self, Delivered, Sent};
use crate::domain::error::{AskError, Code, Fault, QueryError};
use crate::domain::id::Slice;
use crate::domain::pending::NamedAnswer;
use crate::domain::ports::BoxFuture;
use crate::engine::order::{Order, is_open};
use crate::event_store::port::Partition;

/// The first and the longest pause before partitions that could not be taken are tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How long the bus has for saying that a partition is another node's, before it is taken again.
const AGAIN: Duration = Duration::from_secs(15);

/// The end of something that goes on beside the loop.
pub(super) enum Done {
    /// These partitions are to be taken now, with their assignments; how long to wait if that fails.
    Due(Vec<(u16, u64)>, Duration),
    /// They could not be taken.
    NotTaken(Vec<(u16, u64)>, Duration),
    /// The aggregates of these partitions are this node's.
    Taken(Vec<(u16, u64)>),
    /// What was open in the engine of these has ended.
    GivenBack(Vec<(u16, u64)>),
    /// A command has its place in a mailbox.
    Left(Job, Sent),
    /// What the engine says of a call.
    Answered(Job, NamedAnswer),
    /// A record is finished: its reply sent, or its dead letter kept.
    Settled { partition: u16, assignment: u64, offset: u64, bytes: usize },
}

/// Whether it is no fault of a query.
const fn is_elsewhere(code: Code) -> bool {
    matches!(code, Code::OwnershipLost | Code::Stopping | Code::StoreFailed | Code::MailboxFull | Code::OutcomeUnknown)
}

pub(super) struct Work {
    parts: Parts,
    subscription: Subscription,
    redelivery: Arc<dyn Redelivery>,
    settling: Arc<Settling>,
    stopping: watch::Receiver<bool>,
    /// What the engine believes to own.
    owned: watch::Receiver<Arc<BTreeSet<Partition>>>,
    slots: BTreeMap<u16, Slot>,
    assignments: u64,
    done: FuturesUnordered<BoxFuture<'static, Done>>,
    next_commit: Duration,
    /// When the first of those that are to be tried again is due.
    next_resend: Option<Duration>,
}

impl Work {
    pub(super) fn new(
        parts: Parts,
        subscription: Subscription,
        sender: Sender,
        graveyard: TopicPartition,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let settling = Arc::new(Settling {
            bus: Arc::clone(&parts.bus),
            sender,
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            seed: Arc::clone(&parts.seed),
            graveyard,
            reply_timeout: parts.options.reply_timeout,
        });
        let redelivery = parts.redelivery.clone().unwrap_or_else(|| {
            let options = &parts.options;
            Arc::new(Exponential { first: options.first_pause, longest: options.max_pause })
        });
        let owned = parts.partitions.owned();
        Self {
            owned,
            parts,
            subscription,
            redelivery,
            settling,
            stopping,
            slots: BTreeMap::new(),
            assignments: 0,
            done: FuturesUnordered::new(),
            next_commit: Duration::ZERO,
            next_resend: None,
        }
    }

    pub(super) async fn run(mut self, mut consumer: Box<dyn Consumer>) {
        let mut stopping = self.stopping.clone();
        let mut stop: BoxFuture<'static, bool> = Box::pin(async move {
            // an error means that whoever could stop it is gone: then it ends at once
            stopping.wait_for(|stop| *stop).await.is_ok()
        });
        let mut stopped = false;
        let mut pause = TICK;
        loop {
            if stopped && self.slots.is_empty() {
                return;
            }
            let clock = Arc::clone(&self.parts.clock);
            let tick = clock.sleep(TICK);
            tokio::select! {
                biased;
                gently = &mut stop, if !stopped => {
                    if !gently {
                        return;
                    }
                    stopped = true;
                    let all: Vec<u16> = self.slots.keys().copied().collect();
                    self.leave(&all);
                }
                Some(done) = self.done.next(), if !self.done.is_empty() => {
                    self.on_done(done, &mut *consumer);
                    // what ended together is looked at together
                    while let Poll::Ready(Some(done)) =
                        self.done.poll_next_unpin(&mut TaskContext::from_waker(Waker::noop()))
                    {
                        self.on_done(done, &mut *consumer);
                    }
                }
                happening = consumer.next(), if !stopped => match happening {
                    Ok(happening) => {
                        pause = TICK;
                        if let Err(error) = self.happens(happening, &mut *consumer).await {
                            tracing::warn!(%error, "the bus does not answer");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "can't read commands; trying again");
                        metrics::counter!("phoenix_delivery_bus_errors_total").increment(1);
                        self.parts.clock.sleep(pause).await;
                        pause = (pause * 2).min(self.parts.options.max_pause);
                        if !error.is_passing()
                            && let Ok(new) = self.parts.bus.subscribe(self.subscription.clone()).await
                        {
                            let all: Vec<u16> = self.slots.keys().copied().collect();
                            self.lose(&all);
                            consumer = new;
                        }
                    }
                },
                () = tick => {}
            }
            self.upkeep(&mut *consumer).await;
        }
    }

    async fn happens(&mut self, happening: Happening, consumer: &mut dyn Consumer) -> Result<(), BusError> {
        match happening {
            Happening::Assigned(partitions) => self.assigned(partitions, consumer),
            Happening::Revoking(partitions) => {
                let numbers: Vec<u16> = partitions.iter().map(|partition| partition.partition).collect();
                self.leave(&numbers);
                let unknown = partitions.into_iter().filter(|one| !self.slots.contains_key(&one.partition)).collect();
                consumer.release(unknown).await?;
            }
            Happening::Lost(partitions) => {
                let numbers: Vec<u16> = partitions.iter().map(|partition| partition.partition).collect();
                self.lose(&numbers);
            }
            Happening::Records(records) => records.into_iter().for_each(|record| self.take(record)),
            Happening::OutOfRange { partition, wanted, earliest, end } => {
                metrics::counter!("phoenix_delivery_out_of_range_total").increment(1);
                tracing::error!(
                    %partition, wanted, earliest, end,
                    "COMMANDS MAY BE LOST: the committed offset is not on the topic; reading on from the earliest record \
                     that is there. Was the topic made anew, or is its retention shorter than the service was down?"
                );
                if let Some(slot) = self.slots.get_mut(&partition.partition) {
                    slot.frontier = Frontier::new(Some(earliest));
                }
                consumer.seek(&partition, earliest).await?;
            }
        }
        Ok(())
    }

    fn assigned(&mut self, partitions: Vec<(TopicPartition, Option<u64>)>, consumer: &mut dyn Consumer) {
        let mut taking = Vec::new();
        for (partition, committed) in partitions {
            self.assignments += 1;
            consumer.pause(std::slice::from_ref(&partition));
            taking.push((partition.partition, self.assignments));
            let mut slot = Slot::new(partition.clone(), self.assignments, committed);
            slot.paused = true;
            self.slots.insert(partition.partition, slot);
        }
        self.take_partitions(taking, FIRST_PAUSE);
    }

    /// Makes the aggregates of these partitions this node's.
    fn take_partitions(&mut self, taking: Vec<(u16, u64)>, pause: Duration) {
        let partitions = self.parts.partitions.clone();
        self.done.push(Box::pin(async move {
            match partitions.take(taking.iter().map(|(partition, _)| Partition(*partition))).await {
                Ok(()) => Done::Taken(taking),
                Err(error) => {
                    tracing::warn!(%error, "can't take partitions; trying again");
                    Done::NotTaken(taking, pause)
                }
            }
        }));
    }

    /// As [`Work::take_partitions`], later: by then they may be gone.
    fn take_later(&mut self, taking: Vec<(u16, u64)>, after: Duration, pause: Duration) {
        let clock = Arc::clone(&self.parts.clock);
        self.done.push(Box::pin(async move {
            clock.sleep(after).await;
            Done::Due(taking, pause)
        }));
    }

    fn still_taking(&self, mut taking: Vec<(u16, u64)>) -> Vec<(u16, u64)> {
        let is_current = |slot: &Slot, assignment| slot.assignment == assignment && slot.stage == Stage::Taking;
        taking.retain(|(partition, assignment)| {
            self.slots.get(partition).is_some_and(|slot| is_current(slot, *assignment))
        });
        taking
    }

    /// Another node took partitions that the bus has not taken from this one. Either the bus says so soon, or it was a
    /// mistake: then they are taken again.
    fn notice_losses(&mut self, consumer: &mut dyn Consumer) {
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
                slot.paused = true;
                consumer.pause(std::slice::from_ref(&slot.partition));
                lost.push((*number, slot.assignment));
            }
        }
        if !lost.is_empty() {
            self.take_later(lost, AGAIN, FIRST_PAUSE);
        }
    }

    /// Partitions go to another node: what is open comes to its outcomes, what has not begun is left to the other.
    fn leave(&mut self, partitions: &[u16]) {
        let until = self.parts.clock.monotonic().saturating_add(self.parts.options.handover);
        let mut leaving = Vec::new();
        for partition in partitions {
            let Some(slot) = self.slots.get_mut(partition) else { continue };
            if matches!(slot.stage, Stage::Leaving { .. }) {
                continue;
            }
            slot.stage = Stage::Leaving { until, given_back: false };
            slot.backlog.clear();
            leaving.push((*partition, slot.assignment));
        }
        self.give_back(leaving, self.parts.options.handover);
    }

    /// Partitions are gone: nothing of them counts any more.
    fn lose(&mut self, partitions: &[u16]) {
        let gone =
            partitions.iter().filter_map(|partition| Some((*partition, self.slots.remove(partition)?.assignment)));
        let gone: Vec<_> = gone.collect();
        self.give_back(gone, Duration::ZERO);
    }

    fn give_back(&mut self, leaving: Vec<(u16, u64)>, bound: Duration) {
        if leaving.is_empty() {
            return;
        }
        let partitions = self.parts.partitions.clone();
        self.done.push(Box::pin(async move {
            partitions.give_back(leaving.iter().map(|(partition, _)| Partition(*partition)), bound).await;
            Done::GivenBack(leaving)
        }));
    }

    /// Takes a record from the bus.
    fn take(&mut self, Received { from, offset, record }: Received) {
        let count = self.parts.partitions.count();
        let Some(slot) = self.slots.get_mut(&from.partition) else { return };
        // what comes while it leaves is the next owner's
        if matches!(slot.stage, Stage::Leaving { .. }) || !slot.frontier.take(offset) {
            return;
        }
        let bytes = record.bytes();
        slot.bytes += bytes;
        let assignment = slot.assignment;
        match Message::from_record(&record) {
            Ok(Message::Call(call)) => {
                let partition = Slice::of(&call.aggregate, &call.subject).0 % count;
                if partition == from.partition {
                    let record = Arc::new(record);
                    let partition = from.partition;
                    let before = call.attempt > 0;
                    slot.backlog.push_back(Job { partition, assignment, offset, call, record, tries: 0, before });
                    self.dispatch(partition);
                } else {
                    // never decided here: its aggregate has another door
                    slot.settling += 1;
                    tracing::warn!(at = %from, offset, partition, "a command in the wrong partition; sending it on");
                    let settling = Arc::clone(&self.settling);
                    let to = TopicPartition { topic: from.topic, partition };
                    self.done.push(Box::pin(async move {
                        if let Err(error) = settling.send_on(to.clone(), record.clone()).await {
                            let reason =
                                format!("it is for the partition {to}, and the bus does not take it there: {error}");
                            let dead = Dead { code: Code::BusFailed, reason, tries: 0 };
                            settling.bury((from.partition, offset), &to.topic, &record, None, &dead).await;
                        }
                        Done::Settled { partition: from.partition, assignment, offset, bytes }
                    }));
                }
            }
            Ok(Message::Reply(reply)) => {
                let reason = format!("it is the reply to {}, and this is a topic of commands", reply.to);
                self.bury_unread(from, assignment, offset, record, reason);
            }
            Err(reason) => self.bury_unread(from, assignment, offset, record, reason.to_string()),
        }
    }

    fn bury_unread(
        &mut self,
        from: TopicPartition,
        assignment: u64,
        offset: u64,
        record: crate::bus::port::Record,
        reason: String,
    ) {
        let Some(slot) = self.slots.get_mut(&from.partition) else { return };
        slot.settling += 1;
        let (settling, bytes) = (Arc::clone(&self.settling), record.bytes());
        self.done.push(Box::pin(async move {
            let dead = Dead { code: Code::Unreadable, reason, tries: 0 };
            settling.bury((from.partition, offset), &from.topic, &record, None, &dead).await;
            Done::Settled { partition: from.partition, assignment, offset, bytes }
        }));
    }

    /// Sends what waits in a partition to the engine.
    fn dispatch(&mut self, partition: u16) {
        while let Some(slot) = self.slots.get_mut(&partition) {
            if slot.blocked || slot.stage != Stage::Running {
                return;
            }
            let Some(job) = slot.backlog.pop_front() else { return };
            match slot.lane(&job).enter(job) {
                Some((job, order)) if job.is_command() => self.send(job, order),
                Some((job, _)) => self.ask(job),
                None => {}
            }
        }
    }

    fn send(&mut self, job: Job, order: Order) {
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

    fn await_answer(&mut self, job: Job, sent: Sent) {
        self.done.push(Box::pin(async move {
            let answer = sent.await.answer;
            Done::Answered(job, answer)
        }));
    }

    /// Asks a query.
    fn ask(&mut self, job: Job) {
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

    fn on_done(&mut self, done: Done, consumer: &mut dyn Consumer) {
        match done {
            Done::Due(taking, pause) => {
                let taking = self.still_taking(taking);
                if !taking.is_empty() {
                    self.take_partitions(taking, pause);
                }
            }
            Done::NotTaken(taking, pause) => {
                let taking = self.still_taking(taking);
                if !taking.is_empty() {
                    self.take_later(taking, pause, (pause * 2).min(MAX_PAUSE));
                }
            }
            Done::Taken(taken) => {
                for (partition, assignment) in taken {
                    if let Some(slot) = self.slots.get_mut(&partition)
                        && slot.assignment == assignment
                        && slot.stage == Stage::Taking
                    {
                        slot.stage = Stage::Running;
                        slot.paused = false;
                        consumer.resume(std::slice::from_ref(&slot.partition));
                        self.dispatch(partition);
                    }
                }
            }
            Done::GivenBack(partitions) => {
                for (partition, assignment) in partitions {
                    if let Some(slot) = self.slots.get_mut(&partition)
                        && slot.assignment == assignment
                        && let Stage::Leaving { given_back, .. } = &mut slot.stage
                    {
                        *given_back = true;
                    }
                }
            }
            Done::Left(job, sent) => {
                let partition = job.partition;
                if self.is_current(&job)
                    && let Some(slot) = self.slots.get_mut(&partition)
                {
                    slot.blocked = false;
                }
                self.await_answer(job, sent);
                self.dispatch(partition);
            }
            Done::Answered(job, answer) => self.answered(job, answer),
            Done::Settled { partition, assignment, offset, bytes } => {
                if let Some(slot) = self.slots.get_mut(&partition)
                    && slot.assignment == assignment
                {
                    slot.settling -= 1;
                    slot.finish(offset, bytes);
                }
            }
        }
    }

    fn is_current(&self, job: &Job) -> bool {
        self.slots.get(&job.partition).is_some_and(|slot| slot.assignment == job.assignment)
    }

    /// The engine has answered: an outcome goes to its sender, a fault is tried again, or is a dead letter.
    fn answered(&mut self, mut job: Job, answer: NamedAnswer) {
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
                let lane = slot.lane(&job);
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
            let lane = slot.lane(&job);
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
        let lane = slot.lane(&job);
        lane.came_back(job);
        let due = lane.rest(now, true, pause);
        self.resend_at(due);
    }

    fn resend_at(&mut self, due: Option<Duration>) {
        self.next_resend = self.next_resend.into_iter().chain(due).min();
    }

    /// Tells the outcome, or keeps the dead letter; then the record is finished.
    fn settle(&mut self, job: Job, answer: NamedAnswer, dead: Option<Dead>) {
        let topic = Arc::clone(&self.parts.topic);
        let Some(slot) = self.slots.get_mut(&job.partition) else { return };
        slot.tidy(&job.call.aggregate, &job.call.subject);
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

    /// What is due: commits, new attempts, partitions that may go, and those that are full.
    async fn upkeep(&mut self, consumer: &mut dyn Consumer) {
        let now = self.parts.clock.monotonic();
        self.notice_losses(consumer);
        self.resend(now);
        self.regulate(consumer);
        let leaves = |slot: &Slot| match slot.stage {
            Stage::Leaving { until, given_back } => (given_back && slot.is_quiet()) || now >= until,
            _ => false,
        };
        let left: Vec<u16> = self.slots.iter().filter(|(_, slot)| leaves(slot)).map(|(number, _)| *number).collect();
        if now >= self.next_commit || !left.is_empty() {
            self.next_commit = now + self.parts.options.commit_every;
            self.commit(consumer).await;
        }
        if !left.is_empty() {
            let slots = left.iter().filter_map(|number| self.slots.remove(number));
            let partitions: Vec<_> = slots.map(|slot| slot.partition).collect();
            if let Err(error) = consumer.release(partitions).await {
                tracing::warn!(%error, "the bus was not told that partitions are free");
            }
        }
    }

    async fn commit(&mut self, consumer: &mut dyn Consumer) {
        let due = self.slots.values().filter_map(|slot| Some((slot.partition.clone(), slot.frontier.to_commit()?)));
        let due: Vec<_> = due.collect();
        if due.is_empty() {
            return;
        }
        match consumer.commit(due.clone()).await {
            Ok(()) => {
                for (partition, offset) in due {
                    if let Some(slot) = self.slots.get_mut(&partition.partition) {
                        slot.frontier.committed(offset);
                    }
                }
            }
            // it will be told that they are gone, or tries again
            Err(error) => tracing::warn!(%error, "offsets were not committed; what was finished may come again"),
        }
    }

    /// Tries commands again whose pause is over; never more at once than the options say.
    fn resend(&mut self, now: Duration) {
        if self.next_resend.is_none_or(|next| now < next) {
            return;
        }
        let (mut due, mut next) = (Vec::new(), None);
        for (number, slot) in &mut self.slots {
            let ready = slot.stage == Stage::Running && !slot.blocked;
            for lane in slot.lanes.values_mut() {
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

    /// Pauses partitions with too much that has no outcome, and lets those go on that have room again.
    fn regulate(&mut self, consumer: &mut dyn Consumer) {
        let options = &self.parts.options;
        let bytes: usize = self.slots.values().map(|slot| slot.bytes).sum();
        for slot in self.slots.values_mut().filter(|slot| slot.stage == Stage::Running) {
            let unfinished = slot.frontier.unfinished();
            let full = unfinished >= options.max_unfinished || bytes >= options.max_unfinished_bytes;
            let roomy = unfinished <= options.max_unfinished / 2 && bytes <= options.max_unfinished_bytes / 2;
            if full && !slot.paused {
                slot.paused = true;
                consumer.pause(std::slice::from_ref(&slot.partition));
                metrics::counter!("phoenix_delivery_pauses_total").increment(1);
            } else if roomy && slot.paused {
                slot.paused = false;
                consumer.resume(std::slice::from_ref(&slot.partition));
            }
        }
    }
}
