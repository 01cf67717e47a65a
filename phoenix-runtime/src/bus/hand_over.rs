//! Where the thread that reads from a broker meets the consumer that waits for what happens.
//!
//! The consumer says what it wants (pauses, seeks), the thread brings its client to that and pushes what it reads. A
//! partition's `seeks` tell the two apart: what was read before a seek is not taken after it.
//!
//! A partition that is paused for a moment, because somebody has enough of it, is read ahead as far as the bounds go: a client
//! that stops reading it forgets what it has fetched, and would fetch it again each time. One that stays paused is left alone,
//! and gives up what waits where another has nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::port::{BusError, Happening, Received, TopicPartition};

/// How much may wait for the consumer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The most records of one happening.
    pub(super) max_records: usize,
    /// Above so many records that may be given the thread reads no more.
    pub(super) records: usize,
    /// The same, of bytes.
    pub(super) bytes: usize,
}

/// How long a partition may be paused before nothing of it is read any more.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the consumer wants of one partition.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) partition: TopicPartition,
    /// Grows with every seek.
    pub(super) seeks: u64,
    /// The next offset to be read.
    pub(super) position: u64,
    /// Whether nothing of it may be read now.
    pub(super) still: bool,
}

/// A partition that becomes this consumer's.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) partition: TopicPartition,
    pub(super) committed: Option<u64>,
    pub(super) earliest: u64,
    pub(super) end: u64,
}

#[derive(Debug, Default)]
struct Part {
    queue: VecDeque<Received>,
    position: u64,
    seeks: u64,
    /// Since when nothing of it may be given.
    paused: Option<Instant>,
    /// It was paused for so long that the thread reads no more of it.
    resting: bool,
    /// It goes to another consumer.
    revoking: bool,
    /// It waits for a seek.
    adrift: bool,
}

impl Part {
    /// Whether records of it may be given.
    const fn gives(&self) -> bool {
        self.paused.is_none() && !self.is_still()
    }

    /// Whether nothing of it is to be read.
    const fn is_still(&self) -> bool {
        self.resting || self.revoking || self.adrift
    }

    /// Forgets what waits; it is read again.
    fn rewind(&mut self) {
        if let Some(first) = self.queue.front() {
            self.position = first.offset;
            self.seeks += 1;
            self.queue.clear();
        }
    }

    fn size(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.iter().map(|received| received.record.bytes()).sum())
    }
}

#[derive(Debug)]
struct State {
    parts: BTreeMap<TopicPartition, Part>,
    happenings: VecDeque<Happening>,
    /// Told once.
    failure: Option<BusError>,
    /// Told for ever.
    end: Option<BusError>,
    /// Records and bytes that wait.
    waiting: (usize, usize),
    /// The partition that records were given of last.
    last: Option<TopicPartition>,
    asked: Instant,
    /// The consumer waits for what happens.
    asking: bool,
    closed: bool,
    /// Something is to be done by the thread.
    poked: bool,
}

impl State {
    fn count(&mut self) {
        self.waiting = (0, 0);
        for part in self.parts.values() {
            let (records, bytes) = part.size();
            self.waiting = (self.waiting.0 + records, self.waiting.1 + bytes);
        }
    }

    const fn has_room(&self, bounds: Bounds) -> bool {
        self.waiting.0 < bounds.records && self.waiting.1 < bounds.bytes
    }

    /// Leaves partitions alone that are paused for long; those that take the room of others at once, and what waits of them
    /// is given up.
    fn rest(&mut self, bounds: Bounds) {
        let starving = !self.has_room(bounds) && self.parts.values().any(|part| part.gives() && part.queue.is_empty());
        for part in self.parts.values_mut() {
            let Some(since) = part.paused else { continue };
            part.resting |= starving || since.elapsed() > PATIENCE;
            if starving {
                part.rewind();
            }
        }
        if starving {
            self.count();
        }
    }

    fn remove(&mut self, gone: &[TopicPartition]) -> Vec<TopicPartition> {
        let gone: Vec<_> = gone.iter().filter(|partition| self.parts.remove(*partition).is_some()).cloned().collect();
        self.count();
        gone
    }

    fn records(&mut self, max: usize) -> Option<Happening> {
        let ready = |part: &Part| part.gives() && !part.queue.is_empty();
        let after = self.parts.iter().filter(|(partition, part)| self.last.as_ref() < Some(*partition) && ready(part));
        let first = after.map(|(partition, _)| partition).next();
        let first =
            first.or_else(|| self.parts.iter().find(|(_, part)| ready(part)).map(|(partition, _)| partition))?;
        let first = first.clone();
        let mut records = Vec::new();
        let mut last = first.clone();
        let wrapped: Vec<_> = self
            .parts
            .range(&first..)
            .chain(self.parts.range(..&first))
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in wrapped {
            let Some(part) = self.parts.get_mut(&partition).filter(|part| ready(part)) else { continue };
            let taken = part.queue.len().min(max - records.len());
            records.extend(part.queue.drain(..taken));
            last = partition;
            if records.len() == max {
                break;
            }
        }
        let bytes: usize = records.iter().map(|received| received.record.bytes()).sum();
        self.waiting = (self.waiting.0.saturating_sub(records.len()), self.waiting.1.saturating_sub(bytes));
        self.last = Some(last);
        Some(Happening::Records(records))
    }
}

/// While the consumer asks what happens.
struct Asking<'a>(&'a HandOver);

impl<'a> Asking<'a> {
    fn new(hand_over: &'a HandOver) -> Self {
        hand_over.state().asking = true;
        Self(hand_over)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.asking = false;
        state.asked = Instant::now();
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct HandOver {
    state: Mutex<State>,
    /// For the consumer.
    told: Notify,
    /// For the thread.
    changed: Condvar,
    bounds: Bounds,
}

impl HandOver {
    pub(super) fn new(bounds: Bounds) -> Self {
        let state = State {
            parts: BTreeMap::new(),
            happenings: VecDeque::new(),
            failure: None,
            end: None,
            waiting: (0, 0),
            last: None,
            asked: Instant::now(),
            asking: false,
            closed: false,
            poked: false,
        };
        Self { state: Mutex::new(state), told: Notify::new(), changed: Condvar::new(), bounds }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poke_with(&self, mut state: MutexGuard<'_, State>) {
        state.poked = true;
        drop(state);
        self.changed.notify_all();
    }

    // --- the thread

    /// Partitions become the consumer's. Those whose committed offset is not there wait for a seek.
    pub(super) fn assign(&self, starts: Vec<Start>) {
        let mut state = self.state();
        let assigned = starts.iter().map(|start| (start.partition.clone(), start.committed)).collect();
        state.happenings.push_back(Happening::Assigned(assigned));
        for Start { partition, committed, earliest, end } in starts {
            let position = committed.unwrap_or(earliest);
            let adrift = position < earliest || position > end;
            if adrift {
                let happening = Happening::OutOfRange { partition: partition.clone(), wanted: position, earliest, end };
                state.happenings.push_back(happening);
            }
            state.parts.insert(partition, Part { position, adrift, ..Part::default() });
        }
        drop(state);
        self.told.notify_one();
    }

    /// What the consumer wants.
    pub(super) fn wants(&self) -> Vec<Want> {
        let mut state = self.state();
        state.rest(self.bounds);
        let want = |(partition, part): (&TopicPartition, &Part)| Want {
            partition: partition.clone(),
            seeks: part.seeks,
            position: part.position,
            still: part.is_still(),
        };
        state.parts.iter().map(want).collect()
    }

    /// Records that were read of a partition since its last seek but this; those that are not wanted any more are dropped,
    /// to be read again. Whether they were taken.
    pub(super) fn push(&self, partition: &TopicPartition, seeks: u64, records: Vec<Received>) -> bool {
        let mut state = self.state();
        let Some(part) = state.parts.get_mut(partition) else { return false };
        if part.seeks != seeks || part.revoking || part.adrift {
            return false;
        }
        if part.resting {
            // what was on its way when it was left alone is read again later
            part.seeks += 1;
            return false;
        }
        let Some(last) = records.last() else { return true };
        part.position = last.offset + 1;
        let bytes: usize = records.iter().map(|received| received.record.bytes()).sum();
        let count = records.len();
        part.queue.extend(records);
        state.waiting = (state.waiting.0 + count, state.waiting.1 + bytes);
        drop(state);
        self.told.notify_one();
        true
    }

    /// A partition has no record at this offset, nor will it get one of it.
    pub(super) fn out_of_range(&self, partition: &TopicPartition, seeks: u64, earliest: u64, end: u64) {
        let mut state = self.state();
        let Some(part) = state.parts.get_mut(partition) else { return };
        if part.seeks != seeks || part.adrift {
            return;
        }
        if part.paused.is_some() {
            // told once it is read again; what waits is read again as well, as it can't be given now
            part.rewind();
            part.resting = true;
            state.count();
            return;
        }
        part.adrift = true;
        let wanted = part.position;
        // what was read before is still to be given
        let queued: Vec<Received> = part.queue.drain(..).collect();
        let chunks = queued.chunks(self.bounds.max_records.max(1));
        state.happenings.extend(chunks.map(|chunk| Happening::Records(chunk.to_vec())));
        state.happenings.push_back(Happening::OutOfRange { partition: partition.clone(), wanted, earliest, end });
        state.count();
        drop(state);
        self.told.notify_one();
    }

    /// Something that may pass.
    pub(super) fn fail(&self, error: BusError) {
        self.state().failure = Some(error);
        self.told.notify_one();
    }

    /// It is over.
    pub(super) fn end(&self, error: BusError) {
        self.state().end = Some(error);
        self.told.notify_one();
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.state().has_room(self.bounds)
    }

    /// Whether the consumer is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until the consumer wants something, takes records or goes, or somebody pokes.
    pub(super) fn wait(&self, at_most: Duration) {
        let state = self.state();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, at_most, |state| !state.poked)
            .unwrap_or_else(PoisonError::into_inner);
        state.poked = false;
    }

    // --- the consumer

    fn take(&self) -> Option<Result<Happening, BusError>> {
        let mut state = self.state();
        if let Some(happening) = state.happenings.pop_front() {
            return Some(Ok(happening));
        }
        if let Some(error) = state.end.clone().or_else(|| state.failure.take()) {
            return Some(Err(error));
        }
        let records = state.records(self.bounds.max_records.max(1))?;
        self.poke_with(state);
        Some(Ok(records))
    }

    /// Waits for what happens next. Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Result<Happening, BusError> {
        let _asking = Asking::new(self);
        loop {
            let told = self.told.notified();
            if let Some(next) = self.take() {
                return next;
            }
            told.await;
        }
    }

    pub(super) fn pause(&self, partitions: &[TopicPartition], paused: bool) {
        let mut state = self.state();
        for partition in partitions {
            let Some(part) = state.parts.get_mut(partition) else { continue };
            part.paused = paused.then(|| part.paused.unwrap_or_else(Instant::now));
            part.resting &= paused;
        }
        self.poke_with(state);
        self.told.notify_one();
    }

    pub(super) fn seek(&self, partition: &TopicPartition, offset: u64) -> Result<(), BusError> {
        let mut state = self.state();
        let Some(part) = state.parts.get_mut(partition) else { return Err(BusError::Lost(partition.clone())) };
        part.queue.clear();
        part.position = offset;
        part.seeks += 1;
        part.adrift = false;
        state.count();
        self.poke_with(state);
        Ok(())
    }

    /// The first of these that is not the consumer's.
    pub(super) fn owned<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<(), BusError> {
        let state = self.state();
        match partitions.into_iter().find(|partition| !state.parts.contains_key(*partition)) {
            Some(lost) => Err(BusError::Lost(lost.clone())),
            None => Ok(()),
        }
    }

    /// The consumer gives back what it had to.
    pub(super) fn release(&self, partitions: &[TopicPartition]) {
        let mut state = self.state();
        state.remove(partitions);
        self.poke_with(state);
    }

    /// The consumer goes.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.poke_with(state);
    }
}

/// What a thread needs whose client is one of a group, and tells by itself when there is something to be read.
#[cfg(feature = "rdkafka")]
impl HandOver {
    /// Partitions shall go to another consumer.
    pub(super) fn revoke(&self, partitions: &[TopicPartition]) {
        let mut state = self.state();
        let mut revoking = Vec::new();
        for partition in partitions {
            if let Some(part) = state.parts.get_mut(partition) {
                part.revoking = true;
                part.queue.clear();
                revoking.push(partition.clone());
            }
        }
        state.count();
        if !revoking.is_empty() {
            state.happenings.push_back(Happening::Revoking(revoking));
        }
        drop(state);
        self.told.notify_one();
    }

    /// Those of them that were not released yet.
    pub(super) fn unreleased(&self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let state = self.state();
        partitions.iter().filter(|partition| state.parts.contains_key(*partition)).cloned().collect()
    }

    /// Partitions are gone.
    pub(super) fn lose(&self, partitions: &[TopicPartition]) {
        let mut state = self.state();
        let gone = state.remove(partitions);
        if !gone.is_empty() {
            state.happenings.push_back(Happening::Lost(gone));
        }
        drop(state);
        self.told.notify_one();
    }

    /// How long ago the consumer asked what happens.
    pub(super) fn silence(&self) -> Duration {
        let state = self.state();
        if state.asking { Duration::ZERO } else { state.asked.elapsed() }
    }

    /// Wakes the thread.
    pub(super) fn poke(&self) {
        self.poke_with(self.state());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::port::Record;

    const BOUNDS: Bounds = Bounds { max_records: 100, records: 10, bytes: usize::MAX };

    fn partition(number: u16) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    fn records(of: u16, offsets: std::ops::Range<u64>) -> Vec<Received> {
        offsets.map(|offset| Received { from: partition(of), offset, record: Record::default() }).collect()
    }

    /// Two partitions, the first of which has these records and is paused.
    fn paused(count: u64) -> HandOver {
        let hand_over = HandOver::new(BOUNDS);
        let start = |number| Start { partition: partition(number), committed: None, earliest: 0, end: 100 };
        hand_over.assign(vec![start(0), start(1)]);
        assert!(matches!(hand_over.take(), Some(Ok(Happening::Assigned(_)))));
        assert!(hand_over.push(&partition(0), 0, records(0, 0..count)));
        hand_over.pause(&[partition(0)], true);
        hand_over
    }

    fn taken(hand_over: &HandOver) -> Vec<(u16, u64)> {
        match hand_over.take() {
            Some(Ok(Happening::Records(records))) => records.iter().map(|r| (r.from.partition, r.offset)).collect(),
            None => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_read_before_a_short_pause_and_in_it_is_given_after_it() {
        let hand_over = paused(2);
        assert!(hand_over.wants().iter().all(|want| !want.still && want.seeks == 0));
        assert!(hand_over.push(&partition(0), 0, records(0, 2..4)));
        assert_eq!(taken(&hand_over), []);
        hand_over.pause(&[partition(0)], false);
        assert_eq!(taken(&hand_over), [(0, 0), (0, 1), (0, 2), (0, 3)]);
        let wants = hand_over.wants();
        assert_eq!((wants[0].seeks, wants[0].position), (0, 4), "nothing is fetched again");
    }

    #[test]
    fn a_paused_partition_gives_up_the_room_that_another_has_need_of() {
        let hand_over = paused(10);
        assert!(!hand_over.has_room());
        let wants = hand_over.wants();
        assert_eq!((wants[0].still, wants[0].position, wants[1].still), (true, 0, false));
        assert!(hand_over.has_room());
        assert!(!hand_over.push(&partition(0), 0, records(0, 10..11)), "what was on its way comes again");
        hand_over.pause(&[partition(0)], false);
        let wants = hand_over.wants();
        assert_eq!((wants[0].still, wants[0].position), (false, 0));
        assert!(hand_over.push(&partition(0), wants[0].seeks, records(0, 0..1)));
        assert_eq!(taken(&hand_over), [(0, 0)]);
    }

    #[test]
    fn a_paused_partition_keeps_its_records_while_nobody_has_need_of_the_room() {
        let hand_over = paused(10);
        assert!(hand_over.push(&partition(1), 0, records(1, 0..1)));
        assert!(!hand_over.wants()[0].still);
        hand_over.pause(&[partition(1)], true);
        assert!(!hand_over.wants()[0].still);
        hand_over.pause(&[partition(0)], false);
        assert_eq!(taken(&hand_over).len(), 10);
    }

    #[test]
    fn an_offset_that_is_not_there_is_not_told_of_a_paused_partition() {
        let hand_over = paused(2);
        hand_over.out_of_range(&partition(0), 0, 50, 100);
        assert!(hand_over.take().is_none());
        hand_over.pause(&[partition(0)], false);
        let want = hand_over.wants().remove(0);
        assert_eq!((want.still, want.position), (false, 0));
        hand_over.out_of_range(&partition(0), want.seeks, 50, 100);
        assert!(matches!(hand_over.take(), Some(Ok(Happening::OutOfRange { wanted: 0, earliest: 50, end: 100, .. }))));
    }
}
