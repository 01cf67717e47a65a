//! Where events are kept: the port, and its adapters.
//!
//! # Layout
//! - [`port`]: what an event store promises; `testkit::conformance` is the same in tests
//! - `error`: why a store could not be opened
//! - `encoding`: the binary form of a record, which the log and the archive share
//! - [`archive`]: where the bytes of old events go, and how they come back
//! - `lock`: one owner a file or folder
//! - [`memory`]: keeps everything in memory, nothing of it durable
//! - [`none`]: keeps nothing
//! - [`log`]: a folder, durable; the fastest, for a node of its own
//! - [`sqlite`]: a file, durable; the embedded default
//! - [`sources`]: several databases that share the slices, as one store
//! - [`sql`]: a database: PostgreSQL, MySQL, MariaDB

pub mod archive;
mod encoding;
mod error;
pub(crate) mod lock;
pub mod log;
pub mod memory;
pub mod none;
pub mod port;
mod rules;
pub mod sources;
pub mod sql;
pub mod sqlite;

pub use archive::{Archive, Archived, FolderArchive, MemoryArchive};
pub use error::OpenError;
pub use log::{LogReader, LogStore, LogStoreOptions};
pub use memory::MemoryStore;
pub use none::NoStore;
pub use port::{EventStore, StoreError};
pub use sql::{DatabaseOpenError, DatabaseOptions, DatabaseUrl};
pub use sqlite::{SqliteOptions, SqliteReader, SqliteStore};
