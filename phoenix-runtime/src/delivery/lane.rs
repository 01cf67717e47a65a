//! The commands of one aggregate, in their order: while one of them is to be tried again, those behind it wait.

use std::collections::VecDeque;
use std::time::Duration;

use super::job::Job;
use crate::engine::order::Order;

/// The commands of one aggregate that have no outcome.
#[derive(Debug, Default)]
pub(super) struct Lane {
    order: Order,
    /// How many are with the engine.
    at_work: usize,
    /// Those that came back without an outcome, and those behind them, by offset.
    held: VecDeque<Job>,
    /// When those that are held are tried again.
    due: Option<Duration>,
    /// How often in a row the first of them failed.
    failures: u32,
}

impl Lane {
    /// Takes a command. Gives it back where it may go to the engine now, with its order.
    pub(super) fn enter(&mut self, job: Job) -> Option<(Job, Order)> {
        if !self.held.is_empty() || self.order.is_broken() {
            self.held.push_back(job);
            return None;
        }
        self.at_work += 1;
        Some((job, self.order.clone()))
    }

    /// One has its outcome.
    pub(super) fn finished(&mut self) {
        self.at_work = self.at_work.saturating_sub(1);
        self.failures = 0;
    }

    /// One came back without an outcome; it keeps its place.
    pub(super) fn came_back(&mut self, job: Job) {
        self.at_work = self.at_work.saturating_sub(1);
        let place = self.held.partition_point(|held| held.offset < job.offset);
        self.held.insert(place, job);
    }

    /// Once everything that was with the engine has come back: decides when those that are held are tried again, and tells
    /// it. `pause` is asked for how long to wait after so many failures in a row, where one of them failed.
    pub(super) fn rest(
        &mut self,
        now: Duration,
        failed: bool,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Option<Duration> {
        if self.at_work > 0 || self.due.is_some() {
            return None;
        }
        if self.held.is_empty() {
            if self.order.is_broken() {
                // the one that broke it is a dead letter
                self.order = Order::default();
            }
            return None;
        }
        let mut due = now;
        if failed {
            self.failures = self.failures.saturating_add(1);
            due = now.saturating_add(pause(self.failures));
        }
        self.due = Some(due);
        self.due
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// The commands that are tried again, under a new order.
    pub(super) fn again(&mut self) -> VecDeque<Job> {
        self.due = None;
        self.order = Order::default();
        std::mem::take(&mut self.held)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at_work == 0 && self.held.is_empty()
    }

    /// Whether it may serve another aggregate, once it is empty.
    pub(super) fn is_as_new(&self) -> bool {
        !self.order.is_broken() && self.due.is_none() && self.failures == 0
    }
}
