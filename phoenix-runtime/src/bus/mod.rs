//! How messages come and go: topics of partitions, which a group of consumers shares.
//!
//! # Layout
//! - [`port`]: the [`Bus`] port and its promises
//! - [`embedded`]: a file, durable, in process; the default

pub mod embedded;
pub mod port;

pub use embedded::{EmbeddedBus, EmbeddedOptions};
pub use port::{
    Bus, BusError, Consumer, Happening, Offsets, Outgoing, Received, Record, Subscription, TopicPartition, Traits,
};
