//! An archive that is a table beside the events: one file to keep and to copy, where it need not become smaller.

use std::future::ready;

use rusqlite::{Connection, params};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::SqliteStore;
use super::entity::archive;
use super::reader::{SqliteReader, signed};
use super::writer::Job;
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{Archive, BlockInfo};
use crate::event_store::port::{StoreError, StreamId};

const PUT_BLOCK: &str = "INSERT OR REPLACE INTO archive (aggregate, id, to_version, from_version, block) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

/// Keeps a block; one of the same versions is replaced.
pub(super) fn put_block(db: &Connection, stream: &StreamId, block: BlockInfo, bytes: &[u8]) -> rusqlite::Result<()> {
    let BlockInfo { to, from } = block;
    let row = params![&*stream.aggregate, stream.id.as_str(), signed(to), signed(from), bytes];
    db.prepare_cached(PUT_BLOCK)?.execute(row).map(drop)
}

/// The table `archive` of the same file.
impl Archive for SqliteStore {
    fn name(&self) -> String {
        "table `archive`".to_owned()
    }

    fn is_durable(&self) -> bool {
        crate::event_store::EventStore::is_durable(self)
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        self.reader().place(stream, block)
    }

    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.send(|reply| Job::PutBlock(stream, block, bytes, reply))
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Archive::get(self.reader(), stream, block)
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        Archive::blocks(self.reader(), stream, from, limit)
    }
}

/// The same table, for those who only read.
impl Archive for SqliteReader {
    fn name(&self) -> String {
        "table `archive`".to_owned()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        let path = self.path().display();
        format!(
            "the row ({}, {}, {}, {}) of its table `archive` in `{path}`",
            stream.aggregate, stream.id, block.to, block.from
        )
    }

    fn put(&self, _: StreamId, _: BlockInfo, _: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(Err(self.only_reads())))
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        let key = (stream.aggregate.to_string(), stream.id.to_string(), signed(block.to), signed(block.from));
        Box::pin(async move {
            let row = archive::Entity::find_by_id(key).one(self.db()).await.map_err(self.failed())?;
            Ok(row.map(|row| row.block))
        })
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        let question = archive::Entity::find()
            .select_only()
            .columns([archive::Column::ToVersion, archive::Column::FromVersion])
            .filter(archive::Column::Aggregate.eq(&*stream.aggregate))
            .filter(archive::Column::Id.eq(stream.id.as_str()))
            .filter(archive::Column::ToVersion.gte(signed(from)))
            .order_by_asc(archive::Column::ToVersion)
            .order_by_asc(archive::Column::FromVersion)
            .limit(limit as u64 & i64::MAX.cast_unsigned());
        Box::pin(async move {
            let rows: Vec<(i64, i64)> = question.into_tuple().all(self.db()).await.map_err(self.failed())?;
            Ok(rows
                .into_iter()
                .map(|(to, from)| BlockInfo { to: to.cast_unsigned(), from: from.cast_unsigned() })
                .collect())
        })
    }
}
