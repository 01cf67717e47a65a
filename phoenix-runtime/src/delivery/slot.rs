//! A partition that this node has.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tokio::sync::Mutex as Turn;

use super::frontier::Frontier;
use super::job::Job;
use super::lanes::Lanes;
use super::rows::{RowId, Rows};
use super::settle::Origin;
use crate::bus::envelope::Call;
use crate::bus::port::{Record, TopicPartition};

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

/// Who keeps a record until it has its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// The bus: its offset is not committed.
    Bus,
    /// A row of the inbox.
    Row(RowId),
    /// Nobody: it was taken before the bus said that it does not know the offset any more.
    Memory,
}

/// A record in memory that has no outcome.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) offset: u64,
    /// The lane of its command, if it is one.
    pub(super) lane: Option<u64>,
    pub(super) record: Arc<Record>,
    pub(super) home: Home,
}

/// What keeps new records away.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flow {
    /// It has as much without an outcome as it may.
    pub(super) full: bool,
    /// The commands of this node have as many bytes as they may.
    pub(super) crowded: bool,
    /// The bus was told to give nothing of it.
    pub(super) paused: bool,
}

/// A partition that this node has, with everything of it that has no outcome.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each says another thing, and they change apart")]
pub(super) struct Slot {
    pub(super) partition: TopicPartition,
    /// Which assignment this is: what belongs to an earlier one does not count.
    pub(super) assignment: u64,
    /// Gone with it: whatever goes on beside it, and is to end with it, looks here.
    pub(super) alive: Arc<()>,
    /// Whose turn it is to be buried.
    burials: Arc<Turn<()>>,
    pub(super) stage: Stage,
    pub(super) frontier: Frontier,
    /// Everything in memory, by serial number.
    pub(super) entries: HashMap<u64, Entry, FixedState>,
    serials: u64,
    /// Taken from the bus, and to be put into the inbox first.
    pub(super) fresh: VecDeque<Box<Job>>,
    /// To go to the engine.
    pub(super) backlog: VecDeque<Box<Job>>,
    /// Whether one waits for room in a mailbox: those behind it must not overtake it.
    pub(super) blocked: bool,
    pub(super) flow: Flow,
    pub(super) lanes: Lanes,
    /// The inbox of this partition.
    pub(super) rows: Rows,
    /// Lanes of which something is to be put into the inbox.
    pub(super) moving: BTreeSet<u64>,
    /// Lanes of which something is there, or is to be put there.
    pub(super) spilled: BTreeSet<u64>,
    /// How many wait in memory to be put there, behind what is there.
    pub(super) waiting: usize,
    /// Whether it looks at what was found in the inbox, before anything of it is done.
    pub(super) looks: bool,
    /// When the inbox is read anew, for what a former owner has put there late.
    pub(super) next_look: Duration,
    /// Offsets of what ended the process and was given up: other rows may have it as well.
    pub(super) given_up: BTreeSet<u64>,
    /// How many are with the engine.
    pub(super) at_work: usize,
    /// How much is on its way besides: replies, dead letters, records for another partition, changes of the inbox.
    pub(super) settling: usize,
    /// The bytes of everything in memory.
    pub(super) bytes: usize,
}

impl Slot {
    pub(super) fn new(partition: TopicPartition, assignment: u64, committed: Option<u64>) -> Self {
        Self {
            partition,
            assignment,
            alive: Arc::default(),
            burials: Arc::default(),
            stage: Stage::Taking,
            frontier: Frontier::new(committed),
            entries: HashMap::default(),
            serials: 0,
            fresh: VecDeque::new(),
            backlog: VecDeque::new(),
            blocked: false,
            flow: Flow::default(),
            lanes: Lanes::default(),
            rows: Rows::default(),
            moving: BTreeSet::new(),
            spilled: BTreeSet::new(),
            waiting: 0,
            looks: false,
            next_look: Duration::ZERO,
            given_up: BTreeSet::new(),
            at_work: 0,
            settling: 0,
            bytes: 0,
        }
    }

    /// Where a record is from, for its dead letter.
    pub(super) fn origin(&self, offset: u64) -> Origin {
        let TopicPartition { topic, partition } = self.partition.clone();
        Origin { topic, partition, offset, turn: Arc::clone(&self.burials), alive: Arc::downgrade(&self.alive) }
    }

    /// Whether nothing of it is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.at_work == 0 && self.settling == 0 && self.rows.finished.is_empty()
    }

    /// The bus goes on at another offset, as the one that was read is not there. What was taken comes to its outcome all the
    /// same, but its offset says nothing any more: another record may have it.
    pub(super) fn begin_anew(&mut self, offset: u64) {
        self.frontier = Frontier::new(Some(offset));
        for entry in self.entries.values_mut().filter(|entry| entry.home == Home::Bus) {
            entry.home = Home::Memory;
        }
    }

    /// A record is in memory from now on.
    pub(super) fn enter(&mut self, offset: u64, lane: Option<u64>, record: Arc<Record>, home: Home) -> u64 {
        self.serials += 1;
        self.bytes += record.bytes();
        self.entries.insert(self.serials, Entry { offset, lane, record, home });
        self.serials
    }

    /// A call is in memory from now on.
    pub(super) fn job(&mut self, offset: u64, lane: u64, call: Call, record: Arc<Record>, home: Home) -> Job {
        let serial = self.enter(offset, Some(lane), Arc::clone(&record), home);
        Job {
            partition: self.partition.partition,
            assignment: self.assignment,
            serial,
            place: 0,
            offset,
            lane,
            before: call.attempt > 0 || home != Home::Bus,
            call: Arc::new(call),
            record,
            failed: None,
            tries: 0,
            cleared: false,
            suspect: false,
            uncounted: None,
            epoch: None,
        }
    }

    /// A call goes to the engine; or, where its aggregate has as many as it may, to the inbox.
    pub(super) fn admit(&mut self, mut job: Box<Job>, most: usize) {
        let lane = self.lanes.of(job.lane);
        if lane.is_spilled() || (lane.front >= most && super::job::stream(&job.call).is_some()) {
            self.moving.insert(job.lane);
            self.spilled.insert(job.lane);
            self.waiting += 1;
            lane.tail.push_back(job);
        } else {
            lane.admit(&mut job);
            self.backlog.push_back(job);
        }
    }

    /// Whether so many more may come from the inbox. What waits for room there is not counted: it would wait for itself.
    pub(super) fn has_room(&self, most: usize) -> bool {
        let under_way = self.under_way();
        under_way == 0 || (under_way < most && !self.flow.crowded)
    }

    /// How many are in memory and wait for nothing of the inbox.
    pub(super) fn under_way(&self) -> usize {
        self.entries.len().saturating_sub(self.fresh.len() + self.waiting)
    }

    /// A record has its outcome, or is in the inbox alone: whoever kept it need not any more.
    pub(super) fn finish(&mut self, serial: u64) {
        let Some(entry) = self.entries.remove(&serial) else { return };
        self.bytes = self.bytes.saturating_sub(entry.record.bytes());
        match entry.home {
            Home::Bus => self.frontier.finish(entry.offset),
            Home::Row(row) => self.rows.one_less(row),
            Home::Memory => {}
        }
    }

    /// Forgets a lane with nothing in it.
    pub(super) fn tidy(&mut self, lane: u64) {
        if self.lanes.tidy(lane) {
            self.spilled.remove(&lane);
            self.moving.remove(&lane);
        }
    }
}
