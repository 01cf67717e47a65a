//! An archive in memory, for tests and for what may be lost.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::port::{Archive, BlockInfo};
use crate::domain::id::Slice;
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

    pub(in crate::event_store) fn keep(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) {
        self.contents().entry(stream).or_default().insert(block, bytes);
    }

    pub(in crate::event_store) fn found(&self, stream: &StreamId, block: BlockInfo) -> Option<Vec<u8>> {
        self.contents().get(stream).and_then(|blocks| blocks.get(&block)).cloned()
    }

    pub(in crate::event_store) fn list(&self, stream: &StreamId, from: u64, limit: usize) -> Vec<BlockInfo> {
        let contents = self.contents();
        let of_stream = contents.get(stream).map(|blocks| blocks.range(BlockInfo { to: from, from: 0 }..));
        of_stream.into_iter().flatten().take(limit).map(|(info, _)| *info).collect()
    }

    /// The blocks of all streams of a slice.
    pub(in crate::event_store) fn keys(&self, slice: Slice) -> Vec<(StreamId, BlockInfo)> {
        let contents = self.contents();
        let of_slice = contents.iter().filter(|(stream, _)| stream.slice() == slice);
        of_slice.flat_map(|(stream, blocks)| blocks.keys().map(|info| (stream.clone(), *info))).collect()
    }

    /// Loses the blocks of all streams of a slice.
    pub(in crate::event_store) fn forget(&self, slice: Slice) {
        self.contents().retain(|stream, _| stream.slice() != slice);
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
        self.keep(stream, block, bytes);
        Box::pin(ready(Ok(())))
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(ready(Ok(self.found(&stream, block))))
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        Box::pin(ready(Ok(self.list(&stream, from, limit))))
    }
}
