//! A consumer: where it is in each of its partitions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{Notify, oneshot};

use super::core::Core;
use super::error::damaged;
use super::group::{MemberId, News};
use super::read::{Piece, Read};
use super::shared::State;
use super::writer::Job;
use crate::bus::port::{BusError, Consumer, Happening, Received, TopicPartition};
use crate::domain::ports::BoxFuture;

pub(super) struct EmbeddedConsumer {
    core: Arc<Core>,
    id: MemberId,
    group: Arc<str>,
    max_records: usize,
    wake: Arc<Notify>,
    at: BTreeMap<TopicPartition, At>,
    /// Whose records came last, so that all partitions have their turn.
    last: Option<TopicPartition>,
    /// What was asked for and not received yet: it outlives the call that asked, so that one who often drops a call
    /// gets on all the same.
    reading: Option<Reading>,
}

/// A question to who reads.
#[derive(Debug)]
struct Reading {
    /// Of which partition the first record is to be.
    first: TopicPartition,
    answer: oneshot::Receiver<Result<Vec<Received>, BusError>>,
}

/// Where it is in a partition that it has.
#[derive(Debug)]
struct At {
    number: u32,
    next: u64,
    paused: bool,
    /// It was told that the next record is not there, and has to seek.
    astray: bool,
}

/// What there is to do for the next happening.
enum Step {
    Tell(Happening),
    Read(Vec<Piece>),
    /// Until woken, or until that time.
    Wait(Option<Duration>),
}

impl std::fmt::Debug for EmbeddedConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedConsumer").field("group", &self.group).field("at", &self.at).finish_non_exhaustive()
    }
}

impl EmbeddedConsumer {
    /// A new member of a group, which reads these partitions.
    pub(super) fn join(
        core: Arc<Core>,
        group: Arc<str>,
        topics: &[Arc<str>],
        max_records: usize,
    ) -> Result<Self, BusError> {
        let moment = core.moment();
        let wake = Arc::new(Notify::new());
        let mut state = core.shared.lock();
        let mut partitions = Vec::new();
        for topic in topics {
            let no_topic = || BusError::NoTopic(TopicPartition::new(Arc::clone(topic), 0));
            let count = state.marks.topics.get(topic).ok_or_else(no_topic)?.len();
            partitions.extend((0..=u16::MAX).take(count).map(|p| TopicPartition::new(Arc::clone(topic), p)));
        }
        state.last_member += 1;
        let id = state.last_member;
        state.groups.entry(Arc::clone(&group)).or_default().join(id, partitions, Arc::clone(&wake), moment);
        drop(state);
        Ok(Self {
            core,
            id,
            group,
            max_records: max_records.max(1),
            wake,
            at: BTreeMap::new(),
            last: None,
            reading: None,
        })
    }

    async fn next_happening(&mut self) -> Result<Happening, BusError> {
        loop {
            match self.step() {
                Step::Tell(happening) => {
                    self.reading = None;
                    return Ok(happening);
                }
                Step::Read(pieces) => {
                    let (first, records) = self.read(pieces).await?;
                    let records = self.received(&first, records)?;
                    if !records.is_empty() {
                        return Ok(Happening::Records(records));
                    }
                }
                Step::Wait(until) => {
                    let woken = pin!(self.wake.notified());
                    match until.map(|until| self.core.clock.sleep(until.saturating_sub(self.core.now()))) {
                        Some(sleep) => match select(woken, sleep).await {
                            Either::Left(_) | Either::Right(_) => {}
                        },
                        None => woken.await,
                    }
                }
            }
        }
    }

    fn step(&mut self) -> Step {
        let moment = self.core.moment();
        let mut state = self.core.shared.lock();
        let State { marks, groups, .. } = &mut *state;
        // a group has its members for as long as they live
        let Some(group) = groups.get_mut(&self.group) else { return Step::Wait(None) };
        group.expire(moment);
        match group.news(self.id) {
            Some(News::Lost(partitions)) => {
                self.at.retain(|partition, _| !partitions.contains(partition));
                return Step::Tell(Happening::Lost(partitions));
            }
            Some(News::Revoking(partitions)) => return Step::Tell(Happening::Revoking(partitions)),
            Some(News::Assigned(partitions)) => {
                let mut assigned = Vec::with_capacity(partitions.len());
                for partition in partitions {
                    let Some(number) = marks.number(&partition) else { continue };
                    let committed = marks.committed(&self.group, number);
                    let earliest = marks.partitions.get(&number).map_or(0, |mark| mark.earliest);
                    let next = committed.unwrap_or(earliest);
                    self.at.insert(partition.clone(), At { number, next, paused: false, astray: false });
                    assigned.push((partition, committed));
                }
                return Step::Tell(Happening::Assigned(assigned));
            }
            None => {}
        }
        let mut pieces = Vec::new();
        let (behind, before) = match &self.last {
            Some(last) => ((Bound::Excluded(last), Bound::Unbounded), Some((Bound::Unbounded, Bound::Included(last)))),
            None => ((Bound::Unbounded, Bound::Unbounded), None),
        };
        let in_turn =
            self.at.range::<TopicPartition, _>(behind).chain(before.into_iter().flat_map(|range| self.at.range(range)));
        let mut astray = None;
        for (partition, at) in in_turn {
            let (false, false, Some(mark)) = (at.paused, at.astray, marks.partitions.get(&at.number)) else { continue };
            if !group.owns(self.id, partition) {
                continue;
            }
            if at.next < mark.earliest || at.next > mark.end {
                let (partition, wanted) = (partition.clone(), at.next);
                astray = Some((partition, wanted, mark.earliest, mark.end));
                break;
            }
            if at.next < mark.end {
                pieces.push(Piece { number: at.number, of: partition.clone(), from: at.next, end: mark.end });
            }
        }
        if let Some((partition, wanted, earliest, end)) = astray {
            if let Some(at) = self.at.get_mut(&partition) {
                at.astray = true;
            }
            return Step::Tell(Happening::OutOfRange { partition, wanted, earliest, end });
        }
        if pieces.is_empty() { Step::Wait(group.next_expiry()) } else { Step::Read(pieces) }
    }

    /// What is there, and of which partition it should begin.
    async fn read(&mut self, pieces: Vec<Piece>) -> Result<(TopicPartition, Vec<Received>), BusError> {
        let reading = match &mut self.reading {
            Some(reading) => reading,
            none => {
                let Some(first) = pieces.first().map(|piece| piece.of.clone()) else {
                    return Err(BusError::Unavailable("there was nothing to read; ask again".to_owned()));
                };
                let (reply, answer) = oneshot::channel();
                // if nobody reads any more, the answer says so
                self.core.worker.read(Read { pieces, max_records: self.max_records, reply });
                none.insert(Reading { first, answer })
            }
        };
        let records = (&mut reading.answer).await;
        let first = reading.first.clone();
        self.reading = None;
        let records =
            records.unwrap_or_else(|_| Err(BusError::Unavailable(self.core.ended("reads", "was not read"))))?;
        Ok((first, records))
    }

    /// Goes on behind these records, without those of partitions that went away while they were read.
    fn received(&mut self, first: &TopicPartition, records: Vec<Received>) -> Result<Vec<Received>, BusError> {
        let state = self.core.shared.lock();
        let Some(group) = state.groups.get(&self.group) else { return Ok(Vec::new()) };
        // a record is missing where the next one is another, and where there should be some and are none
        let mut gap = records.is_empty().then(|| first.clone());
        let mut received = Vec::with_capacity(records.len());
        for record in records {
            let Some(at) = self.at.get_mut(&record.from).filter(|_| group.owns(self.id, &record.from)) else {
                continue;
            };
            if at.next != record.offset {
                gap = Some(record.from);
                break;
            }
            at.next += 1;
            received.push(record);
        }
        if let (true, Some(partition)) = (received.is_empty(), gap)
            && let Some(at) = self.at.get(&partition)
            // otherwise it was removed while it was read, which the next step tells
            && state.marks.partitions.get(&at.number).is_none_or(|mark| at.next >= mark.earliest)
        {
            let what = format_args!("{partition} lacks the record {}", at.next);
            return Err(damaged(&self.core.options.path, what));
        }
        drop(state);
        if let Some(last) = received.last() {
            self.last = Some(last.from.clone());
        }
        Ok(received)
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        self.reading = None;
        for partition in partitions {
            if let Some(at) = self.at.get_mut(partition) {
                at.paused = paused;
            }
        }
    }

    /// Asks whether the partitions are this consumer's, and sends their offsets off.
    fn send_offsets(&self, offsets: &[(TopicPartition, u64)]) -> Result<BoxFuture<'_, Result<(), BusError>>, BusError> {
        let moment = self.core.moment();
        let _turn = self.core.commits();
        let mut state = self.core.shared.lock();
        let State { marks, groups, .. } = &mut *state;
        let group = groups.get_mut(&self.group);
        let mut numbered = Vec::with_capacity(offsets.len());
        if let Some(group) = group {
            group.expire(moment);
            for (partition, offset) in offsets {
                let number = marks.number(partition).filter(|_| group.may_commit(self.id, partition));
                let number = number.ok_or_else(|| BusError::Lost(partition.clone()))?;
                numbered.push((number, *offset));
            }
        }
        drop(state);
        Ok(self.core.send(|reply| Job::Commit(Arc::clone(&self.group), numbered, reply)))
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        let moment = self.core.moment();
        let mut state = self.core.shared.lock();
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.leave(self.id, moment);
            if group.is_empty() {
                state.groups.remove(&self.group);
            }
        }
    }
}

impl Consumer for EmbeddedConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Happening, BusError>> {
        Box::pin(self.next_happening())
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            if offsets.is_empty() {
                return Ok(());
            }
            self.send_offsets(&offsets)?.await
        })
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.set_paused(partitions, true);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.set_paused(partitions, false);
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> BoxFuture<'_, Result<(), BusError>> {
        self.reading = None;
        let found = match self.at.get_mut(partition) {
            Some(at) => {
                (at.next, at.astray) = (offset, false);
                Ok(())
            }
            None => Err(BusError::Lost(partition.clone())),
        };
        Box::pin(std::future::ready(found))
    }

    fn release(&mut self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), BusError>> {
        self.reading = None;
        let moment = self.core.moment();
        if let Some(group) = self.core.shared.lock().groups.get_mut(&self.group) {
            group.release(self.id, &partitions, moment);
            self.at.retain(|partition, _| !partitions.contains(partition) || group.may_commit(self.id, partition));
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
