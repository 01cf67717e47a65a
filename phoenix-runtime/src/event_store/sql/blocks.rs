//! An archive that is a table of the same database, and has a stream's number for its name as the events have.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, Insert, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::SqlStore;
use super::dialect::Dialect;
use super::entity::archive::{ActiveModel, Column, Entity};
use super::reader::signed;
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{Archive, BlockInfo};
use crate::event_store::port::{StoreError, StreamId};
use crate::event_store::sources::Source;

/// A store that is an archive as well, and may be one of several sources.
pub trait StoreWithTable: Source + Archive {}

impl<S: Source + Archive> StoreWithTable for S {}

/// Keeps a block, in the place of one with the same key.
pub(super) fn keep_block(number: i64, block: BlockInfo, bytes: Vec<u8>) -> Insert<ActiveModel> {
    let row = ActiveModel {
        stream: Set(number),
        to_version: Set(signed(block.to)),
        from_version: Set(signed(block.from)),
        block: Set(bytes),
    };
    let replace = OnConflict::columns([Column::Stream, Column::ToVersion, Column::FromVersion])
        .update_column(Column::Block)
        .to_owned();
    Entity::insert(row).on_conflict(replace)
}

impl<D: Dialect> Archive for SqlStore<D> {
    fn name(&self) -> String {
        "table `archive`".to_owned()
    }

    fn is_durable(&self) -> bool {
        self.dialect.is_durable()
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        let BlockInfo { to, from } = block;
        let place = self.dialect.place();
        format!("the row with to_version {to} and from_version {from} of its table `archive` for {stream} in {place}")
    }

    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(number) = self.number_of(&stream).await? else {
                let reason = format!("{stream} has no events, so there is nothing of it to archive");
                return Err(StoreError::Refused { index: 0, reason });
            };
            let transaction = self.begin().await?;
            self.settled_in(&transaction, stream.slice()).await?;
            self.db(keep_block(number, block, bytes).exec_without_returning(&transaction).await)?;
            self.end(transaction).await
        })
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            let Some(number) = self.number_of(&stream).await? else { return Ok(None) };
            let key = (number, signed(block.to), signed(block.from));
            let row = Entity::find_by_id(key).one(self.dialect.database()).await;
            Ok(row.map_err(|e| self.dialect.failed(&e))?.map(|row| row.block))
        })
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        Box::pin(async move {
            let Some(number) = self.number_of(&stream).await? else { return Ok(Vec::new()) };
            let rows: Vec<(i64, i64)> = Entity::find()
                .select_only()
                .columns([Column::ToVersion, Column::FromVersion])
                .filter(Column::Stream.eq(number))
                .filter(Column::ToVersion.gte(signed(from)))
                .order_by_asc(Column::ToVersion)
                .order_by_asc(Column::FromVersion)
                .limit(limit as u64 & i64::MAX.cast_unsigned())
                .into_tuple()
                .all(self.dialect.database())
                .await
                .map_err(|e| self.dialect.failed(&e))?;
            let info = |(to, from): (i64, i64)| BlockInfo { to: to.cast_unsigned(), from: from.cast_unsigned() };
            Ok(rows.into_iter().map(info).collect())
        })
    }
}
