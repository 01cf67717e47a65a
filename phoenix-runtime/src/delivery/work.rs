//! The loop: partitions come and go, records become commands, outcomes become replies.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use super::alone::Alone;
use super::drive::Allowance;
use super::examine::Findings;
use super::inbox::Page;
use super::job::{Finished, Job};
use super::options::{Exponential, Redelivery};
use super::rows::RowId;
use super::settle::{Settling, Ticket};
use super::slot::{Slot, Stage};
use super::spill::{Bounds, Putting};
use super::{Parts, TICK};
use crate::bus::port::{BusError, Consumer, Outgoing, Subscription, TopicPartition};
use crate::bus::sender::Sender;
use crate::domain::pending::NamedAnswer;
use crate::domain::ports::BoxFuture;
use crate::engine::order::Order;
use crate::event_store::letters::{Backlog, InboxRow};
use crate::event_store::port::{Epoch, Partition, StoreError};

/// How often an inbox is read anew, for what a former owner has put there late.
pub(super) const LOOK: Duration = Duration::from_mins(1);

/// The longest pause before a bus that failed is read again.
const MAX_READ_PAUSE: Duration = Duration::from_secs(2);

/// The most of what the engine and the sender told that is looked at before anything else.
const MOST_AT_ONCE: usize = 1024;

/// The end of something that goes on beside the loop: small, as thousands wait to be looked at.
pub(super) enum Done {
    /// These partitions are to be taken now, with their assignments; how long to wait if that fails.
    Due(Vec<(u16, u64)>, Duration),
    /// They could not be taken.
    NotTaken(Vec<(u16, u64)>, Duration),
    /// The aggregates of these partitions are this node's, and so much waits in their inboxes.
    Taken(Vec<(u16, u64, Backlog)>),
    /// What was open in the engine of these has ended.
    GivenBack(Vec<(u16, u64)>),
    /// A command has its place in a mailbox.
    Left { partition: u16, assignment: u64 },
    /// What the engine says of a call.
    Answered(Box<Job>, NamedAnswer),
    /// A record is finished: its reply sent, or its dead letter kept.
    Settled(Finished),
    /// The replies to these have come to their ends.
    Replied(Vec<Finished>),
    /// Its partition has had another owner since it failed.
    NotBuried(Box<Job>),
    /// Rows are in the inbox.
    Stored(Vec<Putting>),
    /// Rows of these assignments are not there any more.
    Removed(Vec<(u16, u64)>),
    /// Rows from the cursor on.
    Page { partition: u16, assignment: u64, page: Box<Result<Page, StoreError>> },
    /// A row that is held for an aggregate.
    Row { partition: u16, assignment: u64, lane: u64, id: RowId, row: Box<Result<Findings, StoreError>> },
    /// A try of a command that is done alone is counted.
    Counted(Box<Job>, Order),
    /// A try is counted no more.
    Acquitted(Box<Job>),
    /// There is another consumer.
    Subscribed(Result<Box<dyn Consumer>, BusError>),
    /// Something that nobody waits for.
    Over,
}

pub(super) struct Work {
    pub(super) parts: Parts,
    pub(super) subscription: Subscription,
    pub(super) redelivery: Arc<dyn Redelivery>,
    pub(super) settling: Arc<Settling>,
    pub(super) stopping: watch::Receiver<bool>,
    /// What the engine believes to own.
    pub(super) owned: watch::Receiver<Arc<BTreeSet<Partition>>>,
    pub(super) slots: BTreeMap<u16, Slot>,
    pub(super) assignments: u64,
    /// What goes on beside the loop.
    pub(super) done: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Where the engine and the sender tell what is done: thousands are with them, and a future for each of these cost
    /// more than the engine's decision.
    pub(super) tell: mpsc::UnboundedSender<Done>,
    told: mpsc::UnboundedReceiver<Done>,
    /// Replies that are about to be sent.
    pub(super) replies: Vec<(Outgoing, Ticket)>,
    /// What became of the wish for another consumer.
    renewed: Option<Result<Box<dyn Consumer>, BusError>>,
    pub(super) next_commit: Duration,
    /// When the first of those that are to be tried again is due.
    pub(super) next_resend: Option<Duration>,
    pub(super) resends: Allowance,
    pub(super) bounds: Bounds,
    /// Whether rows are just being put into the inbox, and whether some are being removed.
    pub(super) putting: bool,
    pub(super) removing: bool,
    /// What is put when the removal is over.
    pub(super) delayed: Option<(Vec<Putting>, Vec<InboxRow>)>,
    /// What is done while nothing else begins.
    pub(super) alone: Option<Alone>,
    /// Until then nothing else begins.
    pub(super) quiet_until: Duration,
    next_look: Duration,
}

impl Work {
    pub(super) fn new(
        parts: Parts,
        subscription: Subscription,
        sender: Sender<Ticket>,
        (tell, told): (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
        graveyard: TopicPartition,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let settling = Arc::new(Settling {
            bus: Arc::clone(&parts.bus),
            sender,
            store: Arc::clone(&parts.store),
            partitions: parts.partitions.clone(),
            clock: Arc::clone(&parts.clock),
            seed: Arc::clone(&parts.seed),
            graveyard,
            reply_timeout: parts.options.reply_timeout,
        });
        let redelivery = parts.redelivery.clone().unwrap_or_else(|| {
            let options = &parts.options;
            Arc::new(Exponential { first: options.first_pause, longest: options.max_pause, max_age: options.max_age })
        });
        let owned = parts.partitions.owned();
        let bounds = Bounds::of(&parts.options, parts.store.letters().is_some());
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
            tell,
            told,
            replies: Vec::new(),
            renewed: None,
            next_commit: Duration::ZERO,
            next_resend: None,
            resends: Allowance::default(),
            bounds,
            putting: false,
            removing: false,
            delayed: None,
            alone: None,
            quiet_until: Duration::ZERO,
            next_look: Duration::ZERO,
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
        // after an error nothing is read until then; all else goes on
        let mut read_again = Duration::ZERO;
        let clock = Arc::clone(&self.parts.clock);
        let mut tick = clock.sleep(TICK);
        let mut told = Vec::new();
        loop {
            if stopped && self.slots.is_empty() {
                return;
            }
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
                    self.on_done(done);
                    // what ended together is looked at together
                    while let Poll::Ready(Some(done)) =
                        self.done.poll_next_unpin(&mut TaskContext::from_waker(Waker::noop()))
                    {
                        self.on_done(done);
                    }
                }
                _ = self.told.recv_many(&mut told, MOST_AT_ONCE) => told.drain(..).for_each(|done| self.on_done(done)),
                happening = consumer.next(), if !stopped && clock.monotonic() >= read_again => match happening {
                    Ok(happening) => {
                        pause = TICK;
                        if let Err(error) = self.happens(happening, &mut *consumer).await {
                            tracing::warn!(%error, "the bus does not answer");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "can't read commands; trying again");
                        metrics::counter!("phoenix_delivery_bus_errors_total").increment(1);
                        read_again = clock.monotonic().saturating_add(pause);
                        if !error.is_passing() {
                            read_again = Duration::MAX;
                            self.subscribe_later(pause);
                        }
                        pause = (pause * 2).min(MAX_READ_PAUSE);
                    }
                },
                () = &mut tick => tick = clock.sleep(TICK),
            }
            if let Some(renewed) = self.renewed.take() {
                read_again = Duration::ZERO;
                match renewed {
                    // what leaves is finished with the one that it came from
                    Ok(renewed) if !stopped => {
                        let all: Vec<u16> = self.slots.keys().copied().collect();
                        self.lose(&all);
                        consumer = renewed;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "can't subscribe anew; trying again"),
                }
            }
            self.upkeep(&mut *consumer).await;
        }
    }

    /// A consumer that can't be read any more is replaced.
    fn subscribe_later(&mut self, pause: Duration) {
        let (bus, clock) = (Arc::clone(&self.parts.bus), Arc::clone(&self.parts.clock));
        let subscription = self.subscription.clone();
        self.done.push(Box::pin(async move {
            clock.sleep(pause).await;
            Done::Subscribed(bus.subscribe(subscription).await)
        }));
    }

    /// Waits for the bus while what is at work goes on: a bus that does not answer stops no command.
    pub(super) async fn meanwhile<T>(&mut self, asked: impl Future<Output = T>) -> T {
        let mut asked = pin!(asked);
        let clock = Arc::clone(&self.parts.clock);
        let mut tick = clock.sleep(TICK);
        let mut told = Vec::new();
        loop {
            tokio::select! {
                biased;
                told = &mut asked => return told,
                Some(done) = self.done.next(), if !self.done.is_empty() => self.on_done(done),
                _ = self.told.recv_many(&mut told, MOST_AT_ONCE) => told.drain(..).for_each(|done| self.on_done(done)),
                () = &mut tick => {
                    tick = clock.sleep(TICK);
                    self.resend(clock.monotonic());
                }
            }
            self.reply();
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Due(taking, pause) => {
                let taking = self.still_taking(taking);
                if !taking.is_empty() {
                    self.take_partitions(taking, pause);
                }
            }
            Done::NotTaken(taking, pause) => self.not_taken(taking, pause),
            Done::Taken(taken) => {
                for (partition, assignment, backlog) in taken {
                    if let Some(slot) = self.slots.get_mut(&partition)
                        && slot.assignment == assignment
                        && slot.stage == Stage::Taking
                    {
                        slot.stage = Stage::Running;
                        slot.rows.found(backlog);
                        slot.looks = backlog.rows > 0;
                        slot.next_look = self.parts.clock.monotonic().saturating_add(LOOK);
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
            Done::Left { partition, assignment } => {
                if let Some(slot) = self.slots.get_mut(&partition)
                    && slot.assignment == assignment
                {
                    slot.blocked = false;
                }
                self.dispatch(partition);
            }
            Done::Answered(job, answer) => self.answered(job, answer),
            Done::NotBuried(job) => self.not_buried(job),
            Done::Stored(all) => self.stored(all),
            Done::Removed(of) => self.removed(of),
            Done::Page { partition, assignment, page } => self.page(partition, assignment, *page),
            Done::Row { partition, assignment, lane, id, row } => self.row((partition, assignment), lane, id, *row),
            Done::Counted(job, order) => self.counted(job, order),
            Done::Acquitted(job) => self.acquitted(job),
            Done::Subscribed(renewed) => self.renewed = Some(renewed),
            Done::Over => {}
            Done::Settled(finished) => self.settled(finished),
            Done::Replied(all) => all.into_iter().for_each(|finished| self.settled(finished)),
        }
    }

    pub(super) fn settled(&mut self, Finished { partition, assignment, serial }: Finished) {
        if let Some(slot) = self.slots.get_mut(&partition)
            && slot.assignment == assignment
        {
            slot.settling -= 1;
            slot.finish(serial);
        }
    }

    /// Sends the replies to all that was answered together.
    fn reply(&mut self) {
        if self.replies.is_empty() {
            return;
        }
        let replies = std::mem::take(&mut self.replies);
        self.done.extend(self.settling.send_all(replies));
    }

    /// The epoch under which this node owns a partition, as far as it knows.
    pub(super) fn epoch(&self, partition: u16) -> Option<Epoch> {
        self.parts.partitions.epoch(Partition(partition))
    }

    pub(super) fn is_current(&self, job: &Job) -> bool {
        self.slots.get(&job.partition).is_some_and(|slot| slot.assignment == job.assignment)
    }

    /// What is due: commits, new attempts, partitions that may go, and those that are full.
    async fn upkeep(&mut self, consumer: &mut dyn Consumer) {
        self.reply();
        let now = self.parts.clock.monotonic();
        self.notice_losses();
        self.resend(now);
        self.go_on();
        self.put();
        self.remove();
        if now >= self.next_look {
            self.next_look = now + TICK;
            self.read();
            self.measure();
        }
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
            if let Err(error) = self.meanwhile(consumer.release(partitions)).await {
                tracing::warn!(%error, "the bus was not told that partitions are free");
            }
        }
    }
}
