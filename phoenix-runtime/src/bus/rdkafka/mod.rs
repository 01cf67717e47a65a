//! The bus on Kafka 3.9 and 4, by librdkafka: groups whose partitions move one by one, an idempotent producer, headers,
//! compression, TLS and SASL.
//!
//! # Layout
//! - `settings`: what can be chosen, in librdkafka's words
//! - `context`: what librdkafka says, and what its errors mean
//! - `questions`: about topics and groups
//! - `producer`: sending
//! - `consumer`: the port's side of reading; `reader`: the thread's side; `group`: what a group tells its member

mod consumer;
mod context;
mod group;
mod producer;
mod questions;
mod reader;
mod settings;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use ::rdkafka::ClientConfig;

use self::consumer::RdKafkaConsumer;
use self::producer::Producer;
use self::questions::Questions;
use super::{Bus, BusError, Consumer, Follower, Keep, Offsets, Outgoing, Subscription, TopicPartition, Traits};
pub use crate::bus::options::{Compression, RdKafkaOptions, SaslMechanism, SaslOptions, Secret, TlsOptions};
use crate::domain::ports::BoxFuture;

/// See the module.
pub struct RdKafkaBus {
    brokers: Vec<String>,
    options: RdKafkaOptions,
    base: ClientConfig,
    questions: Questions,
    producer: Producer,
}

// without the settings, among which are secrets
impl fmt::Debug for RdKafkaBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdKafkaBus")
            .field("brokers", &self.brokers)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl RdKafkaBus {
    /// Connects to brokers, each of them `host:port`.
    ///
    /// # Errors
    /// `Unavailable` where none answers: it may be tried again. `Unsupported` for options that can't be followed.
    pub async fn connect(brokers: Vec<String>, options: RdKafkaOptions) -> Result<Self, BusError> {
        let base = settings::base(&brokers, &options)?;
        let questions = Questions::new(base.clone(), options.clone())?;
        let limit = options.delivery_timeout + options.request_timeout;
        let producer = Producer::new(settings::producer(&base, &options), limit)?;
        questions.reach().await.map_err(|error| producer.explain(error))?;
        Ok(Self { brokers, options, base, questions, producer })
    }

    fn too_large(&self, outgoing: &Outgoing) -> Option<BusError> {
        let (bytes, max) = (outgoing.record.bytes(), self.options.max_record_bytes);
        (bytes > max).then(|| {
            BusError::Refused(format!(
                "a record for {} has {bytes} bytes, and {max} are the most (max_record_bytes)",
                outgoing.to
            ))
        })
    }

    async fn open(&self, subscription: Subscription) -> Result<RdKafkaConsumer, BusError> {
        for topic in &subscription.topics {
            if self.questions.partitions(topic).await?.is_none() {
                return Err(BusError::NoTopic(TopicPartition::new(Arc::clone(topic), 0)));
            }
        }
        RdKafkaConsumer::open(
            &settings::consumer(&self.base, &self.options, &subscription.group),
            &self.options,
            subscription,
        )
    }
}

impl Bus for RdKafkaBus {
    fn name(&self) -> String {
        format!("Kafka at {} by librdkafka (what it acknowledges, all in-sync replicas have)", self.brokers.join(","))
    }

    fn traits(&self) -> Traits {
        Traits { headers: true, rebalances: true, max_record_bytes: self.options.max_record_bytes }
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn partitions(&self, topic: Arc<str>) -> BoxFuture<'_, Result<Option<u16>, BusError>> {
        Box::pin(async move { self.questions.partitions(&topic).await })
    }

    fn create_keeping(&self, topic: Arc<str>, partitions: u16, _: Keep) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.questions.create(topic, partitions))
    }

    fn produce(&self, records: Arc<[Outgoing]>) -> BoxFuture<'_, Vec<Result<u64, BusError>>> {
        Box::pin(async move {
            let mut results: Vec<_> = records.iter().map(|outgoing| self.too_large(outgoing).map(Err)).collect();
            // librdkafka would wait for a topic that is not there
            let runs = records.chunk_by(|one, next| one.to == next.to);
            let places: BTreeSet<&TopicPartition> = runs.filter_map(|run| Some(&run.first()?.to)).collect();
            for place in places {
                if let Err(error) = self.questions.exists(place).await {
                    for (outgoing, result) in records.iter().zip(&mut results) {
                        if outgoing.to == *place {
                            result.get_or_insert(Err(error.clone()));
                        }
                    }
                }
            }
            self.producer.produce(&records, results).await
        })
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        Box::pin(async move { Ok(Box::new(self.open(subscription).await?) as Box<dyn Consumer>) })
    }

    fn follow(
        &self,
        partition: TopicPartition,
        max_records: usize,
    ) -> BoxFuture<'_, Result<Box<dyn Follower>, BusError>> {
        Box::pin(async move {
            self.questions.exists(&partition).await?;
            // a name that librdkafka asks for: nobody joins this group, and nothing is committed
            let group = format!("{}.{}", partition.topic, partition.partition);
            let (config, options) = (settings::consumer(&self.base, &self.options, &group), self.options.clone());
            let follow = move || consumer::follow(&config, &options, partition, max_records);
            Ok(Box::new(questions::blocking(follow).await?) as Box<dyn Follower>)
        })
    }

    fn offsets(&self, partition: TopicPartition, group: &str) -> BoxFuture<'_, Result<Offsets, BusError>> {
        let group = group.to_owned();
        Box::pin(async move { self.questions.offsets(partition, &group).await })
    }
}
