//! What can be chosen about the buses on Kafka: there in every build, so that a configuration reads the same in each.
//!
//! # Layout
//! - [`kafka`], [`rdkafka`]: by adapter

pub mod kafka;
pub mod rdkafka;

pub use kafka::KafkaOptions;
pub use rdkafka::{Compression, RdKafkaOptions, SaslMechanism, SaslOptions, Secret, TlsOptions};
