//! An archive in memory, for tests and for what may be lost.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::port::{Archive, BlockInfo};
use crate::domain::ports::BoxFuture;
use crate::event_store::port::{StoreError, StreamId};

/// An archive in memory. Clones share their contents.
#[derive(Debug, Clone, Default)]
pub struct MemoryArchive(Arc<Mutex<Contents>>);

type Contents = BTreeMap<StreamId, BTreeMap<BlockInfo, Vec<u8>>>;

impl MemoryArchive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // nothing panics while the lock is held
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Archive for MemoryArchive {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        format!("the block {block} of {stream} in memory")
    }

    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.contents().entry(stream).or_default().insert(block, bytes);
        Box::pin(ready(Ok(())))
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        let found = self.contents().get(&stream).and_then(|blocks| blocks.get(&block)).cloned();
        Box::pin(ready(Ok(found)))
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        let contents = self.contents();
        let of_stream = contents.get(&stream).map(|blocks| blocks.range(BlockInfo { to: from, from: 0 }..));
        let found = of_stream.into_iter().flatten().take(limit).map(|(info, _)| *info).collect();
        Box::pin(ready(Ok(found)))
    }
}
