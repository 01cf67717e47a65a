//! The loop that owns its aggregates: takes mail, decides, and tells callers what became durable.
//!
//! One task, the single writer of its aggregates. A turn polls, in this order: the append in flight, side tasks
//! (loads, questions to the store, `async` handlers), the mailbox, the timer. What was decided goes into the
//! open batch; it is sent when no other is in flight. Batch N+1 is sent only when N's outcome is known.
//!
//! # Layout
//! - [`assign`]: partitions that come and leave, and messages for those that are not here
//! - [`deliver`]: a message meets its aggregate
//! - [`activate`]: aggregates on their way into memory
//! - [`decide`]: commands and queries on a state
//! - [`busy`]: what an aggregate may wait for, and what comes of it
//! - [`keep`]: snapshots on their way into the store
//! - [`settle`]: the outcome of a batch: tell, or undo

mod activate;
mod assign;
mod busy;
mod decide;
mod deliver;
pub(crate) mod keep;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::{poll_fn, ready};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::domain::context::Resources;
use crate::domain::emit::Recorded;
use crate::domain::error::{Code, Fault};
use crate::domain::id::{AggregateId, Slice};
use crate::domain::pending::Worked;
use crate::domain::ports::{BoxFuture, Clock, Seed};
use crate::engine::activation::{Granted, Page, Replay, Wish};
use crate::engine::batch::Sequences;
use crate::engine::cell::CellRef;
use crate::engine::cells::Cells;
use crate::engine::forward::Forward;
use crate::engine::health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::idle::Idle;
use crate::engine::journal::{Backoff, persist};
use crate::engine::kind::Kind;
use crate::engine::lanes::Lanes;
use crate::engine::mailbox::{Mail, Mailbox};
use crate::engine::meters::Meters;
use crate::engine::options::EngineOptions;
use crate::engine::ownership::{Control, Standing};
use crate::engine::questions::{Asked, Question};
use crate::engine::shard::assign::Departure;
use crate::event_store::port::{Epoch, EventStore, Lane};

/// What a shard works with.
pub(crate) struct Parts {
    pub(crate) options: EngineOptions,
    pub(crate) kinds: Vec<Arc<dyn Kind>>,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seed: Arc<dyn Seed>,
    pub(crate) resources: Resources,
    pub(crate) health: Arc<Health>,
    pub(crate) mailbox: Mailbox,
    pub(crate) sequences: Sequences,
    /// How many shards the node has.
    pub(crate) shards: usize,
    pub(crate) holdings: Holdings,
    /// What the engine as a whole believes to own.
    pub(crate) standing: Arc<Standing>,
    pub(crate) control: mpsc::Receiver<Control>,
    /// Where messages go that are for other nodes.
    pub(crate) forward: Option<Arc<dyn Forward>>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) idle: Idle,
}

/// What the engine is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// Takes nothing new and finishes what is there.
    Draining,
    /// Ends at once.
    Stopped,
}

/// The end of a side task.
enum Done {
    /// With how long to wait before the next attempt.
    Loaded(Place, Granted, Backoff),
    /// These may be put again.
    LoadAgain(Vec<Wish>, Backoff),
    ReadOn(Box<Replay>, Page),
    /// A page was read before it was needed, or is needed no more.
    ReadAhead,
    /// With the lane among whose questions put again it was, and how long to wait before the next attempt.
    Asked(Option<Lane>, Asked, Backoff),
    /// These may be put again.
    AskAgain(Vec<Question>, Backoff),
    /// With the time that the handler was told.
    Worked(CellRef, i64, Result<Worked, Fault>),
    /// The last sequence numbers of slices of a lane, with the epochs under which they were asked for.
    Reread(Lane, BTreeMap<Slice, Option<Epoch>>, BTreeMap<Slice, u64>),
    Kept(Lane),
}

/// Among which of a lane's loads one is in flight; each has a bound of its own.
#[derive(Debug, Clone, Copy)]
enum Place {
    First(Lane),
    Again(Lane),
}

/// An aggregate that can't be brought into memory until somebody mends it.
struct Parked {
    /// Until then it is not tried again: a long stream that ends in a panic would keep its neighbours waiting.
    until: Duration,
    pause: Duration,
    fault: Fault,
}

/// The first and the longest pause before a parked aggregate is tried again.
const PARKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How many parked aggregates are remembered; beyond that each is tried whenever somebody asks.
const MAX_PARKED: usize = 10_000;

/// How long after a repeat got as far as the store's unique key all possible repeats are asked about beforehand.
const SUSPICION: Duration = Duration::from_secs(10);

/// How often the hand of passivation moves where nothing else sets the pace.
const SWEEP: Duration = Duration::from_secs(1);

pub(crate) struct Shard {
    options: EngineOptions,
    kinds: Vec<Arc<dyn Kind>>,
    /// Wire names of the kinds, and of what they write, each once.
    names: Names,
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    seed: Arc<dyn Seed>,
    resources: Resources,
    health: Arc<Health>,
    mailbox: Mailbox,
    phase: watch::Receiver<Phase>,
    idle: Idle,
    holdings: Holdings,
    standing: Arc<Standing>,
    control: mpsc::Receiver<Control>,
    forward: Option<Arc<dyn Forward>>,
    /// Partitions that are leaving.
    departures: Vec<Departure>,
    sequences: Sequences,
    cells: Cells,
    lanes: Lanes,
    tasks: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Aggregates whose events are being applied, in turn.
    replays: VecDeque<Box<Replay>>,
    /// Those whose next page is to be read, from which version on, and how many are being read.
    reads_waiting: VecDeque<(u64, Box<Replay>)>,
    reads: usize,
    /// Of how many of them the next page is being read.
    reads_ahead: usize,
    remembered_keys: usize,
    parked: HashMap<(u16, AggregateId), Parked>,
    suspicious_until: Duration,
    /// The monotonic time of this turn.
    now: Duration,
    meters: Meters,
    /// Empty, for the events of the next decision.
    spare_records: Vec<Recorded>,
    sweep: Option<BoxFuture<'static, ()>>,
    /// Whose queues are more than full, by when somebody there gives up.
    overflow: BTreeSet<(Duration, CellRef)>,
    overflow_timer: Option<BoxFuture<'static, ()>>,
    owner_timer: Option<BoxFuture<'static, ()>>,
    draining: bool,
}

/// Names as shared text, one copy a shard: a count of references that two cores fight over is slower than a search.
#[derive(Default)]
struct Names(Vec<(&'static str, Arc<str>)>);

impl Names {
    fn get(&mut self, name: &'static str) -> Arc<str> {
        if let Some((_, shared)) = self.0.iter().find(|(known, _)| std::ptr::eq(*known, name)) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = name.into();
        self.0.push((name, Arc::clone(&shared)));
        shared
    }
}

impl Shard {
    pub(crate) fn new(parts: Parts) -> Self {
        let cells = Cells::new(parts.kinds.iter().map(|kind| kind.options()), parts.shards);
        Self {
            lanes: Lanes::new(&*parts.store, &parts.options),
            options: parts.options,
            kinds: parts.kinds,
            names: Names::default(),
            store: parts.store,
            now: parts.clock.monotonic(),
            meters: Meters::new(),
            spare_records: Vec::new(),
            clock: parts.clock,
            seed: parts.seed,
            resources: parts.resources,
            health: parts.health,
            mailbox: parts.mailbox,
            phase: parts.phase,
            idle: parts.idle,
            holdings: parts.holdings,
            standing: parts.standing,
            control: parts.control,
            forward: parts.forward,
            departures: Vec::new(),
            sequences: parts.sequences,
            cells,
            tasks: FuturesUnordered::new(),
            replays: VecDeque::new(),
            reads_waiting: VecDeque::new(),
            reads: 0,
            reads_ahead: 0,
            remembered_keys: 0,
            parked: HashMap::new(),
            suspicious_until: Duration::ZERO,
            sweep: None,
            overflow: BTreeSet::new(),
            overflow_timer: None,
            owner_timer: None,
            draining: false,
        }
    }

    /// Runs until it is drained or stopped.
    pub(crate) async fn run(mut self) {
        let mut phase = self.phase.clone();
        let mut changed: BoxFuture<'static, watch::Receiver<Phase>> = Box::pin(async move {
            // an engine that is gone counts as stopped
            let _ = phase.changed().await;
            phase
        });
        let mut mail = Vec::new();
        poll_fn(|cx| {
            while let Poll::Ready(mut phase) = changed.as_mut().poll(cx) {
                let current = if phase.has_changed().is_err() { Phase::Stopped } else { *phase.borrow() };
                match current {
                    Phase::Stopped => return Poll::Ready(()),
                    Phase::Draining => {
                        self.draining = true;
                        self.mailbox.close();
                    }
                    Phase::Running => {}
                }
                changed = Box::pin(async move {
                    let _ = phase.changed().await;
                    phase
                });
            }
            loop {
                let progress = self.turn(cx, &mut mail);
                if self.draining {
                    let finished = self.is_finished();
                    if self.idle.poll(cx, finished).is_ready() {
                        return Poll::Ready(());
                    }
                }
                if !progress {
                    if !self.replays.is_empty() {
                        // others have their turn between two pieces
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    fn is_finished(&self) -> bool {
        self.mailbox.is_closed()
            && self.lanes.are_idle()
            && self.tasks.is_empty()
            && self.replays.is_empty()
            && self.reads_waiting.is_empty()
    }

    /// Does what can be done now. Says whether it did anything.
    fn turn(&mut self, cx: &mut TaskContext<'_>, mail: &mut Vec<Mail>) -> bool {
        self.now = self.clock.monotonic();
        let mut progress = self.poll_control(cx);

        for lane in self.lanes.all() {
            let work = self.lanes.work(lane);
            if let Some((_, append)) = &mut work.in_flight
                && let Poll::Ready(outcome) = append.as_mut().poll(cx)
                && let Some((sealed, _)) = work.in_flight.take()
            {
                if outcome.is_ok() {
                    // the store goes on while those who waited for this one are told
                    self.take_mail(cx, mail);
                    self.send_next(lane);
                    self.begin(cx, lane);
                }
                self.settle(lane, sealed, outcome);
                // who could not leave while it waited for this batch
                if self.cells.is_any_over() {
                    self.passivate();
                }
                progress = true;
            }
        }
        while let Poll::Ready(Some(done)) = self.tasks.poll_next_unpin(cx) {
            self.on_done(done);
            progress = true;
        }

        // no room while full batches wait for those in flight: mail then waits in the mailbox, which pushes back
        progress |= self.replay();
        progress |= self.take_mail(cx, mail);
        progress |= self.poll_sweep(cx);
        progress |= self.poll_overflow(cx);
        progress |= self.poll_owner(cx);
        progress |= self.poll_departures();
        for lane in self.lanes.all() {
            progress |= self.ask_questions(lane);
            progress |= self.start_loads(lane);
            progress |= self.keep_some(lane);
            progress |= self.send_next(lane);
            while let Some(mail) = self.lanes.next_put_off(lane).or_else(|| self.lanes.next_behind(lane)) {
                self.accept(mail);
                progress = true;
            }
        }
        progress
    }

    /// Takes as many messages as there is room for, to their aggregates.
    fn take_mail(&mut self, cx: &mut TaskContext<'_>, mail: &mut Vec<Mail>) -> bool {
        let room = self.lanes.room();
        let reserve_only = self.lanes.are_over();
        if room == 0 {
            return false;
        }
        let Poll::Ready(more) = self.mailbox.poll_take(cx, mail, room, reserve_only) else { return false };
        for mail in mail.drain(..) {
            self.deliver(mail);
        }
        more
    }

    /// Sends the open batch of a lane, if there is something in it and no other in flight.
    fn send_next(&mut self, lane: Lane) -> bool {
        let work = self.lanes.work(lane);
        if work.in_flight.is_some() || work.rereads > 0 || work.open.is_empty() {
            return false;
        }
        work.has_sent = true;
        let sealed = work.open.seal(&mut self.sequences, &self.holdings);
        self.meters.batch_records.record(u32::try_from(sealed.batch.records.len()).unwrap_or(u32::MAX));
        let (store, batch, backoff) = (Arc::clone(&self.store), Arc::clone(&sealed.batch), self.backoff());
        let (health, clock) = (Arc::clone(&self.health), Arc::clone(&self.clock));
        let append_seconds = self.meters.append_seconds.clone();
        let append = Box::pin(async move {
            let began = clock.monotonic();
            let outcome = persist(store, lane, batch, backoff, &health).await;
            append_seconds.record((clock.monotonic().saturating_sub(began)).as_secs_f64());
            outcome
        });
        self.lanes.work(lane).in_flight = Some((sealed, append));
        true
    }

    /// Puts what was just sent on its way: before it is polled nothing happens to it.
    fn begin(&mut self, cx: &mut TaskContext<'_>, lane: Lane) {
        if let Some((_, append)) = &mut self.lanes.work(lane).in_flight
            && let Poll::Ready(outcome) = append.as_mut().poll(cx)
        {
            // its turn comes when the one before it is told
            *append = Box::pin(ready(outcome));
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(Arc::clone(&self.clock), Arc::clone(&self.seed), self.options.max_store_backoff)
    }

    /// Seconds, for who was used when.
    fn now_seconds(&self) -> u32 {
        u32::try_from(self.now.as_secs()).unwrap_or(u32::MAX)
    }

    fn poll_sweep(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Some(every) = self.cells.sweep_every() else { return false };
        let (clock, pause) = (&self.clock, every.min(SWEEP));
        let sweep = self.sweep.get_or_insert_with(|| clock.sleep(pause));
        if sweep.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.sweep = None;
        self.passivate();
        true
    }

    fn passivate(&mut self) {
        let now = self.now_seconds();
        for cell in self.cells.leavers(now) {
            self.forget(cell);
        }
    }

    /// Drops a cell, with its share of the remembered keys.
    fn forget(&mut self, cell: CellRef) {
        if let Some(cell) = self.cells.remove(cell) {
            self.remembered_keys = self.remembered_keys.saturating_sub(cell.window.len());
            drop_user(cell.state);
            self.health.resident.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Drops what users wrote: a panic in it harms nobody.
fn drop_user<T>(value: T) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(value))).is_err() {
        tracing::error!("dropping a handler, a state or a message panicked");
    }
}

fn outcome_unknown() -> Fault {
    Fault::new(
        Code::OutcomeUnknown,
        "another node took this aggregate while the command was being stored; send it again with the same key",
    )
}
