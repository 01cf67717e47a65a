//! How messages come and go: topics of partitions, which a group of consumers shares.
//!
//! # Layout
//! - [`port`]: the [`Bus`] port and its promises
//! - [`embedded`]: a file, durable, in process; the default (feature `engine`)
//! - `kafka`: Kafka up to 3.9, by kafka-rust (feature `kafka`)
//! - `rdkafka`: Kafka 3.9 and 4, by librdkafka (feature `rdkafka`)
//! - [`options`]: what can be chosen about both
//! - `hand_over`: between a thread that reads from a broker and a consumer; `followed`: and a follower
//! - [`headers`]: names and values of a record
//! - [`envelope`]: messages as they travel
//! - [`claims`]: where bodies are that are too large for a bus
//! - [`sender`]: sends records until they are acknowledged

pub mod claims;
#[cfg(feature = "engine")]
pub mod embedded;
pub mod envelope;
#[cfg(any(feature = "kafka", feature = "rdkafka"))]
mod followed;
#[cfg(any(feature = "kafka", feature = "rdkafka"))]
mod hand_over;
pub mod headers;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod options;
pub mod port;
#[cfg(feature = "rdkafka")]
pub mod rdkafka;
pub mod sender;

#[cfg(feature = "engine")]
pub use embedded::{EmbeddedBus, EmbeddedOptions};
pub use headers::Headers;
pub use port::{
    Bus, BusError, Consumer, Follower, Happening, Keep, Offsets, Outgoing, Received, Record, Subscription,
    TopicPartition, Traits,
};
