//! How messages come and go: topics of partitions, which a group of consumers shares.
//!
//! # Layout
//! - [`port`]: the [`Bus`] port and its promises
//! - [`embedded`]: a file, durable, in process; the default
//! - [`envelope`]: messages as they travel
//! - [`sender`]: sends records until they are acknowledged

pub mod embedded;
pub mod envelope;
pub mod port;
pub mod sender;

pub use embedded::{EmbeddedBus, EmbeddedOptions};
pub use port::{
    Bus, BusError, Consumer, Happening, Offsets, Outgoing, Received, Record, Subscription, TopicPartition, Traits,
};
