//! Snapshots.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::SqlStore;
use super::dialect::Dialect;
use super::entity::snapshots::{ActiveModel, Column, Entity, Model};
use super::reader::signed;
use super::row::damaged;
use crate::event_store::port::{Snapshot, SnapshotInfo, StoreError, StreamId};

impl<D: Dialect> SqlStore<D> {
    pub(super) async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let Some(number) = self.number_of(&snapshot.stream).await? else {
            let reason = format!("{} has no events, so there is nothing to take a snapshot of", snapshot.stream);
            return Err(StoreError::Refused { index: 0, reason });
        };
        let row = ActiveModel {
            stream: Set(number),
            version: Set(signed(snapshot.version)),
            time_micros: Set(snapshot.time_micros),
            fingerprint: Set(snapshot.fingerprint.cast_signed()),
            codec: Set(i16::from(snapshot.codec)),
            payload: Set(snapshot.payload),
        };
        let replace = OnConflict::columns([Column::Stream, Column::Version])
            .update_columns([Column::TimeMicros, Column::Fingerprint, Column::Codec, Column::Payload])
            .to_owned();
        let kept = Entity::insert(row).on_conflict(replace).exec_without_returning(self.dialect.database()).await;
        kept.map(drop).map_err(|e| self.dialect.perhaps_done(&e))
    }

    pub(super) async fn newest_snapshot(&self, stream: StreamId, at_most: u64) -> Result<Option<Snapshot>, StoreError> {
        let Some(number) = self.number_of(&stream).await? else { return Ok(None) };
        let row = Entity::find()
            .filter(Column::Stream.eq(number))
            .filter(Column::Version.lte(signed(at_most)))
            .order_by_desc(Column::Version)
            .one(self.dialect.database())
            .await
            .map_err(|e| self.dialect.failed(&e))?;
        let Some(Model { version, time_micros, fingerprint, codec, payload, .. }) = row else { return Ok(None) };
        let (Ok(version), Ok(codec)) = (u64::try_from(version), u8::try_from(codec)) else {
            return Err(damaged(self.dialect.place(), format_args!("version or codec of a snapshot of {stream}")));
        };
        Ok(Some(Snapshot { stream, version, time_micros, fingerprint: fingerprint.cast_unsigned(), codec, payload }))
    }

    pub(super) async fn list_snapshots(&self, stream: StreamId) -> Result<Vec<SnapshotInfo>, StoreError> {
        let Some(number) = self.number_of(&stream).await? else { return Ok(Vec::new()) };
        let rows: Vec<(i64, i64, i64, i32)> = Entity::find()
            .select_only()
            .columns([Column::Version, Column::TimeMicros, Column::Fingerprint])
            .expr(Expr::cust("octet_length(payload)"))
            .filter(Column::Stream.eq(number))
            .order_by_desc(Column::Version)
            .into_tuple()
            .all(self.dialect.database())
            .await
            .map_err(|e| self.dialect.failed(&e))?;
        let info = |(version, time_micros, fingerprint, bytes): (i64, i64, i64, i32)| SnapshotInfo {
            version: version.cast_unsigned(),
            time_micros,
            fingerprint: fingerprint.cast_unsigned(),
            bytes: u64::from(bytes.cast_unsigned()),
        };
        Ok(rows.into_iter().map(info).collect())
    }

    pub(super) async fn remove_snapshots(&self, stream: StreamId, below: u64) -> Result<u64, StoreError> {
        let Some(number) = self.number_of(&stream).await? else { return Ok(0) };
        let removed = Entity::delete_many()
            .filter(Column::Stream.eq(number))
            .filter(Expr::col(Column::Version).lt(signed(below)))
            .exec(self.dialect.database())
            .await
            .map_err(|e| self.dialect.perhaps_done(&e))?;
        Ok(removed.rows_affected)
    }
}
