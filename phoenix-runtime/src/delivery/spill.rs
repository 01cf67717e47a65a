//! What of a partition goes to the inbox, and what becomes of it there.
//!
//! - In the grade of the inbox, everything that comes, before it goes to the engine.
//! - Of an aggregate with as much in memory as it may have, what comes behind that; and with it what is in front of it, for the
//!   bus is not to keep the whole partition for one aggregate.
//! - What holds back the offset of everything that has overtaken it.
//!
//! Whoever takes the partition reads rows by their first offsets, so that order has to be right, whatever is there twice:
//! - Of each aggregate a row has commands that follow each other, without one in between that has no outcome and is not in
//!   it. So what was read from different rows is put into different rows again.
//! - What is in front of others is put with them or before them: a later command is never there without the earlier ones,
//!   unless these have their outcomes.

use std::collections::VecDeque;

use super::job::{Job, stream};
use super::options::{DeliveryOptions, Grade};
use super::pack::{Packer, Place, fits};
use super::rows::{Cursor, Facts, RowId, State, id_of};
use super::slot::{Home, Slot, Stage};
use crate::bus::envelope::Message;
use crate::event_store::letters::InboxRow;

/// How much may be where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) grade: Grade,
    /// Commands of an aggregate in memory.
    pub(super) per_aggregate: usize,
    /// Commands of a partition in memory.
    pub(super) unfinished: usize,
    /// Commands of a partition, and their bytes, in the inbox. None where there is no inbox.
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Bounds {
    pub(super) fn of(options: &DeliveryOptions, has_inbox: bool) -> Self {
        let may_spill = has_inbox && options.inbox_messages > 0 && options.inbox_bytes > 0;
        let most = options.max_per_aggregate.min(options.max_unfinished / 2).max(1);
        Self {
            grade: options.grade,
            per_aggregate: if may_spill { most } else { usize::MAX },
            unfinished: options.max_unfinished,
            messages: if may_spill { options.inbox_messages } else { 0 },
            bytes: options.inbox_bytes as u64,
        }
    }
}

/// What becomes of the records of a row when it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// They stay in memory.
    Kept,
    /// They are read when there is room.
    Left,
    /// They are read when the lane has room.
    Held(u64),
}

/// A row that is being put.
#[derive(Debug)]
pub(super) struct Put {
    kind: Kind,
    id: RowId,
    facts: Facts,
    serials: Vec<u64>,
}

/// What is being put of one partition.
#[derive(Debug)]
pub(super) struct Putting {
    pub(super) partition: u16,
    pub(super) assignment: u64,
    puts: Vec<Put>,
    /// These go on when it is durable.
    jobs: VecDeque<Box<Job>>,
}

impl Slot {
    /// Whether nothing more may be put into its inbox.
    pub(super) fn is_inbox_full(&self, bounds: &Bounds) -> bool {
        self.rows.messages >= bounds.messages || self.rows.bytes >= bounds.bytes
    }

    /// What is to be put into the inbox now.
    pub(super) fn collect(&mut self, bounds: &Bounds, now_micros: i64) -> Option<(Putting, Vec<InboxRow>)> {
        let has_some = !self.fresh.is_empty() || !self.moving.is_empty();
        let may = !self.rows.reading && !self.rows.putting && !self.is_inbox_full(bounds);
        if !has_some || !may || self.stage != Stage::Running {
            return None;
        }
        let (topic, partition) = (self.partition.topic.clone(), self.partition.partition);
        let place = Place { topic, partition, now_micros };
        let mut all: Vec<(Kind, Packer)> = Vec::new();
        // what is fresh is put by itself
        let fresh = self.fresh.front().map_or(u64::MAX, |job| job.serial);
        let jobs = self.collect_fresh(bounds, &place, &mut all);
        let moving = std::mem::take(&mut self.moving);
        for lane in moving {
            self.collect_lane(lane, fresh, &place, &mut all);
        }
        let (mut puts, mut rows) = (Vec::new(), Vec::new());
        for (kind, packer) in all {
            for (row, serials) in packer.into_rows() {
                let id = id_of(&row.key());
                // it is there again, if it was to be removed
                self.rows.finished.retain(|finished| *finished != id);
                puts.push(Put { kind, id, facts: Facts::of(&row), serials });
                rows.push(row);
            }
        }
        if rows.is_empty() && jobs.is_empty() {
            return None;
        }
        if !rows.is_empty() {
            self.rows.putting = true;
            self.settling += 1;
        }
        Some((Putting { partition, assignment: self.assignment, puts, jobs }, rows))
    }

    /// Everything that came since: most of it in rows as it came.
    fn collect_fresh(&mut self, bounds: &Bounds, place: &Place, all: &mut Vec<(Kind, Packer)>) -> VecDeque<Box<Job>> {
        if self.rows.cursor == Cursor::End && self.under_way() >= bounds.unfinished / 2 {
            // no room: from here on it is left in the store
            self.rows.cursor = self.rows.highest.map_or(Cursor::Start, Cursor::Behind);
        }
        let read_up_to = match self.rows.cursor {
            Cursor::End => None,
            Cursor::Behind((first, _)) => Some(Some(first)),
            Cursor::Start => Some(None),
        };
        let (mut kept, mut left) = (Packer::new(place.clone(), None), Packer::new(place.clone(), None));
        let mut jobs = VecDeque::new();
        while let Some(mut job) = self.fresh.pop_front() {
            let is_left = read_up_to.is_some_and(|read| read.is_none_or(|read| read < job.offset));
            if is_left && !fits(&job.record) {
                // it waits in memory until everything in front of it is
                self.fresh.push_front(job);
                break;
            }
            if is_left {
                left.push(job.offset, &job.record, job.serial);
                continue;
            }
            let lane = self.lanes.of(job.lane);
            let is_held = lane.is_spilled() || (lane.front >= bounds.per_aggregate && stream(&job.call).is_some());
            if is_held {
                lane.tail.push_back(job);
                let hash = lane.tail.back().map(|job| job.lane);
                self.moving.extend(hash);
                self.spilled.extend(hash);
                self.waiting += 1;
                continue;
            }
            lane.admit(&mut job);
            // a query that is lost is asked again
            if job.is_command() && fits(&job.record) {
                kept.push(job.offset, &job.record, job.serial);
            }
            jobs.push_back(job);
        }
        all.push((Kind::Kept, kept));
        all.push((Kind::Left, left));
        jobs
    }

    /// What of a lane the bus keeps, and what has no place in memory.
    fn collect_lane(&mut self, hash: u64, fresh: u64, place: &Place, all: &mut Vec<(Kind, Packer)>) {
        let lane = self.lanes.of(hash);
        let tail = lane.tail.front().map_or(u64::MAX, |job| job.serial);
        let front =
            self.entries.iter().filter(|(serial, entry)| **serial < tail.min(fresh) && entry.lane == Some(hash));
        let mut front: Vec<_> = front.filter(|(_, entry)| !matches!(entry.home, Home::Row(_))).collect();
        front.sort_unstable_by_key(|(serial, _)| **serial);
        if front.iter().any(|(_, entry)| !fits(&entry.record)) {
            // what is behind it is not to be there without it
            return;
        }
        let front: Vec<u64> = front.into_iter().map(|(serial, _)| *serial).collect();
        let stream = lane.tail.front().and_then(|job| stream(&job.call)).or_else(|| {
            let record = &self.entries.get(front.first()?)?.record;
            match Message::from_record(record) {
                Ok(Message::Call(call)) => stream(&call),
                _ => None,
            }
        });
        if stream.is_none() {
            return;
        }
        let mut kept = Packer::new(place.clone(), stream.clone());
        for serial in front {
            if let Some(entry) = self.entries.get(&serial) {
                kept.push(entry.offset, &entry.record, serial);
            }
        }
        let (mut behind, mut from) = (Packer::new(place.clone(), stream), None);
        while lane.tail.front().is_some_and(|job| fits(&job.record))
            && let Some(job) = lane.tail.pop_front()
        {
            let home = self.entries.get(&job.serial).map(|entry| entry.home);
            if std::mem::replace(&mut from, home) != home {
                behind.cut();
            }
            behind.push(job.offset, &job.record, job.serial);
            lane.putting += 1;
            self.waiting = self.waiting.saturating_sub(1);
        }
        metrics::counter!("phoenix_delivery_spilled_total").increment(lane.putting as u64);
        all.push((Kind::Kept, kept));
        all.push((Kind::Held(hash), behind));
    }

    /// What was collected is durable.
    pub(super) fn stored(&mut self, putting: Putting) {
        let Putting { puts, jobs, .. } = putting;
        if !puts.is_empty() {
            self.rows.putting = false;
            self.settling -= 1;
        }
        for Put { kind, id, facts, serials } in puts {
            match kind {
                Kind::Kept => {
                    self.rows.add(id, facts, State::Here, true);
                    for serial in serials {
                        // it may have its outcome by now
                        let Some(entry) = self.entries.get_mut(&serial) else { continue };
                        let home = entry.home;
                        if !matches!(home, Home::Row(_)) {
                            entry.home = Home::Row(id);
                            self.rows.one_more(id);
                        }
                        if home == Home::Bus {
                            self.frontier.finish(entry.offset);
                        }
                    }
                    self.rows.settle(id);
                }
                Kind::Left => {
                    self.rows.add(id, facts, State::Left, true);
                    if self.rows.cursor == Cursor::End {
                        // the partition was taken anew meanwhile
                        self.rows.cursor = Cursor::Start;
                    }
                    for serial in serials {
                        self.finish(serial);
                    }
                }
                Kind::Held(hash) => {
                    self.rows.add(id, facts, State::Held, true);
                    // a row that held nothing but these is the same row: it is not to go with its records
                    self.rows.hold(id);
                    let lane = self.lanes.of(hash);
                    lane.stored.insert(id);
                    lane.putting = lane.putting.saturating_sub(serials.len());
                    self.spilled.insert(hash);
                    for serial in serials {
                        self.finish(serial);
                    }
                }
            }
        }
        // what leaves is the next owner's; what is just being taken back is done then
        if !matches!(self.stage, Stage::Leaving { .. }) {
            self.backlog.extend(jobs);
        }
    }

    /// Moves what holds back the offset of so many others to the inbox.
    pub(super) fn make_way(&mut self, bounds: &Bounds) {
        let is_held_back = self.frontier.overtook() >= (bounds.unfinished / 2).max(1);
        if bounds.messages == 0 || !is_held_back || self.rows.putting {
            return;
        }
        let Some(lowest) = self.frontier.lowest() else { return };
        let holds = self.entries.values().find(|entry| entry.offset == lowest && entry.home == Home::Bus);
        if let Some(lane) = holds.and_then(|entry| entry.lane) {
            self.moving.insert(lane);
        }
    }
}
