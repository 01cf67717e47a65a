//! The archive over the tables of several databases: a slice's blocks are where its events are.
//!
//! From the moment on when a slice is about to leave a database, blocks of it neither come nor go there, and it is held
//! elsewhere only when all of them are there. So a block that was kept before its events are stripped is wherever they
//! are stripped.

use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{Archive, BlockInfo};
use crate::event_store::port::{StoreError, StreamId};
use crate::event_store::sources::store::{Frozen, SourcesStore};

impl Archive for SourcesStore {
    fn name(&self) -> String {
        "tables `archive` of the sources".to_owned()
    }

    fn is_durable(&self) -> bool {
        self.members().all().iter().all(|member| member.source.table().is_durable())
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        match self.member_of(stream.slice()) {
            Some(member) => {
                format!("{}, which is the source `{}`", member.source.table().place(stream, block), member.name)
            }
            None => format!("the block {block} of {stream} in the source that has slice {}", stream.slice().0),
        }
    }

    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        let slice = stream.slice();
        Box::pin(self.ask(slice, Frozen::Waits, move |source| source.table().put(stream.clone(), block, bytes.clone())))
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        let slice = stream.slice();
        Box::pin(self.ask(slice, Frozen::Counts, move |source| source.table().get(stream.clone(), block)))
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        let slice = stream.slice();
        Box::pin(self.ask(slice, Frozen::Counts, move |source| source.table().blocks(stream.clone(), from, limit)))
    }
}
