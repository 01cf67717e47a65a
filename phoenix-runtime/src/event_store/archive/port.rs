//! What an archive promises.
//!
//! - A block is durable when [`Archive::put`] returns `Ok`; a put that fails, or is cut short, leaves no half of one.
//! - Blocks of one stream may overlap. What they say is the same, for events never change.
//! - What is read may be damaged: whoever reads a block checks it, so an archive need not.

use std::fmt;

use crate::domain::ports::BoxFuture;
use crate::event_store::port::{StoreError, StreamId};

/// Which events of a stream a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockInfo {
    /// The last version.
    pub to: u64,
    /// The first version.
    pub from: u64,
}

impl BlockInfo {
    /// Whether it holds a version.
    #[must_use]
    pub const fn covers(&self, version: u64) -> bool {
        self.from <= version && version <= self.to
    }
}

impl fmt::Display for BlockInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// Where blocks of events are kept: see the module's promises. Its errors are [`StoreError::Unavailable`],
/// [`StoreError::Unknown`] where an answer was lost, and [`StoreError::Damaged`] for what needs a person.
///
/// # Cancel safety
/// Dropping a future of [`Archive::put`] leaves it done or not done; it may be asked again.
pub trait Archive: Send + Sync + fmt::Debug + 'static {
    /// A name for logs and errors, for example ``folder `data/archive` ``.
    fn name(&self) -> String;

    /// Whether what was put survives the process and the machine's power.
    fn is_durable(&self) -> bool;

    /// Where a block is, for people: a file, or a row.
    fn place(&self, stream: &StreamId, block: BlockInfo) -> String;

    /// Keeps a block; one of the same stream and versions is replaced.
    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The bytes of a block, `None` where there is none.
    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// The blocks of a stream that hold a version from `from` on, at most `limit`, in order.
    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>>;
}
