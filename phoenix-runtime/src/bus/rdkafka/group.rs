//! What a group tells its member. librdkafka calls it from within a poll, and waits for the assignment to be done: that may
//! come later, by the reader, which keeps what it was told here.

use std::sync::{Arc, Mutex, PoisonError};

use ::rdkafka::ClientContext;
use ::rdkafka::config::RDKafkaLogLevel;
use ::rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use ::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ::rdkafka::topic_partition_list::TopicPartitionList;
use ::rdkafka::types::RDKafkaRespErr;

use super::context::{self, Seldom};
use crate::bus::TopicPartition;
use crate::bus::hand_over::HandOver;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Told {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
    /// That is done; what was to be assigned never will be.
    Lost,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) hand_over: Arc<HandOver>,
    pub(super) topics: Vec<Arc<str>>,
    told: Mutex<Vec<Told>>,
    faults: Seldom,
}

impl Member {
    pub(super) fn new(hand_over: Arc<HandOver>, topics: Vec<Arc<str>>) -> Self {
        Self { hand_over, topics, told: Mutex::default(), faults: Seldom::default() }
    }

    pub(super) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A partition of a topic that is read.
    pub(super) fn named(&self, topic: &str, partition: i32) -> Option<TopicPartition> {
        let topic = self.topics.iter().find(|known| ***known == *topic)?;
        Some(TopicPartition::new(Arc::clone(topic), u16::try_from(partition).ok()?))
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.warn("a Kafka consumer", &error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, client: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let elements = list.elements();
        let partitions: Vec<_> =
            elements.iter().filter_map(|element| self.named(element.topic(), element.partition())).collect();
        let told = match RDKafkaErrorCode::from(what) {
            // nobody reads any more: it is done at once, or the client would wait for it, and keep what it has for ever
            RDKafkaErrorCode::AssignPartitions if self.hand_over.is_closed() => {
                if let Err(error) = client.incremental_assign(list) {
                    tracing::warn!(%error, "partitions can't be assigned to a consumer that ends");
                }
                return;
            }
            RDKafkaErrorCode::AssignPartitions => Told::Assign(partitions),
            // nobody is to be asked any more
            _ if client.assignment_lost() || self.hand_over.is_closed() => {
                self.hand_over.lose(&partitions);
                // those that were not assigned yet can't be taken away, and the client would wait for it for ever
                let gone = client
                    .incremental_unassign(list)
                    .or_else(|_| client.incremental_assign(list).and_then(|()| client.incremental_unassign(list)));
                if let Err(error) = gone {
                    tracing::warn!(%error, "partitions that were lost can't be taken away");
                }
                Told::Lost
            }
            _ => Told::Revoke(partitions),
        };
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }
}
