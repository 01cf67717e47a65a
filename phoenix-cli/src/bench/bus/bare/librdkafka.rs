//! Reading and replying by librdkafka, with the settings that matter as Phoenix sets them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::bus::options::RdKafkaOptions;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::reply::Binary;
use super::{Batch, Reads, Replies, Taken, Way};
use crate::bench::error::BenchError;

/// How long reading waits where nothing is there.
const WAIT: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Reader {
    client: BaseConsumer,
    topic: Arc<str>,
}

impl Reader {
    pub(super) fn new(hosts: &[String], way: &Way) -> Result<Self, BenchError> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", hosts.join(","))
            .set("group.id", &way.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100")
            .create()?;
        client.subscribe(&[&way.commands])?;
        Ok(Self { client, topic: Arc::clone(&way.commands) })
    }
}

impl Reads for Reader {
    fn take(&mut self, into: &mut Vec<Taken>, most: usize) -> Result<(), BenchError> {
        let mut wait = WAIT;
        while into.len() < most {
            let Some(message) = self.client.poll(wait) else { return Ok(()) };
            into.push(taken(&message?)?);
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn commit(&mut self, next: &BTreeMap<i32, i64>) -> Result<(), BenchError> {
        let mut list = TopicPartitionList::with_capacity(next.len());
        for (partition, offset) in next {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        Ok(self.client.commit(&list, CommitMode::Async)?)
    }
}

fn taken(message: &BorrowedMessage<'_>) -> Result<Taken, BenchError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let id = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "ce_id")?.value);
    let id = id.ok_or_else(|| BenchError::Bare("a command without an id is on the topic".to_owned()))?;
    Ok(Taken {
        partition: message.partition(),
        offset: message.offset(),
        id: text(id),
        subject: text(message.key().unwrap_or_default()),
        payload: message.payload().unwrap_or_default().to_vec(),
    })
}

/// Tells batches of acknowledgements.
struct Acknowledged;

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        // one that is lost is never acknowledged, which the loop finds out
        if result.is_ok() {
            batch.acknowledged(1);
        }
    }
}

/// See the module.
pub(super) struct Replier {
    client: ThreadedProducer<Acknowledged>,
    topic: Arc<str>,
    reply: Binary,
}

impl Replier {
    pub(super) fn new(hosts: &[String], way: &Way) -> Result<Self, BenchError> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", hosts.join(","))
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", RdKafkaOptions::default().linger.as_millis().to_string())
            .set("queue.buffering.max.messages", "1000000")
            .create_with_context(Acknowledged)?;
        Ok(Self { client, topic: Arc::clone(&way.replies), reply: Binary::new() })
    }
}

impl Replies for Replier {
    fn send(&self, batch: &Arc<Batch>) -> Result<(), BenchError> {
        for command in &batch.commands {
            let headers = self.reply.headers(command);
            let headers = headers.fold(OwnedHeaders::new_with_capacity(16), |all, (key, value)| {
                all.insert(Header { key, value: Some(value) })
            });
            let mut record = BaseRecord::with_opaque_to(&self.topic, Arc::clone(batch))
                .partition(0)
                .key(&command.subject)
                .payload(&self.reply.value)
                .headers(headers);
            loop {
                match self.client.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                        self.client.flush(WAIT)?;
                        record = again;
                    }
                    Err((error, _)) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
