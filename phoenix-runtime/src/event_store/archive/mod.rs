//! Where the bytes of old events go, and how they come back.
//!
//! A store keeps everything of an event that a repeat or a reader of numbers may ask for; the payload, and the reply to
//! its command, may move to an [`Archive`] once a snapshot stands above them. [`Archived`] is a store over a store and
//! an archive that makes whole whatever it reads, so that replay goes through the archive where it must, and a repeat
//! gets its first outcome, however old.
//!
//! A block is written and durable before the store is told to forget its events. A crash between the two leaves a block
//! too many, which the next attempt finds and uses.
//!
//! # Layout
//! - [`port`]: what an archive promises
//! - `block`: consecutive events of a stream as bytes, with a checksum
//! - [`folder`], [`memory`]: a file a block; nothing durable
//! - [`archived`]: the store over a store and an archive
//! - `whole`: from stripped events to whole ones
//! - `moves`: to the archive, and back
//! - `astray`: whether it is the archive that events were moved to

pub mod archived;
mod astray;
mod block;
pub mod folder;
pub mod memory;
mod moves;
pub mod port;
mod whole;

pub use archived::Archived;
pub use folder::{FolderArchive, FolderError};
pub use memory::MemoryArchive;
pub use moves::{Moved, Restored};
pub use port::{Archive, BlockInfo};
pub use whole::{ArchiveReader, ReadAgain};
