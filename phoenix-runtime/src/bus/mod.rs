//! How messages come and go: topics of partitions, which a group of consumers shares.
//!
//! # Layout
//! - [`port`]: the [`Bus`] port and its promises
//! - [`envelope`]: messages as they travel

pub mod envelope;
pub mod port;

pub use port::{
    Bus, BusError, Consumer, Happening, Offsets, Outgoing, Received, Record, Subscription, TopicPartition, Traits,
};
