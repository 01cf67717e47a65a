//! Reading and replying by kafka-rust, in as large requests as the broker takes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka::client::fetch::{Response, Topic};
use kafka::client::{CommitOffset, FetchPartition, GroupOffsetStorage, KafkaClient, ProduceMessage, RequiredAcks};
use serde::Deserialize;

use super::reply::Structured;
use super::{Batch, Reads, Replies, Taken, Way};
use crate::bench::error::BenchError;

/// How long reading waits where nothing is there.
const WAIT: Duration = Duration::from_millis(100);
/// The most bytes of a partition in one answer.
const FETCH_BYTES: i32 = 1 << 20;
/// Replies of one request: together less than a broker's `message.max.bytes`.
const AT_ONCE: usize = 1500;
/// How long a broker may take to acknowledge.
const ACK: Duration = Duration::from_secs(10);

fn client(hosts: &[String], topic: &str) -> Result<KafkaClient, BenchError> {
    let mut client = KafkaClient::new(hosts.to_vec());
    client.set_client_id("phoenix-bench".to_owned());
    client.set_fetch_max_wait_time(WAIT)?;
    client.set_fetch_max_bytes_per_partition(FETCH_BYTES);
    client.set_group_offset_storage(Some(GroupOffsetStorage::Kafka));
    client.load_metadata(&[topic])?;
    Ok(client)
}

/// See the module.
pub(super) struct Reader {
    client: KafkaClient,
    topic: Arc<str>,
    group: String,
    /// The next offset of each partition.
    next: Vec<i64>,
    left: VecDeque<Taken>,
}

impl Reader {
    pub(super) fn new(hosts: &[String], way: &Way) -> Result<Self, BenchError> {
        let client = client(hosts, &way.commands)?;
        let next = vec![0; usize::from(way.partitions)];
        Ok(Self { client, topic: Arc::clone(&way.commands), group: way.group.clone(), next, left: VecDeque::new() })
    }

    fn fetch(&mut self) -> Result<(), BenchError> {
        let asked = (0..).zip(&self.next).map(|(partition, next)| FetchPartition::new(&self.topic, partition, *next));
        let answers = self.client.fetch_messages(asked)?;
        for partition in answers.iter().flat_map(Response::topics).flat_map(Topic::partitions) {
            let number = partition.partition();
            let data = partition.data().map_err(|error| BenchError::Bare(error.to_string()))?;
            let Some(next) = usize::try_from(number).ok().and_then(|at| self.next.get_mut(at)) else { continue };
            for message in data.messages().iter().filter(|message| message.offset >= *next) {
                self.left.push_back(taken(number, message.offset, message.value)?);
            }
            if let Some(last) = data.messages().last() {
                *next = (*next).max(last.offset + 1);
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    id: String,
    subject: String,
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

fn taken(partition: i32, offset: i64, value: &[u8]) -> Result<Taken, BenchError> {
    let event: Event<'_> = serde_json::from_slice(value).map_err(|error| BenchError::Bare(error.to_string()))?;
    let Event { id, subject, data } = event;
    Ok(Taken { partition, offset, id, subject, payload: data.get().as_bytes().to_vec() })
}

impl Reads for Reader {
    fn take(&mut self, into: &mut Vec<Taken>, most: usize) -> Result<(), BenchError> {
        if self.left.is_empty() {
            self.fetch()?;
        }
        let count = self.left.len().min(most.saturating_sub(into.len()));
        into.extend(self.left.drain(..count));
        Ok(())
    }

    fn commit(&mut self, next: &BTreeMap<i32, i64>) -> Result<(), BenchError> {
        let offsets = next.iter().map(|(partition, next)| CommitOffset::new(&self.topic, *partition, *next));
        Ok(self.client.commit_offsets(&self.group, offsets)?)
    }
}

/// See the module.
pub(super) struct Replier {
    client: Mutex<KafkaClient>,
    topic: Arc<str>,
    reply: Structured,
}

impl Replier {
    pub(super) fn new(hosts: &[String], way: &Way) -> Result<Self, BenchError> {
        let client = Mutex::new(client(hosts, &way.replies)?);
        Ok(Self { client, topic: Arc::clone(&way.replies), reply: Structured::new() })
    }
}

impl Replies for Replier {
    fn send(&self, batch: &Arc<Batch>) -> Result<(), BenchError> {
        for commands in batch.commands.chunks(AT_ONCE) {
            let values: Vec<_> = commands.iter().map(|command| self.reply.value(command)).collect();
            let messages = commands.iter().zip(&values).map(|(command, value)| {
                ProduceMessage::new(&self.topic, 0, Some(command.subject.as_bytes()), Some(value.as_slice()))
            });
            let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
            let confirms = client.produce_messages(RequiredAcks::All, ACK, messages)?;
            for confirm in confirms.iter().flat_map(|confirm| &confirm.partition_confirms) {
                confirm.offset.map_err(|code| BenchError::Bare(format!("replies were refused: {code:?}")))?;
            }
            batch.acknowledged(commands.len());
        }
        Ok(())
    }
}
