//! The commands of one aggregate, in their order: while one of them is to be tried again, those behind it wait.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use smallvec::SmallVec;

use super::job::Job;
use super::rows::RowId;
use crate::engine::order::Order;

/// The commands of one aggregate that have no outcome: those in memory, behind them those in the inbox, and behind these
/// the ones that are on their way there.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// How many are in front: on their way to the engine, with it, or to be tried again.
    pub(super) front: usize,
    /// How many have been there.
    places: u64,
    /// Rows of the inbox that are not in memory, in their order.
    pub(super) stored: BTreeSet<RowId>,
    /// Whether the first of them is being read.
    pub(super) reading: bool,
    /// How many are just being put there.
    pub(super) putting: usize,
    /// Those that are to be put there.
    pub(super) tail: VecDeque<Box<Job>>,
    order: Order,
    /// The places of those that are with the engine: of most aggregates it is one.
    at_work: SmallVec<[u64; 2]>,
    /// How many are on their way there again.
    cleared: usize,
    /// Whether the one that is, or is about to be, is done alone: those behind it wait until then.
    alone: bool,
    /// Those that came back without an outcome, and those behind them, by their places.
    held: VecDeque<Box<Job>>,
    /// When those that are held are tried again.
    due: Option<Duration>,
    /// How often in a row the first of them failed.
    failures: u32,
}

impl Lane {
    /// A command is in front from now on, behind all others that are.
    pub(super) fn admit(&mut self, job: &mut Job) {
        self.front += 1;
        self.places += 1;
        job.place = self.places;
    }

    /// Takes a command. Gives it back where it may go to the engine now, with its order.
    pub(super) fn enter(&mut self, job: Box<Job>) -> Option<(Box<Job>, Order)> {
        self.cleared -= usize::from(job.cleared);
        let waits = self.alone || self.cleared > 0 || !self.held.is_empty() || job.suspect;
        if (waits && !job.cleared) || self.order.is_broken() {
            self.hold(job);
            return None;
        }
        self.at_work.push(job.place);
        Some((job, self.order.clone()))
    }

    /// Whether one in front of it has no outcome.
    pub(super) fn is_behind(&self, job: &Job) -> bool {
        let is_before = |place: u64| place < job.place;
        self.held.front().is_some_and(|held| is_before(held.place)) || self.at_work.iter().copied().any(is_before)
    }

    /// It is with the engine no more.
    fn is_back(&mut self, job: &Job) {
        // most come back in their order: it is the first
        if let Some(index) = self.at_work.iter().position(|place| *place == job.place) {
            self.at_work.remove(index);
        }
    }

    /// One has its outcome.
    pub(super) fn finished(&mut self, job: &Job) {
        self.is_back(job);
        self.front = self.front.saturating_sub(1);
        self.alone = false;
        self.failures = 0;
    }

    /// One came back without an outcome; it keeps its place.
    pub(super) fn came_back(&mut self, job: Box<Job>) {
        self.is_back(&job);
        self.alone = false;
        self.hold(job);
    }

    fn hold(&mut self, mut job: Box<Job>) {
        job.cleared = false;
        let place = self.held.partition_point(|held| held.place < job.place);
        self.held.insert(place, job);
    }

    /// Once everything that was with the engine has come back: decides when those that are held are tried again, and tells
    /// it. `pause` is asked for how long to wait after so many failures in a row, where one of them failed.
    pub(super) fn rest(
        &mut self,
        now: impl FnOnce() -> Duration,
        failed: bool,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Option<Duration> {
        if !self.at_work.is_empty() || self.cleared > 0 || self.due.is_some() {
            return None;
        }
        if self.held.is_empty() {
            if self.order.is_broken() {
                // the one that broke it is a dead letter
                self.order = Order::default();
            }
            return None;
        }
        let mut due = now();
        if failed {
            self.failures = self.failures.saturating_add(1);
            due = due.saturating_add(pause(self.failures));
        }
        self.due = Some(due);
        self.due
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether the next one has to wait until it may be done alone.
    pub(super) fn is_suspect(&self) -> bool {
        self.held.front().is_some_and(|job| job.suspect)
    }

    /// The command that is done alone; it counts as being with the engine.
    pub(super) fn suspect(&mut self) -> Option<(Box<Job>, Order)> {
        let mut job = self.held.pop_front()?;
        self.due = None;
        self.order = Order::default();
        self.at_work.push(job.place);
        self.alone = true;
        job.cleared = true;
        Some((job, self.order.clone()))
    }

    /// The first commands of those that are held, to be tried again under a new order: so many at most, and up to one that
    /// has to be done alone. The others are held until these have their outcomes.
    pub(super) fn again(&mut self, most: usize) -> VecDeque<Box<Job>> {
        self.due = None;
        self.order = Order::default();
        let end = self.held.iter().take(most).take_while(|job| !job.suspect).count();
        let rest = self.held.split_off(end);
        let mut again = std::mem::replace(&mut self.held, rest);
        for job in &mut again {
            job.cleared = true;
        }
        self.cleared = again.len();
        again
    }

    /// Whether what comes for it goes behind what is in the inbox.
    pub(super) fn is_spilled(&self) -> bool {
        !self.stored.is_empty() || self.putting > 0 || !self.tail.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.front == 0 && !self.is_spilled()
    }

    /// Whether it may serve another aggregate, once it is empty.
    pub(super) fn is_as_new(&self) -> bool {
        !self.reading && self.cleared == 0 && !self.order.is_broken() && self.due.is_none() && self.failures == 0
    }
}
