//! The port's side of reading.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::rdkafka::ClientConfig;
use ::rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use ::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ::rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;

use super::context::of_question;
use super::group::Member;
use super::reader::Reader;
use crate::bus::followed::Followed;
use crate::bus::hand_over::{Bounds, HandOver};
use crate::bus::options::RdKafkaOptions;
use crate::bus::{BusError, Consumer, Happening, Subscription, TopicPartition};
use crate::domain::ports::BoxFuture;

/// The pause before a commit that met a rebalance is tried again.
const REBALANCE: Duration = Duration::from_millis(50);

/// How often a commit of a generation that is over is tried again, before its partitions are another consumer's.
const STALE: u32 = 20;

/// Reads as one of a group.
pub(super) struct RdKafkaConsumer {
    hand_over: Arc<HandOver>,
    client: Weak<BaseConsumer<Member>>,
    limit: Duration,
    /// A commit whose future was dropped.
    running: Option<JoinHandle<Result<(), KafkaError>>>,
}

impl fmt::Debug for RdKafkaConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdKafkaConsumer").field("hand_over", &self.hand_over).finish_non_exhaustive()
    }
}

impl RdKafkaConsumer {
    pub(super) fn open(config: &ClientConfig, options: &RdKafkaOptions, of: Subscription) -> Result<Self, BusError> {
        let (client, hand_over) = client(config, options, of.topics, of.max_records)?;
        let topics = client.context().topics.clone();
        let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        client.subscribe(&names).map_err(|error| of_question(&error))?;
        let client = Arc::new(client);
        let weak = Arc::downgrade(&client);
        Reader::start(client, options)?;
        Ok(Self { hand_over, client: weak, limit: options.request_timeout, running: None })
    }

    async fn keep(&mut self, offsets: &[(TopicPartition, u64)]) -> Result<(), KafkaError> {
        if let Some(running) = &mut self.running {
            let _ = running.await;
            self.running = None;
        }
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            list.add_partition_offset(&partition.topic, i32::from(partition.partition), offset)?;
        }
        let Some(client) = self.client.upgrade() else { return Err(KafkaError::Canceled) };
        let running = self.running.insert(tokio::task::spawn_blocking(move || client.commit(&list, CommitMode::Sync)));
        let kept = running.await.unwrap_or(Err(KafkaError::Canceled));
        self.running = None;
        kept
    }
}

/// A client that wakes the thread which is to read by it.
fn client(
    config: &ClientConfig,
    options: &RdKafkaOptions,
    topics: Vec<Arc<str>>,
    max_records: usize,
) -> Result<(BaseConsumer<Member>, Arc<HandOver>), BusError> {
    let bounds = Bounds { max_records, records: options.read_ahead_records, bytes: options.read_ahead_bytes };
    let hand_over = Arc::new(HandOver::new(bounds));
    let member = Member::new(Arc::clone(&hand_over), topics);
    let mut client: BaseConsumer<Member> = config.create_with_context(member).map_err(|error| of_question(&error))?;
    let woken = Arc::clone(&hand_over);
    client.set_nonempty_callback(move || woken.poke());
    Ok((client, hand_over))
}

/// Follows a partition. Blocks until its end is known.
pub(super) fn follow(
    config: &ClientConfig,
    options: &RdKafkaOptions,
    partition: TopicPartition,
    max_records: usize,
) -> Result<Followed, BusError> {
    let (client, hand_over) = client(config, options, vec![Arc::clone(&partition.topic)], max_records)?;
    Reader::start_alone(Arc::new(client), options, partition)?;
    Ok(Followed(hand_over))
}

impl Consumer for RdKafkaConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Happening, BusError>> {
        Box::pin(self.hand_over.next())
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            let Some((first, _)) = offsets.first().cloned() else { return Ok(()) };
            let limit = self.limit;
            let keep = async {
                let mut stale = 0;
                loop {
                    self.hand_over.owned(offsets.iter().map(|(partition, _)| partition))?;
                    let Err(error) = self.keep(&offsets).await else { return Ok(()) };
                    match error.rdkafka_error_code() {
                        Some(RDKafkaErrorCode::RebalanceInProgress) => tokio::time::sleep(REBALANCE).await,
                        // the group went on while it was under way, perhaps with this consumer
                        Some(RDKafkaErrorCode::IllegalGeneration) if stale < STALE => {
                            stale += 1;
                            tokio::time::sleep(REBALANCE).await;
                        }
                        Some(
                            RDKafkaErrorCode::UnknownMemberId
                            | RDKafkaErrorCode::IllegalGeneration
                            | RDKafkaErrorCode::FencedInstanceId
                            | RDKafkaErrorCode::FencedMemberEpoch
                            | RDKafkaErrorCode::StaleMemberEpoch
                            | RDKafkaErrorCode::AssignmentLost,
                        ) => return Err(BusError::Lost(first)),
                        _ => return Err(of_question(&error)),
                    }
                }
            };
            let late =
                |_| BusError::Unknown(format!("the brokers do not say within {limit:?} whether the offsets are kept"));
            tokio::time::timeout(limit, keep).await.map_err(late)?
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

impl Drop for RdKafkaConsumer {
    fn drop(&mut self) {
        self.hand_over.close();
    }
}
