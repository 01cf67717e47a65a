//! Where the thread that reads from a broker meets the consumer that waits for what happens.
//!
//! The consumer says what it wants (pauses, seeks), the thread brings its client to that and pushes what it reads. A
//! partition's `seeks` tell the two apart: what was read before a seek is not taken after it.

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
    paused: bool,
    /// It goes to another consumer.
    revoking: bool,
    /// It waits for a seek.
    adrift: bool,
}

impl Part {
    const fn is_still(&self) -> bool {
        self.paused || self.revoking || self.adrift
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
    /// Records and bytes that wait in partitions that are not still.
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
        for part in self.parts.values().filter(|part| !part.is_still()) {
            let (records, bytes) = part.size();
            self.waiting = (self.waiting.0 + records, self.waiting.1 + bytes);
        }
    }

    fn remove(&mut self, gone: &[TopicPartition]) -> Vec<TopicPartition> {
        let gone: Vec<_> = gone.iter().filter(|partition| self.parts.remove(*partition).is_some()).cloned().collect();
        self.count();
        gone
    }

    fn records(&mut self, max: usize) -> Option<Happening> {
        let ready = |part: &Part| !part.is_still() && !part.queue.is_empty();
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
        let want = |(partition, part): (&TopicPartition, &Part)| Want {
            partition: partition.clone(),
            seeks: part.seeks,
            position: part.position,
            still: part.is_still(),
        };
        self.state().parts.iter().map(want).collect()
    }

    /// Records that were read of a partition since its last seek but this; those that are not wanted any more are dropped,
    /// to be read again. Whether they were taken.
    pub(super) fn push(&self, partition: &TopicPartition, seeks: u64, records: Vec<Received>) -> bool {
        let mut state = self.state();
        let Some(part) = state.parts.get_mut(partition) else { return false };
        if part.seeks != seeks || part.revoking || part.adrift {
            return false;
        }
        if part.paused {
            // what was on its way when it was paused is read again later, so that paused partitions hold nothing
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
        let state = self.state();
        state.waiting.0 < self.bounds.records && state.waiting.1 < self.bounds.bytes
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
            part.paused = paused;
            if paused {
                part.rewind();
            }
        }
        state.count();
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
