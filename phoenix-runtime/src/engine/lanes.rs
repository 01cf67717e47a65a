//! What a shard does for each lane of the store: one open batch, one append in flight, and those who wait for them.
//!
//! A slice is in one lane at a time, and so is everything undecided of its aggregates. A lane whose database does not
//! answer keeps its own share of held messages and leaves the others alone.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::domain::id::{SLICES, Slice};
use crate::domain::ports::BoxFuture;
use crate::engine::activation::Wish;
use crate::engine::again::Again;
use crate::engine::batch::{OpenBatch, Sealed};
use crate::engine::cell::CellRef;
use crate::engine::journal::Failed;
use crate::engine::mailbox::{self, Mail};
use crate::engine::options::EngineOptions;
use crate::engine::questions::Question;
use crate::engine::shard::keep::Keeping;
use crate::event_store::port::{EventStore, Lane, Record};

/// What goes on in one lane.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) open: OpenBatch,
    pub(crate) in_flight: Option<(Sealed, BoxFuture<'static, Result<(), Failed>>)>,
    /// Asked together at the end of the turn.
    pub(crate) questions: Vec<Question>,
    /// Those that the store did not answer.
    pub(crate) asked_again: Again<Question>,
    /// Aggregates that shall come into memory, for the next load.
    pub(crate) wanted: Vec<CellRef>,
    /// How many loads of them are in flight.
    pub(crate) loads: usize,
    /// Those that the store did not give.
    pub(crate) loaded_again: Again<Wish>,
    /// Snapshots of durable versions, on their way into the store.
    pub(crate) keeping: VecDeque<Keeping>,
    /// How many of them are being written.
    pub(crate) keepers: usize,
    /// Mail that came while the open batch was full. Only with several lanes: with one it stays in the mailbox.
    backlog: VecDeque<Mail>,
    /// Mail that came while the lane held as many messages as it may, by when it gives up.
    behind: VecDeque<(Duration, Mail)>,
    /// How many messages are held back for aggregates of this lane.
    held: usize,
    /// Whether anything was sent since the last look at who owns the partitions: its answer says that as well.
    pub(crate) has_sent: bool,
    /// Reads of sequence numbers that must end before the next batch is sent.
    pub(crate) rereads: usize,
}

/// Whether a lane takes a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Now,
    /// It waits until the open batch has room.
    Later,
    /// The lane holds as many messages as it may.
    Over,
}

/// The lanes of a shard.
pub(crate) struct Lanes {
    all: Vec<Work>,
    /// By slice.
    of: Vec<Lane>,
    /// By slice: a slice takes what is held for it along when it moves.
    held_of: Vec<u32>,
    held: usize,
    /// How many messages the lanes may hold together.
    capacity: usize,
    /// How many messages may wait until their lane holds less, all lanes together.
    most_behind: usize,
    /// What the larger messages of each lane may take together, in KiB.
    rooms: Vec<Arc<Semaphore>>,
    most_room: u32,
    max_batch: usize,
    max_batch_bytes: usize,
    /// Messages that wait behind queues that are full.
    pub(crate) overflowing: usize,
    /// Slices of a batch of unknown outcome that moved: until something newer of them is stored, the rows may still
    /// arrive, and a conflict of their numbers is no sign of another owner.
    doubtful: BTreeSet<Slice>,
    /// Slices that left their lane while the store knew of no other one: what is decided of them would fail its batch.
    away: BTreeSet<Slice>,
}

impl Lanes {
    pub(crate) fn new(store: &dyn EventStore, options: &EngineOptions) -> Self {
        let count = store.lanes().max(1);
        let all = (0..count).map(|_| Work::default()).collect();
        let most_room = (mailbox::room_of(options.max_held_bytes) / u32::from(count)).max(1);
        let mut lanes = Self {
            all,
            of: vec![Lane(0); usize::from(SLICES)],
            held_of: vec![0; usize::from(SLICES)],
            held: 0,
            capacity: options.mailbox_capacity,
            most_behind: options.aggregate_queue,
            rooms: (0..count).map(|_| Arc::new(Semaphore::new(most_room as usize))).collect(),
            most_room,
            max_batch: options.max_batch,
            max_batch_bytes: options.max_batch_bytes,
            overflowing: 0,
            doubtful: BTreeSet::new(),
            away: BTreeSet::new(),
        };
        for slice in (0..SLICES).map(Slice) {
            lanes.set(slice, store.lane(slice));
        }
        lanes
    }

    fn set(&mut self, slice: Slice, lane: Lane) {
        // a lane that can't be is a fault of the store: its appends will say so
        let lane = Lane(lane.0.min(u16::try_from(self.all.len() - 1).unwrap_or(u16::MAX)));
        if let Some(entry) = self.of.get_mut(usize::from(slice.0)) {
            *entry = lane;
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Lane> + use<> {
        (0..u16::try_from(self.all.len()).unwrap_or(u16::MAX)).map(Lane)
    }

    pub(crate) fn of(&self, slice: Slice) -> Lane {
        self.of.get(usize::from(slice.0)).copied().unwrap_or_default()
    }

    /// What goes on in a lane; lanes come from [`Lanes::of`] and [`Lanes::all`], so there is one.
    pub(crate) fn work(&mut self, lane: Lane) -> &mut Work {
        let last = self.all.len() - 1;
        &mut self.all[usize::from(lane.0).min(last)]
    }

    /// The open batch of a slice's lane.
    pub(crate) fn open(&mut self, slice: Slice) -> &mut OpenBatch {
        &mut self.work(self.of(slice)).open
    }

    /// Appends of this slice are refused, and the store does not know who takes them.
    pub(crate) fn went_away(&mut self, slice: Slice) {
        self.away.insert(slice);
    }

    pub(crate) fn is_away(&self, slice: Slice) -> bool {
        // mostly there is none
        !self.away.is_empty() && self.away.contains(&slice)
    }

    /// The slice can be read again. Says whether it could not.
    pub(crate) fn came_back(&mut self, slice: Slice) -> bool {
        !self.away.is_empty() && self.away.remove(&slice)
    }

    /// Whether anything of a slice is undecided, or not yet durable, in its lane.
    pub(crate) fn is_open(&mut self, slice: Slice) -> bool {
        let work = self.work(self.of(slice));
        let in_flight = work.in_flight.iter().flat_map(|(sealed, _)| &sealed.waiters);
        work.open.waiters.iter().chain(in_flight).any(|waiter| waiter.mail.slice() == slice)
    }

    /// The slice is in another lane now, as the store says. Nothing of it may be open.
    pub(crate) fn relocate(&mut self, slice: Slice, lane: Lane) {
        let held = self.held_of.get(usize::from(slice.0)).copied().unwrap_or_default() as usize;
        let before = self.of(slice);
        self.work(before).held -= held;
        self.set(slice, lane);
        let after = self.of(slice);
        self.work(after).held += held;
    }

    /// So many more messages are held for aggregates of this slice.
    pub(crate) fn hold(&mut self, slice: Slice, count: usize) {
        self.held += count;
        self.work(self.of(slice)).held += count;
        if let Some(held) = self.held_of.get_mut(usize::from(slice.0)) {
            *held = held.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// A message is held no longer.
    pub(crate) fn let_go(&mut self, mail: &mut Mail) {
        let slice = mail.slice();
        self.let_in(mail);
        self.held = self.held.saturating_sub(1);
        let work = self.work(self.of(slice));
        work.held = work.held.saturating_sub(1);
        if let Some(held) = self.held_of.get_mut(usize::from(slice.0)) {
            *held = held.saturating_sub(1);
        }
    }

    /// A message has a place within its queue, if it had none.
    pub(crate) fn let_in(&mut self, mail: &mut Mail) {
        self.overflowing = self.overflowing.saturating_sub(usize::from(mail.give_up.take().is_some()));
    }

    /// How many messages may be taken from the mailbox: none while every lane's open batch is full.
    pub(crate) fn room(&self) -> usize {
        self.all.iter().map(|work| self.room_of(work)).max().unwrap_or_default()
    }

    fn room_of(&self, work: &Work) -> usize {
        let full = work.open.bytes >= self.max_batch_bytes;
        if full { 0 } else { self.max_batch.saturating_sub(work.open.waiters.len()) }
    }

    /// Whether every lane holds more than its share.
    pub(crate) fn are_over(&self) -> bool {
        self.all.iter().all(|work| self.is_over(work))
    }

    fn is_over(&self, work: &Work) -> bool {
        work.held > self.capacity / self.all.len()
    }

    /// Whether a lane takes a message for an aggregate of this slice.
    pub(crate) fn admit(&self, slice: Slice, inside: bool) -> Admission {
        let several = self.all.len() > 1;
        match self.all.get(usize::from(self.of(slice).0)) {
            // asks from inside a handler get through, or those who wait for them would never end
            Some(work) if several && !inside => {
                if self.is_over(work) || !work.behind.is_empty() {
                    Admission::Over
                } else if self.room_of(work) == 0 || !work.backlog.is_empty() {
                    Admission::Later
                } else {
                    Admission::Now
                }
            }
            _ => Admission::Now,
        }
    }

    /// Takes a message's part of its lane's bytes, until it is told. One lane alone has all bytes of the shard.
    pub(crate) fn claim(&self, mail: &mut Mail) -> bool {
        mail.lane_room = None;
        let wanted = mail.kibibytes().min(self.most_room);
        if wanted == 0 || self.all.len() < 2 {
            return true;
        }
        let Some(room) = self.rooms.get(usize::from(self.of(mail.slice()).0)) else { return true };
        mail.lane_room = Arc::clone(room).try_acquire_many_owned(wanted).ok();
        mail.lane_room.is_some()
    }

    /// Keeps a message until its lane's open batch has room.
    pub(crate) fn put_off(&mut self, slice: Slice, mail: Mail) {
        self.hold(slice, 1);
        self.work(self.of(slice)).backlog.push_back(mail);
    }

    /// The next message that was put off, if there is room for it now.
    pub(crate) fn next_put_off(&mut self, lane: Lane) -> Option<Mail> {
        if self.all.get(usize::from(lane.0)).is_none_or(|work| self.room_of(work) == 0) {
            return None;
        }
        let mut mail = self.work(lane).backlog.pop_front()?;
        self.let_go(&mut mail);
        Some(mail)
    }

    /// Keeps a message until its lane holds less, as long as not too many wait for that.
    ///
    /// # Errors
    /// The message, where too many do.
    pub(crate) fn put_behind(&mut self, until: Duration, mail: Mail) -> Result<(), Mail> {
        let most = (self.most_behind / self.all.len()).max(1);
        let behind = &mut self.work(self.of(mail.slice())).behind;
        if behind.len() >= most {
            return Err(mail);
        }
        behind.push_back((until, mail));
        Ok(())
    }

    /// The next message that waited until its lane holds less, if that is so now.
    pub(crate) fn next_behind(&mut self, lane: Lane) -> Option<Mail> {
        let work = self.all.get(usize::from(lane.0))?;
        if self.is_over(work) || !work.backlog.is_empty() || self.room_of(work) == 0 {
            return None;
        }
        self.work(lane).behind.pop_front().map(|(_, mail)| mail)
    }

    /// When the first of those gives up that wait until their lane holds less.
    pub(crate) fn first_to_give_up(&self) -> Option<Duration> {
        self.all.iter().filter_map(|work| work.behind.front()).map(|(until, _)| *until).min()
    }

    /// One of them whose time is over.
    pub(crate) fn next_in_vain(&mut self, now: Duration) -> Option<Mail> {
        let due = |(until, _): &mut (Duration, Mail)| *until <= now;
        self.all.iter_mut().find_map(|work| work.behind.pop_front_if(due)).map(|(_, mail)| mail)
    }

    /// Takes the messages of some slices that were put off.
    pub(crate) fn take_put_off(&mut self, lane: Lane, concerns: impl Fn(Slice) -> bool) -> Vec<Mail> {
        let work = self.work(lane);
        let (mut taken, kept): (Vec<_>, VecDeque<_>) = {
            let mut taken = Vec::new();
            let mut kept = VecDeque::new();
            for mail in work.backlog.drain(..) {
                if concerns(mail.slice()) { taken.push(mail) } else { kept.push_back(mail) }
            }
            (taken, kept)
        };
        work.backlog = kept;
        let behind = std::mem::take(&mut work.behind);
        for mail in &mut taken {
            self.let_go(mail);
        }
        let (newer, kept) = behind.into_iter().partition(|(_, mail)| concerns(mail.slice()));
        self.work(lane).behind = kept;
        let newer: VecDeque<(Duration, Mail)> = newer;
        taken.extend(newer.into_iter().map(|(_, mail)| mail));
        taken
    }

    /// Forgets the questions of a cell.
    pub(crate) fn forget_questions(&mut self, concerns: impl Fn(CellRef) -> bool) {
        for work in &mut self.all {
            work.questions.retain(|question| !concerns(question.cell));
        }
    }

    /// Whether nothing is open, in flight, wanted or held.
    pub(crate) fn are_idle(&self) -> bool {
        let idle = |work: &Work| {
            // nobody waits for a mere question
            let in_flight = work.in_flight.as_ref().is_some_and(|(sealed, _)| !sealed.waiters.is_empty());
            work.open.is_empty()
                && !in_flight
                && work.asked_again.is_empty()
                && work.wanted.is_empty()
                && work.loaded_again.is_empty()
                && work.keeping.is_empty()
                && work.behind.is_empty()
        };
        self.held == 0 && self.all.iter().all(idle)
    }

    /// The rows of these slices may still arrive.
    pub(crate) fn doubt(&mut self, slices: impl IntoIterator<Item = Slice>) {
        self.doubtful.extend(slices);
    }

    /// Numbers and lane of a slice are read under a new epoch: rows of earlier ones can't arrive any more.
    pub(crate) fn forget_doubts(&mut self, slice: Slice) {
        self.doubtful.remove(&slice);
        self.away.remove(&slice);
    }

    pub(crate) fn is_doubtful(&self, slice: Slice) -> bool {
        self.doubtful.contains(&slice)
    }

    /// What is stored now has the numbers that earlier rows would need.
    pub(crate) fn settle_doubts(&mut self, stored: &[Record]) {
        if !self.doubtful.is_empty() {
            for record in stored {
                self.doubtful.remove(&record.slice);
            }
        }
    }
}
