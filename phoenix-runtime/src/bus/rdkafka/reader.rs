//! The thread's side of reading. It polls whatever the consumer does, so that a consumer that pauses all of its partitions
//! stays in its group, and brings the client to what the consumer wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::rdkafka::consumer::{BaseConsumer, Consumer};
use ::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ::rdkafka::message::{BorrowedMessage, Headers as _, Message};
use ::rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::context::of_question;
use super::group::{Member, Told};
use super::questions;
use crate::bus::hand_over::{HandOver, Start};
use crate::bus::options::RdKafkaOptions;
use crate::bus::{BusError, Headers, Received, Record, TopicPartition};

/// The most records that are taken before anything else is looked at.
const ROUND: usize = 1000;

/// How long a thread without anything to do waits at most.
const IDLE: Duration = Duration::from_millis(100);

/// How long the consumer may take to make room before its partitions are paused.
const PATIENCE: Duration = Duration::from_millis(200);

/// How the client stands to one partition.
#[derive(Debug, Clone, Copy)]
struct Applied {
    /// The seeks that it has seen; `None` where it is to be sought whatever they are.
    seeks: Option<u64>,
    paused: bool,
}

/// See the module.
pub(super) struct Reader {
    client: Arc<BaseConsumer<Member>>,
    hand_over: Arc<HandOver>,
    limit: Duration,
    release_timeout: Duration,
    /// A consumer that is silent for so long is not polled for any more.
    silence: Duration,
    applied: BTreeMap<TopicPartition, Applied>,
    /// Partitions that were given and have no offsets yet.
    assigning: Option<Vec<TopicPartition>>,
    /// Partitions that the consumer is to release, and until when.
    revoking: Option<(Vec<TopicPartition>, Instant)>,
    full_since: Option<Instant>,
    /// Those of one record while it is read: what is kept of them has no room to spare.
    headers: Headers,
}

impl Reader {
    /// Reads what the group gives.
    pub(super) fn start(client: Arc<BaseConsumer<Member>>, options: &RdKafkaOptions) -> Result<(), BusError> {
        Self::new(client, options).spawn()
    }

    /// Reads one partition from its end on, and no group is asked.
    pub(super) fn start_alone(
        client: Arc<BaseConsumer<Member>>,
        options: &RdKafkaOptions,
        partition: TopicPartition,
    ) -> Result<(), BusError> {
        let mut reader = Self::new(client, options);
        let mut found = questions::bounds(&reader.client, &[partition], reader.limit)?;
        for (_, offsets) in &mut found {
            offsets.committed = Some(offsets.end);
        }
        if !reader.begin(found) {
            return Err(BusError::Unavailable("librdkafka does not begin to read the partition".to_owned()));
        }
        reader.spawn()
    }

    fn new(client: Arc<BaseConsumer<Member>>, options: &RdKafkaOptions) -> Self {
        Self {
            hand_over: Arc::clone(&client.context().hand_over),
            client,
            limit: options.request_timeout,
            release_timeout: options.release_timeout,
            silence: options.max_poll_interval.saturating_sub(super::settings::native_poll_interval(options)),
            applied: BTreeMap::new(),
            assigning: None,
            revoking: None,
            full_since: None,
            headers: Headers::new(),
        }
    }

    fn spawn(self) -> Result<(), BusError> {
        let started = std::thread::Builder::new().name("rdkafka-consumer".to_owned()).spawn(move || self.run());
        started.map(drop).map_err(|error| BusError::Unavailable(format!("no thread can be started: {error}")))
    }

    fn run(mut self) {
        while !self.hand_over.is_closed() {
            if self.hand_over.silence() > self.silence {
                // as Kafka sees it, this consumer hangs
                self.hand_over.wait(IDLE);
                continue;
            }
            self.follow();
            let stalled = self.is_stalled();
            self.apply(stalled);
            let read = if self.full_since.is_some() && !stalled { 0 } else { self.poll() };
            if read == 0 {
                self.hand_over.wait(IDLE);
            }
        }
        // what is open is closed, as the client would wait for it; also what it was told of at last
        for told in self.client.context().told() {
            match told {
                Told::Assign(partitions) => self.assigning = Some(partitions),
                Told::Revoke(partitions) => self.revoking = Some((partitions, Instant::now())),
                Told::Lost => self.assigning = None,
            }
        }
        if let Some((partitions, _)) = self.revoking.take() {
            self.unassign(&partitions);
        }
        if let Some(partitions) = self.assigning.take() {
            self.give(&partitions.into_iter().map(|partition| (partition, Offset::End)).collect::<Vec<_>>());
        }
    }

    /// Does what the group has told.
    fn follow(&mut self) {
        for told in self.client.context().told() {
            match told {
                Told::Assign(partitions) => self.assigning = Some(partitions),
                Told::Lost => self.assigning = None,
                Told::Revoke(partitions) => {
                    self.hand_over.revoke(&partitions);
                    self.revoking = Some((partitions, Instant::now() + self.release_timeout));
                }
            }
        }
        if let Some((partitions, until)) = &self.revoking {
            let left = self.hand_over.unreleased(partitions);
            if left.is_empty() || Instant::now() > *until {
                self.hand_over.lose(&left);
                let partitions = partitions.clone();
                self.revoking = None;
                self.unassign(&partitions);
            }
        }
        if let Some(partitions) = self.assigning.take() {
            match questions::ends(&self.client, &partitions, self.limit) {
                Ok(found) => {
                    if !self.begin(found) {
                        // the client waits for it
                        self.assigning = Some(partitions);
                    }
                }
                Err(error) if error.is_passing() => {
                    self.hand_over.fail(error);
                    self.assigning = Some(partitions);
                }
                Err(error) => self.hand_over.end(error),
            }
        }
    }

    fn begin(&mut self, found: Vec<(TopicPartition, crate::bus::Offsets)>) -> bool {
        let starts: Vec<Start> = found
            .into_iter()
            .map(|(partition, offsets)| Start {
                partition,
                committed: offsets.committed,
                earliest: offsets.earliest,
                end: offsets.end,
            })
            .collect();
        let places: Vec<_> = starts
            .iter()
            .map(|start| {
                // one that is out of range is told, and stands still where there is nothing to be read
                let position = start.committed.unwrap_or(start.earliest);
                let position = if (start.earliest..=start.end).contains(&position) { position } else { start.end };
                (start.partition.clone(), Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX)))
            })
            .collect();
        let given = self.give(&places);
        if given {
            let applied = Applied { seeks: Some(0), paused: false };
            self.applied.extend(starts.iter().map(|start| (start.partition.clone(), applied)));
            if !starts.is_empty() {
                self.hand_over.assign(starts);
            }
        }
        given
    }

    fn give(&self, places: &[(TopicPartition, Offset)]) -> bool {
        // one that is there already, by a round that was not ended, is given anew
        let given = list(places).and_then(|list| {
            let anew = |_| {
                self.client.incremental_unassign(&list)?;
                self.client.incremental_assign(&list)
            };
            self.client.incremental_assign(&list).or_else(anew)?;
            // one that was paused when it went is paused when it comes back
            self.client.resume(&list)
        });
        if let Err(error) = &given {
            tracing::warn!(%error, "partitions can't be assigned");
            self.hand_over.fail(of_question(error));
        }
        given.is_ok()
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) {
        self.applied.retain(|partition, _| !partitions.contains(partition));
        let places: Vec<_> = partitions.iter().map(|partition| (partition.clone(), Offset::Invalid)).collect();
        if let Err(error) = list(&places).and_then(|list| self.client.incremental_unassign(&list)) {
            tracing::warn!(%error, "partitions that were revoked are gone already");
        }
    }

    /// Whether the consumer takes its time. Its partitions are paused then, so that the client can be polled for what else
    /// happens.
    fn is_stalled(&mut self) -> bool {
        if self.hand_over.has_room() {
            self.full_since = None;
            return false;
        }
        self.full_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE
    }

    fn apply(&mut self, stalled: bool) {
        let wants = self.hand_over.wants();
        self.applied.retain(|partition, _| wants.iter().any(|want| want.partition == *partition));
        let (mut pause, mut resume, mut seek) = (Vec::new(), Vec::new(), Vec::new());
        for want in &wants {
            let Some(applied) = self.applied.get_mut(&want.partition) else { continue };
            let position = Offset::Offset(i64::try_from(want.position).unwrap_or(i64::MAX));
            if want.still || stalled {
                if !applied.paused {
                    pause.push((want.partition.clone(), Offset::Invalid));
                    applied.paused = true;
                }
                continue;
            }
            if applied.paused {
                resume.push((want.partition.clone(), Offset::Invalid));
                applied.paused = false;
                applied.seeks = None;
            }
            if applied.seeks != Some(want.seeks) {
                seek.push((want.partition.clone(), position));
                applied.seeks = Some(want.seeks);
            }
        }
        let paused = if pause.is_empty() { Ok(()) } else { list(&pause).and_then(|list| self.client.pause(&list)) };
        let resumed = if resume.is_empty() { Ok(()) } else { list(&resume).and_then(|list| self.client.resume(&list)) };
        if let Err(error) = paused.and(resumed) {
            tracing::warn!(%error, "partitions could not be paused or resumed");
        }
        if !seek.is_empty() {
            self.seek(&seek);
        }
    }

    fn seek(&mut self, places: &[(TopicPartition, Offset)]) {
        let sought = list(places).and_then(|list| self.client.seek_partitions(list, self.limit));
        let failed = |partition: &TopicPartition| match &sought {
            Ok(list) => list
                .find_partition(&partition.topic, i32::from(partition.partition))
                .is_none_or(|found| found.error().is_err()),
            Err(_) => true,
        };
        for (partition, _) in places {
            // a partition that does not begin to be read yet can't be sought: once more
            if failed(partition)
                && let Some(applied) = self.applied.get_mut(partition)
            {
                applied.seeks = None;
            }
        }
    }

    /// Takes what is there; how much.
    fn poll(&mut self) -> usize {
        let mut read: BTreeMap<TopicPartition, Vec<Received>> = BTreeMap::new();
        // those of one partition mostly come together
        let mut run: Vec<Received> = Vec::new();
        let mut count = 0;
        let client = Arc::clone(&self.client);
        while count < ROUND {
            match client.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    count += 1;
                    if let Some(received) = self.received(&message) {
                        if let Some(last) = run.last().filter(|last| last.from != received.from) {
                            read.entry(last.from.clone()).or_default().append(&mut run);
                        }
                        run.push(received);
                    }
                }
                Some(Err(error)) => {
                    count += 1;
                    self.failed(&error);
                }
                None => break,
            }
        }
        if let Some(last) = run.last() {
            read.entry(last.from.clone()).or_default().append(&mut run);
        }
        for (partition, records) in read {
            if let Some(seeks) = self.applied.get(&partition).and_then(|applied| applied.seeks) {
                self.hand_over.push(&partition, seeks, records);
            }
        }
        count
    }

    fn received(&mut self, message: &BorrowedMessage<'_>) -> Option<Received> {
        let from = self.client.context().named(message.topic(), message.partition())?;
        self.headers.clear();
        if let Some(all) = message.headers() {
            all.iter().for_each(|header| self.headers.push(header.key, header.value.unwrap_or_default()));
        }
        let record = Record {
            key: message.key().map(<[u8]>::to_vec),
            headers: self.headers.clone(),
            value: message.payload().unwrap_or_default().to_vec(),
        };
        Some(Received { from, offset: u64::try_from(message.offset()).ok()?, record })
    }

    fn failed(&mut self, error: &KafkaError) {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return self.hand_over.end(BusError::Unsupported(format!("the consumer can't go on: {error}")));
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => self.look(),
            Some(RDKafkaErrorCode::PollExceeded | RDKafkaErrorCode::PartitionEOF) => {
                tracing::debug!(%error, "a Kafka consumer was told");
            }
            _ => match of_question(error) {
                passing if passing.is_passing() => self.hand_over.fail(passing),
                last => self.hand_over.end(last),
            },
        }
    }

    /// Some partition has no record where one is to be read; librdkafka does not say which.
    fn look(&mut self) {
        let wants: Vec<_> = self.hand_over.wants().into_iter().filter(|want| !want.still).collect();
        let partitions: Vec<_> = wants.iter().map(|want| want.partition.clone()).collect();
        match questions::bounds(&self.client, &partitions, self.limit) {
            Ok(found) => {
                for (want, (partition, offsets)) in wants.iter().zip(found) {
                    if (offsets.earliest..=offsets.end).contains(&want.position) {
                        // it stands still if it was that; and is sought again
                        if let Some(applied) = self.applied.get_mut(&partition) {
                            applied.seeks = None;
                        }
                    } else {
                        self.hand_over.out_of_range(&partition, want.seeks, offsets.earliest, offsets.end);
                    }
                }
            }
            Err(error) => {
                self.hand_over.fail(error);
                self.applied.values_mut().for_each(|applied| applied.seeks = None);
            }
        }
    }
}

fn list(places: &[(TopicPartition, Offset)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (partition, offset) in places {
        list.add_partition_offset(&partition.topic, i32::from(partition.partition), *offset)?;
    }
    Ok(list)
}
