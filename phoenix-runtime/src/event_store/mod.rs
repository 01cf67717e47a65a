//! Where events are kept: the port, and its adapters.
//!
//! # Layout
//! - [`port`]: what an event store promises; `testkit::conformance` is the same in tests
//! - `encoding`: the binary form of a record, which the log and the archive share
//! - [`archive`]: where the bytes of old events go, and how they come back
//! - [`memory`]: keeps everything in memory, nothing of it durable
//! - [`sqlite`]: a file, durable; the embedded default
//! - [`sources`]: several databases that share the slices, as one store

pub mod archive;
#[allow(dead_code, reason = "the stores that are made of it follow")]
mod encoding;
pub mod memory;
pub mod port;
mod rules;
pub mod sources;
pub mod sqlite;

pub use archive::{Archive, Archived, FolderArchive, MemoryArchive};
pub use memory::MemoryStore;
pub use port::{EventStore, StoreError};
pub use sqlite::{OpenError, SqliteOptions, SqliteReader, SqliteStore};
