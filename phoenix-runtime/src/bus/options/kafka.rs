//! What can be chosen about the bus on kafka-rust.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// How a node speaks with brokers up to Kafka 3.9, in the oldest version of their protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct KafkaOptions {
    /// What the brokers' logs call the node.
    pub client_id: String,
    /// How long a call may take; records that were sent and not acknowledged by then are told as unknown.
    #[serde(with = "units::duration")]
    pub request_timeout: Duration,
    /// How long the brokers may take to replicate what they acknowledge.
    #[serde(with = "units::duration")]
    pub ack_timeout: Duration,
    /// The most bytes of a record, with its key. No more than the topics allow (`max.message.bytes`, 1048588 by default),
    /// with some room for what the brokers add. A request has as many of a partition at most.
    pub max_record_bytes: usize,
    /// The most bytes that wait to be sent; what comes above is refused as not available.
    pub max_waiting_bytes: usize,
    /// How long a broker waits for the next record before it answers that there is none.
    #[serde(with = "units::duration")]
    pub fetch_wait: Duration,
    /// How many bytes of a partition are asked for at a time. A record that is larger is asked for again, alone.
    pub fetch_bytes: usize,
    /// Above so many records that wait for a consumer no more are read.
    pub read_ahead_records: usize,
    /// Above so many bytes that wait for a consumer no more are read.
    pub read_ahead_bytes: usize,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            client_id: "phoenix".to_owned(),
            request_timeout: Duration::from_secs(30),
            ack_timeout: Duration::from_secs(20),
            max_record_bytes: 1_000_000,
            max_waiting_bytes: 64 << 20,
            fetch_wait: Duration::from_millis(100),
            fetch_bytes: 1 << 20,
            read_ahead_records: 10_000,
            read_ahead_bytes: 16 << 20,
        }
    }
}
