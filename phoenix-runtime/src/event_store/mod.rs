//! Where events are kept: the port, and its adapters.
//!
//! # Layout
//! - [`port`]: what an event store promises; `testkit::conformance` is the same in tests
//! - [`memory`]: keeps everything in memory, nothing of it durable

pub mod memory;
pub mod port;
mod rules;

pub use memory::MemoryStore;
pub use port::{EventStore, StoreError};
