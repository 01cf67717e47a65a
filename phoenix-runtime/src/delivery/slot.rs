//! A partition that this node has.

use std::collections::VecDeque;
use std::time::Duration;

use super::frontier::Frontier;
use super::job::Job;
use super::lanes::Lanes;
use crate::bus::port::TopicPartition;

/// What becomes of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its aggregates are not this node's yet.
    Taking,
    /// Its commands go to the engine.
    Running,
    /// Nothing new of it goes to the engine; what is there comes to its outcomes until then.
    Leaving { until: Duration, given_back: bool },
}

/// A partition that this node has, with everything of it that has no outcome.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) partition: TopicPartition,
    /// Which assignment this is: what belongs to an earlier one does not count.
    pub(super) assignment: u64,
    pub(super) stage: Stage,
    pub(super) frontier: Frontier,
    /// Taken from the bus, and not with the engine yet.
    pub(super) backlog: VecDeque<Job>,
    /// Whether one waits for room in a mailbox: those behind it must not overtake it.
    pub(super) blocked: bool,
    /// Whether it has as much without an outcome as it may.
    pub(super) full: bool,
    /// Whether the bus was told to give nothing of it.
    pub(super) paused: bool,
    pub(super) lanes: Lanes,
    /// How many are with the engine.
    pub(super) at_work: usize,
    /// How many have an outcome that is on its way: a reply, a dead letter, a record for another partition.
    pub(super) settling: usize,
    /// The bytes of all of them.
    pub(super) bytes: usize,
}

impl Slot {
    pub(super) fn new(partition: TopicPartition, assignment: u64, committed: Option<u64>) -> Self {
        Self {
            partition,
            assignment,
            stage: Stage::Taking,
            frontier: Frontier::new(committed),
            backlog: VecDeque::new(),
            blocked: false,
            full: false,
            paused: false,
            lanes: Lanes::default(),
            at_work: 0,
            settling: 0,
            bytes: 0,
        }
    }

    /// Whether nothing of it is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.at_work == 0 && self.settling == 0
    }

    /// A record has its outcome.
    pub(super) fn finish(&mut self, offset: u64, bytes: usize) {
        self.frontier.finish(offset);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
