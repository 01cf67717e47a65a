//! The bus on Kafka up to 3.9, by kafka-rust.
//!
//! kafka-rust speaks the oldest version of Kafka's protocol, which Kafka 4 does not speak any more ([`KafkaBus::connect`]
//! refuses it). So records have no headers, partitions are fixed, topics can't be made, nothing is encrypted, and a record
//! is either uncompressed or compressed by gzip or snappy. What it does it does fast, without a line of C: calls that come
//! together are sent together.
//!
//! # Layout
//! - `versions`: whether brokers speak what kafka-rust does
//! - `connection`: a client that is left after a failure
//! - `worker`: threads that ask questions; `questions`: those about topics and groups
//! - `producer`, `consumer`: sending and reading

mod connection;
mod consumer;
mod producer;
mod questions;
mod versions;
mod worker;

use std::sync::Arc;

use self::producer::Producer;
use self::worker::{Shared, Worker};
use super::{Bus, BusError, Consumer, Follower, Keep, Offsets, Outgoing, Subscription, TopicPartition, Traits};
pub use crate::bus::options::KafkaOptions;
use crate::domain::ports::BoxFuture;

/// See the module.
#[derive(Debug)]
pub struct KafkaBus {
    shared: Arc<Shared>,
    worker: Worker,
    producer: Producer,
}

impl KafkaBus {
    /// Connects to brokers, each of them `host:port`.
    ///
    /// # Errors
    /// `Unavailable` where none answers: it may be tried again. `Unsupported` where they are of Kafka 4 or newer.
    pub async fn connect(brokers: Vec<String>, options: KafkaOptions) -> Result<Self, BusError> {
        if brokers.is_empty() {
            return Err(BusError::Unsupported("no broker is named: write `kafka://host:port`".to_owned()));
        }
        let (hosts, limit) = (brokers.clone(), options.request_timeout);
        let checked = tokio::task::spawn_blocking(move || versions::check(&hosts, limit)).await;
        checked.map_err(|error| BusError::Unavailable(format!("the question ended without an answer: {error}")))??;
        let shared = Shared::new(brokers, options);
        let worker = Worker::new(Arc::clone(&shared));
        worker.ask(|connection| connection.client().map(drop).map_err(|error| connection::of_question(&error))).await?;
        Ok(Self { producer: Producer::new(Arc::clone(&shared)), worker, shared })
    }
}

impl Bus for KafkaBus {
    fn name(&self) -> String {
        format!(
            "Kafka at {} by kafka-rust (what it acknowledges, all in-sync replicas have)",
            self.shared.hosts.join(",")
        )
    }

    fn traits(&self) -> Traits {
        Traits { headers: false, rebalances: false, max_record_bytes: self.shared.options.max_record_bytes }
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn partitions(&self, topic: Arc<str>) -> BoxFuture<'_, Result<Option<u16>, BusError>> {
        Box::pin(self.worker.ask(move |connection| questions::partitions(connection, &topic)))
    }

    fn create_keeping(&self, topic: Arc<str>, partitions: u16, _: Keep) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            match self.partitions(Arc::clone(&topic)).await? {
                Some(found) if found == partitions => Ok(()),
                Some(found) => Err(BusError::Partitions { topic, found, wanted: partitions }),
                None => Err(BusError::Unsupported(format!(
                    "there is no topic `{topic}`, and this adapter (kafka-rust) can't make it: run `kafka-topics.sh \
                     --bootstrap-server {} --create --topic {topic} --partitions {partitions}`, or use `rdkafka`",
                    self.shared.hosts.join(",")
                ))),
            }
        })
    }

    fn produce(&self, records: Arc<[Outgoing]>) -> BoxFuture<'_, Vec<Result<u64, BusError>>> {
        Box::pin(self.producer.produce(records))
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        Box::pin(async move {
            let consumer = consumer::KafkaConsumer::open(Arc::clone(&self.shared), subscription).await?;
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }

    fn follow(
        &self,
        partition: TopicPartition,
        max_records: usize,
    ) -> BoxFuture<'_, Result<Box<dyn Follower>, BusError>> {
        Box::pin(async move {
            let of = partition.clone();
            let bounds = self.worker.ask(move |connection| questions::bounds(connection, &of)).await?;
            let followed = consumer::follow(&self.shared, partition, bounds, max_records)?;
            Ok(Box::new(followed) as Box<dyn Follower>)
        })
    }

    fn offsets(&self, partition: TopicPartition, group: &str) -> BoxFuture<'_, Result<Offsets, BusError>> {
        let group = group.to_owned();
        Box::pin(self.worker.ask(move |connection| {
            let (earliest, end) = questions::bounds(connection, &partition)?;
            let TopicPartition { topic, partition: number } = &partition;
            let committed = questions::committed(connection, &group, topic, &[*number])?;
            Ok(Offsets { earliest, end, committed: committed.get(number).copied() })
        }))
    }
}
