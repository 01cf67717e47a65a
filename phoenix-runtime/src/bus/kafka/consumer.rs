//! Reading: a thread that fetches, and a worker that commits meanwhile.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ::kafka::client::fetch::{Partition, Response};
use ::kafka::client::{CommitOffset, FetchOffset, FetchPartition};
use ::kafka::error::{Error, KafkaCode};

use super::connection::{Connection, is_moved, of_question};
use super::questions;
use super::worker::{Shared, Worker};
use crate::bus::followed::Followed;
use crate::bus::hand_over::{Bounds, HandOver, Start, Want};
use crate::bus::{BusError, Consumer, Happening, Headers, Received, Record, Subscription, TopicPartition};
use crate::domain::ports::BoxFuture;

/// The largest record that is asked for.
const MAX_FETCH: usize = 256 << 20;

/// How long a thread without anything to do waits at most.
const IDLE: Duration = Duration::from_secs(1);

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// Reads fixed partitions.
#[derive(Debug)]
pub(super) struct KafkaConsumer {
    group: String,
    hand_over: Arc<HandOver>,
    worker: Worker,
}

impl KafkaConsumer {
    pub(super) async fn open(shared: Arc<Shared>, subscription: Subscription) -> Result<Self, BusError> {
        let worker = Worker::new(Arc::clone(&shared));
        let Subscription { group, topics, fixed, max_records } = subscription;
        let name = group.clone();
        let starts = worker.ask(move |connection| starts(connection, &name, &topics, fixed.as_deref())).await?;
        let hand_over = read(&shared, starts, max_records)?;
        Ok(Self { group, hand_over, worker })
    }
}

/// Follows a partition that has these offsets.
pub(super) fn follow(
    shared: &Arc<Shared>,
    partition: TopicPartition,
    (earliest, end): (u64, u64),
    max_records: usize,
) -> Result<Followed, BusError> {
    let start = Start { partition, committed: Some(end), earliest, end };
    read(shared, vec![start], max_records).map(Followed)
}

/// Starts the thread that reads these.
fn read(shared: &Arc<Shared>, starts: Vec<Start>, max_records: usize) -> Result<Arc<HandOver>, BusError> {
    let options = &shared.options;
    let bounds = Bounds { max_records, records: options.read_ahead_records, bytes: options.read_ahead_bytes };
    let hand_over = Arc::new(HandOver::new(bounds));
    hand_over.assign(starts);
    let mut reader = Reader {
        connection: shared.connection(),
        hand_over: Arc::clone(&hand_over),
        fetch_bytes: options.fetch_bytes,
        larger: BTreeMap::new(),
        pause: MIN_PAUSE,
    };
    shared.spawn("consumer", move || reader.run())?;
    Ok(hand_over)
}

/// What the consumer has, and where it begins.
fn starts(
    connection: &mut Connection,
    group: &str,
    topics: &[Arc<str>],
    fixed: Option<&[u16]>,
) -> Result<Vec<Start>, BusError> {
    let mut starts = Vec::new();
    for topic in topics {
        let count = questions::partitions(connection, topic)?;
        let count = count.ok_or_else(|| BusError::NoTopic(TopicPartition::new(Arc::clone(topic), 0)))?;
        let partitions = fixed.map_or_else(|| (0..count).collect(), <[u16]>::to_vec);
        if let Some(missing) = partitions.iter().find(|partition| **partition >= count) {
            return Err(BusError::NoTopic(TopicPartition::new(Arc::clone(topic), *missing)));
        }
        let earliest = questions::ends(connection, topic, FetchOffset::Earliest)?;
        let end = questions::ends(connection, topic, FetchOffset::Latest)?;
        let committed = questions::committed(connection, group, topic, &partitions)?;
        for partition in partitions {
            let at = |offsets: &BTreeMap<u16, u64>| offsets.get(&partition).copied();
            let unknown =
                || BusError::Unavailable(format!("the brokers don't know the offsets of {topic}/{partition}"));
            starts.push(Start {
                partition: TopicPartition::new(Arc::clone(topic), partition),
                committed: at(&committed),
                earliest: at(&earliest).ok_or_else(unknown)?,
                end: at(&end).ok_or_else(unknown)?,
            });
        }
    }
    Ok(starts)
}

impl Consumer for KafkaConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Happening, BusError>> {
        Box::pin(self.hand_over.next())
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            self.hand_over.owned(offsets.iter().map(|(partition, _)| partition))?;
            let group = self.group.clone();
            let kept = self.worker.ask(move |connection| {
                let commits = offsets.iter().map(|(partition, offset)| {
                    let offset = i64::try_from(*offset).unwrap_or(i64::MAX);
                    CommitOffset::new(&partition.topic, i32::from(partition.partition), offset)
                });
                let kept = connection.with(|client| client.commit_offsets(&group, commits));
                kept.map_err(|error| match error {
                    // a group whose consumers rebalance: not ours to commit for
                    Error::Kafka(KafkaCode::UnknownMemberId | KafkaCode::IllegalGeneration) => {
                        let first = offsets.into_iter().next();
                        first.map_or(BusError::Refused(error.to_string()), |(partition, _)| BusError::Lost(partition))
                    }
                    error => of_question(&error),
                })
            });
            kept.await
        })
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.hand_over.pause(partitions, true);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.hand_over.pause(partitions, false);
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> BoxFuture<'_, Result<(), BusError>> {
        let done = self.hand_over.seek(partition, offset);
        Box::pin(std::future::ready(done))
    }

    fn release(&mut self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), BusError>> {
        self.hand_over.release(&partitions);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.hand_over.close();
    }
}

/// The thread's side.
struct Reader {
    connection: Connection,
    hand_over: Arc<HandOver>,
    fetch_bytes: usize,
    /// Partitions whose next record did not fit, and how much they are asked for.
    larger: BTreeMap<TopicPartition, usize>,
    /// After a failure.
    pause: Duration,
}

impl Reader {
    fn run(&mut self) {
        while !self.hand_over.is_closed() {
            let wants: Vec<Want> = self.hand_over.wants().into_iter().filter(|want| !want.still).collect();
            if wants.is_empty() || !self.hand_over.has_room() {
                self.hand_over.wait(IDLE);
                continue;
            }
            let read = catch_unwind(AssertUnwindSafe(|| self.read(&wants)));
            let read = read.unwrap_or_else(|_| {
                self.connection.forget();
                Err(BusError::Unavailable("kafka-rust panicked while it read".to_owned()))
            });
            match read {
                Ok(()) => self.pause = MIN_PAUSE,
                Err(error) if error.is_passing() => {
                    self.hand_over.fail(error);
                    self.hand_over.wait(self.pause);
                    self.pause = (self.pause * 2).min(MAX_PAUSE);
                }
                Err(error) => {
                    self.hand_over.end(error);
                    return;
                }
            }
        }
    }

    fn read(&mut self, wants: &[Want]) -> Result<(), BusError> {
        let asked = wants.iter().map(|want| {
            let bytes = self.larger.get(&want.partition).copied().unwrap_or(self.fetch_bytes);
            let offset = i64::try_from(want.position).unwrap_or(i64::MAX);
            FetchPartition::new(&want.partition.topic, i32::from(want.partition.partition), offset)
                .with_max_bytes(i32::try_from(bytes).unwrap_or(i32::MAX))
        });
        let answers =
            self.connection.with(|client| client.fetch_messages(asked)).map_err(|error| of_question(&error))?;
        if answers.is_empty() {
            // none of the partitions is known
            self.connection.forget();
            return Err(BusError::Unavailable("no broker leads the partitions that are read".to_owned()));
        }
        let by_name: BTreeMap<(&str, i32), &Want> =
            wants.iter().map(|want| ((&*want.partition.topic, i32::from(want.partition.partition)), want)).collect();
        let mut failed = Ok(());
        for topic in answers.iter().flat_map(Response::topics) {
            for partition in topic.partitions() {
                let Some(want) = by_name.get(&(topic.topic(), partition.partition())) else { continue };
                if let Err(error) = self.take(want, partition) {
                    failed = Err(error);
                }
            }
        }
        failed
    }

    fn take(&mut self, want: &Want, partition: &Partition<'_>) -> Result<(), BusError> {
        let data = match partition.data() {
            Ok(data) => data,
            Err(error) => match *error {
                Error::Kafka(KafkaCode::OffsetOutOfRange) => return self.out_of_range(want),
                ref error => {
                    if let Error::Kafka(code) = error
                        && is_moved(*code)
                    {
                        self.connection.forget();
                    }
                    return Err(of_question(error));
                }
            },
        };
        let records = data.messages().iter().filter_map(|message| {
            let offset = u64::try_from(message.offset).ok().filter(|offset| *offset >= want.position)?;
            // protocol version 0 tells no missing key or value from an empty one
            let key = (!message.key.is_empty()).then(|| message.key.to_vec());
            let record = Record { key, headers: Headers::new(), value: message.value.to_vec() };
            Some(Received { from: want.partition.clone(), offset, record })
        });
        let records: Vec<_> = records.collect();
        let end = u64::try_from(data.highwatermark_offset()).unwrap_or(0);
        if !records.is_empty() {
            self.larger.remove(&want.partition);
            self.hand_over.push(&want.partition, want.seeks, records);
        } else if want.position < end {
            // a part of a record only, which kafka-rust passes over
            let bytes = self.larger.get(&want.partition).copied().unwrap_or(self.fetch_bytes) * 4;
            if bytes > MAX_FETCH {
                let what =
                    format!("{} at offset {} can't be read: its record is no smaller", want.partition, want.position);
                return Err(BusError::Damaged(format!("{what} than {MAX_FETCH} bytes, or broken")));
            }
            self.larger.insert(want.partition.clone(), bytes);
        }
        Ok(())
    }

    fn out_of_range(&mut self, want: &Want) -> Result<(), BusError> {
        let of = |offsets: &BTreeMap<u16, u64>| offsets.get(&want.partition.partition).copied().unwrap_or(0);
        let earliest = of(&questions::ends(&mut self.connection, &want.partition.topic, FetchOffset::Earliest)?);
        let end = of(&questions::ends(&mut self.connection, &want.partition.topic, FetchOffset::Latest)?);
        self.hand_over.out_of_range(&want.partition, want.seeks, earliest, end);
        Ok(())
    }
}
