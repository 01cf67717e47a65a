//! Shares its slices with other databases.
//!
//! Every turn of a slice holds the row of a partition, as every append of rows does, and raises its number of moves: so
//! what is appended or copied under an older number is refused, and [`Turn::TakeAway`] holds all of them.

use std::collections::{BTreeMap, HashMap};

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DbErr, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};

use super::SqlStore;
use super::blocks::keep_block;
use super::database::Transaction;
use super::dialect::{Dialect, Failure, Insert, Inserted, Row};
use super::entity::{archive, away_slices, documents, events, partitions, slices, snapshots, streams};
use super::page::Page;
use super::reader::signed;
use super::row::{Rows, column, damaged};
use crate::domain::id::{AggregateId, SLICES, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{Archive, BlockInfo};
use crate::event_store::port::{Epoch, Partition, Record, Snapshot, StoreError, StreamId};
use crate::event_store::rules;
use crate::event_store::sources::port::{
    BlockKey, Document, Hold, Joined, MEMBER_DOCUMENT, Page as Behind, Rows as Copied, SLICES_DOCUMENT, SnapshotKey,
    Source, Tenure, Tenures, Turn,
};

/// The document whose version is raised by every turn.
const TENURES: &str = "tenures";
/// The partition whose row every turn and every copy holds: the one that appends touch least.
const LAST: Partition = Partition(SLICES - 1);
/// How often a copy is tried again that met a turn, or another copy.
const TRIES: usize = 5;
/// How many streams are asked for at once.
const STREAMS: usize = 1000;

const fn number_of_hold(hold: Hold) -> i16 {
    match hold {
        Hold::Held => 0,
        Hold::Leaving => 1,
        Hold::Away => 2,
        Hold::Incoming => 3,
    }
}

fn tenure(row: &slices::Model) -> Result<Tenure, String> {
    let hold = match row.hold {
        0 => Hold::Held,
        1 => Hold::Leaving,
        2 => Hold::Away,
        3 => Hold::Incoming,
        other => return Err(format!("slice {} is held as {other}, which means nothing", row.slice)),
    };
    Ok(Tenure { hold, since: row.since.cast_unsigned() })
}

/// The positions of a slice: from the first one to below the second one.
fn range(slice: Slice) -> (i64, i64) {
    let start = i64::from(slice.0) << rules::SEQUENCE_BITS;
    (start, start + (1 << rules::SEQUENCE_BITS))
}

impl<D: Dialect> SqlStore<D> {
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        self.db(self.dialect.database().begin().await)
    }

    /// Commits. An answer that is lost leaves it unknown whether anything has changed.
    pub(super) async fn end(&self, transaction: Transaction<'_>) -> Result<(), StoreError> {
        transaction.commit().await.map_err(|e| self.dialect.perhaps_done(&e))
    }

    pub(super) fn db<T>(&self, done: Result<T, DbErr>) -> Result<T, StoreError> {
        done.map_err(|e| self.dialect.failed(&e))
    }

    fn is_damaged(&self, what: impl std::fmt::Display) -> StoreError {
        damaged(self.dialect.place(), what)
    }

    /// What the database is to a slice, and stays until the transaction ends.
    async fn tenure_in(&self, transaction: &Transaction<'_>, slice: Slice) -> Result<Tenure, StoreError> {
        let row = slices::Entity::find_by_id(i32::from(slice.0)).lock_exclusive().one(transaction).await;
        let row = self.db(row)?.ok_or_else(|| self.is_damaged(format_args!("there is no row of slice {}", slice.0)))?;
        tenure(&row).map_err(|what| self.is_damaged(what))
    }

    /// Refuses to change bytes that are perhaps being copied, until the transaction ends.
    pub(super) async fn settled_in(&self, transaction: &Transaction<'_>, slice: Slice) -> Result<(), StoreError> {
        match self.tenure_in(transaction, slice).await?.hold {
            Hold::Held => Ok(()),
            _ => Err(StoreError::Unavailable(format!("slice {} is being moved, or was", slice.0))),
        }
    }

    pub(super) async fn document_in(
        &self,
        name: &str,
        transaction: &Transaction<'_>,
    ) -> Result<Option<Document>, StoreError> {
        let row = self.db(documents::Entity::find_by_id(name).one(transaction).await)?;
        Ok(row.map(|row| Document { version: row.version.cast_unsigned(), text: row.body }))
    }

    /// Waits for whoever changes documents or tenures, and keeps others from it.
    pub(super) async fn lock_documents(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let row = documents::Entity::find_by_id(TENURES).lock_exclusive().one(transaction).await;
        self.db(row)?.map(drop).ok_or_else(|| self.is_damaged("there is no row of its tenures"))
    }

    pub(super) async fn add_document(
        &self,
        name: &str,
        document: Document,
        transaction: &Transaction<'_>,
    ) -> Result<(), StoreError> {
        let version = signed(document.version);
        let row =
            documents::ActiveModel { name: Set(name.to_owned()), version: Set(version), body: Set(document.text) };
        self.db(documents::Entity::insert(row).exec_without_returning(transaction).await).map(drop)
    }

    async fn raise_tenures(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let raised = documents::Entity::update_many()
            .col_expr(documents::Column::Version, Expr::col(documents::Column::Version).add(1))
            .filter(documents::Column::Name.eq(TENURES))
            .exec(transaction)
            .await;
        self.db(raised).map(drop)
    }

    /// Waits for open appends of the partitions from this one on, and raises their numbers of moves.
    async fn raise_moves(&self, transaction: &Transaction<'_>, Partition(from): Partition) -> Result<(), StoreError> {
        let locked = partitions::Entity::find()
            .select_only()
            .column(partitions::Column::Partition)
            .filter(partitions::Column::Partition.gte(i32::from(from)))
            .order_by_asc(partitions::Column::Partition)
            .lock_exclusive()
            .into_tuple::<i32>()
            .all(transaction)
            .await;
        self.db(locked)?;
        let raised = partitions::Entity::update_many()
            .col_expr(partitions::Column::Moves, Expr::col(partitions::Column::Moves).add(1))
            .filter(partitions::Column::Partition.gte(i32::from(from)))
            .exec(transaction)
            .await;
        self.db(raised).map(drop)
    }

    async fn is_empty(&self, slice: Slice, transaction: &Transaction<'_>) -> Result<bool, StoreError> {
        let (start, end) = range(slice);
        let first = events::Entity::find()
            .select_only()
            .column(events::Column::Position)
            .filter(events::Column::Position.gte(start).and(events::Column::Position.lt(end)))
            .limit(1)
            .into_tuple::<i64>()
            .one(transaction)
            .await;
        Ok(self.db(first)?.is_none())
    }

    async fn put_document_now(&self, name: &str, document: Document) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        self.lock_documents(&transaction).await?;
        let known = self.document_in(name, &transaction).await?.map_or(0, |known| known.version);
        if known + 1 != document.version {
            return Ok(false);
        }
        if known == 0 {
            self.add_document(name, document, &transaction).await?;
        } else {
            let replaced = documents::Entity::update_many()
                .col_expr(documents::Column::Version, Expr::val(signed(document.version)))
                .col_expr(documents::Column::Body, Expr::val(document.text))
                .filter(documents::Column::Name.eq(name))
                .exec(&transaction)
                .await;
            self.db(replaced)?;
        }
        self.end(transaction).await?;
        Ok(true)
    }

    async fn join_now(&self, member: String) -> Result<Joined, StoreError> {
        let transaction = self.begin().await?;
        self.raise_moves(&transaction, Partition(0)).await?;
        self.lock_documents(&transaction).await?;
        if let Some(document) = self.document_in(MEMBER_DOCUMENT, &transaction).await? {
            return Ok(Joined::Before(document.text));
        }
        let event = events::Entity::find().select_only().column(events::Column::Position).limit(1);
        let event = self.db(event.into_tuple::<i64>().one(&transaction).await)?;
        let owned = partitions::Entity::find().filter(partitions::Column::Epoch.gt(0)).count(&transaction).await;
        let is_home = self.document_in(SLICES_DOCUMENT, &transaction).await?.is_some();
        if event.is_some() || self.db(owned)? > 0 || is_home {
            return Ok(Joined::InUse);
        }
        self.add_document(MEMBER_DOCUMENT, Document { version: 1, text: member }, &transaction).await?;
        let away = slices::Entity::update_many()
            .col_expr(slices::Column::Hold, Expr::val(number_of_hold(Hold::Away)))
            .exec(&transaction)
            .await;
        self.db(away)?;
        let all = (0..i32::from(SLICES)).map(|slice| away_slices::ActiveModel { slice: Set(slice) });
        self.db(away_slices::Entity::insert_many(all).exec_without_returning(&transaction).await)?;
        self.raise_tenures(&transaction).await?;
        self.end(transaction).await?;
        Ok(Joined::Now)
    }

    async fn adopt_now(&self, epochs: Vec<(Partition, Epoch)>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let wanted: BTreeMap<i32, Epoch> = epochs.iter().map(|(p, epoch)| (i32::from(p.0), *epoch)).collect();
        let rows = partitions::Entity::find()
            .filter(partitions::Column::Partition.is_in(wanted.keys().copied()))
            .order_by_asc(partitions::Column::Partition)
            .lock_exclusive()
            .all(&transaction)
            .await;
        for row in self.db(rows)? {
            let Some(given) = wanted.get(&row.partition).copied() else { continue };
            let current = Epoch(row.epoch.cast_unsigned());
            if current > given {
                let partition = Partition(u16::try_from(row.partition).unwrap_or(u16::MAX));
                return Err(StoreError::Fenced { partition, current, given });
            }
            let raised = partitions::Entity::update_many()
                .col_expr(partitions::Column::Epoch, Expr::val(given.0.cast_signed()))
                .filter(partitions::Column::Partition.eq(row.partition))
                .exec(&transaction)
                .await;
            self.db(raised)?;
        }
        self.end(transaction).await?;
        // what another owner did before is not known here
        self.known().forget_all();
        Ok(())
    }

    async fn fence_now(&self) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // in their order, as whoever appends locks them
        let locked = partitions::Entity::find()
            .select_only()
            .column(partitions::Column::Partition)
            .filter(partitions::Column::Epoch.gt(0))
            .order_by_asc(partitions::Column::Partition)
            .lock_exclusive()
            .into_tuple::<i32>()
            .all(&transaction)
            .await;
        let owned = self.db(locked)?;
        let raised = partitions::Entity::update_many()
            .col_expr(partitions::Column::Epoch, Expr::col(partitions::Column::Epoch).add(1))
            .filter(partitions::Column::Partition.is_in(owned))
            .exec(&transaction)
            .await;
        self.db(raised)?;
        self.end(transaction).await
    }

    pub(super) async fn tenures_now(&self, known: Option<u64>) -> Result<Option<Tenures>, StoreError> {
        // the version first: the rows are as new, or newer, and then the next question finds another version
        let version = documents::Entity::find_by_id(TENURES)
            .select_only()
            .column(documents::Column::Version)
            .into_tuple::<i64>()
            .one(self.dialect.database())
            .await;
        let version = self.db(version)?.map_or(0, i64::cast_unsigned);
        if known == Some(version) {
            return Ok(None);
        }
        let rows = slices::Entity::find()
            .filter(slices::Column::Hold.ne(0).or(slices::Column::Since.ne(0)))
            .all(self.dialect.database())
            .await;
        let mut of = BTreeMap::new();
        for row in self.db(rows)? {
            let slice = Slice(u16::try_from(row.slice).unwrap_or(u16::MAX));
            of.insert(slice, tenure(&row).map_err(|what| self.is_damaged(what))?);
        }
        Ok(Some(Tenures { version, of }))
    }

    async fn turn_now(&self, slice: Slice, turn: Turn, number: u64) -> Result<Tenure, StoreError> {
        let transaction = self.begin().await?;
        let from = if turn == Turn::TakeAway { Partition(0) } else { LAST };
        self.raise_moves(&transaction, from).await?;
        let before = self.tenure_in(&transaction, slice).await?;
        let empty = turn != Turn::Receive || self.is_empty(slice, &transaction).await?;
        let after = before.after(turn, number, empty);
        if after == before {
            return Ok(before);
        }
        let taken = slices::Entity::update_many()
            .col_expr(slices::Column::Hold, Expr::val(number_of_hold(after.hold)))
            .col_expr(slices::Column::Since, Expr::val(signed(after.since)))
            .filter(slices::Column::Slice.eq(i32::from(slice.0)))
            .exec(&transaction)
            .await;
        self.db(taken)?;
        if before.appends() && !after.appends() {
            let away = away_slices::ActiveModel { slice: Set(i32::from(slice.0)) };
            self.db(away_slices::Entity::insert(away).exec_without_returning(&transaction).await)?;
        } else if after.appends() && !before.appends() {
            self.db(away_slices::Entity::delete_by_id(i32::from(slice.0)).exec(&transaction).await)?;
        }
        self.raise_tenures(&transaction).await?;
        self.end(transaction).await?;
        Ok(after)
    }

    async fn copy_out_now(&self, slice: Slice, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let Some(position) = rules::position(slice, after) else { return Ok(Vec::new()) };
        let rows = self.dialect.page_after(&[position], signed(limit as u64), &mut Page::default()).await?;
        let mut read = Rows::new(self.dialect.place());
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            let stream = read.stream(row, column::OWN)?;
            let (slice, sequence) = read.place(row)?;
            let time_micros = read.number(row, column::TIME_MICROS)?;
            let command = read.command(row)?;
            let event = read.event(row, stream.clone())?.map(|stored| stored.event);
            records.push(Record { stream, slice, sequence, time_micros, event, command });
        }
        Ok(records)
    }

    /// The numbers of streams that are there.
    async fn numbers<'a>(&self, wanted: Vec<&'a StreamId>) -> Result<HashMap<&'a StreamId, i64>, StoreError> {
        let mut numbers = HashMap::new();
        for (index, found) in self.dialect.streams(&wanted).await? {
            if let (Some(stream), Some(number)) = (wanted.get(index), found.number) {
                numbers.insert(*stream, number);
            }
        }
        Ok(numbers)
    }

    async fn copy_in_now(&self, slice: Slice, number: u64, rows: Copied) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let connections = self.dialect.connections();
            let held = self.dialect.held(&[LAST]).await?;
            // after the number of moves: a turn that comes later raises it
            if !self.tenures_now(None).await?.unwrap_or_default().of(slice).receives(number) {
                return Err(StoreError::Moved(vec![slice]));
            }
            let last = self.last(&[slice]).await?.get(&slice).copied().unwrap_or(0);
            let new: Vec<&Record> = rows.records.iter().filter(|record| record.sequence > last).collect();
            if new.iter().zip(last + 1..).any(|(record, expected)| record.sequence != expected) {
                let what = format_args!("copied rows of slice {} leave a gap behind {last}", slice.0);
                return Err(self.is_damaged(what));
            }
            if new.is_empty() {
                self.copy_snapshots(rows.snapshots).await?;
                return self.copy_blocks(slice, number, rows.blocks).await;
            }
            let numbers = self.numbers(distinct(new.iter().map(|record| &record.stream))).await?;
            let mut insert = prepare(&new, numbers)?;
            insert.fence = held;
            insert.connections = connections;
            match self.dialect.insert(&insert).await {
                Ok(Inserted::Done) => {
                    self.copy_snapshots(rows.snapshots).await?;
                    return self.copy_blocks(slice, number, rows.blocks).await;
                }
                // a turn, another server, or another copy of the same rows
                Ok(Inserted::NotHeld | Inserted::OtherServer) | Err(Failure::Taken) => {}
                Err(Failure::Store(error)) => return Err(error),
            }
        }
        Err(StoreError::Unavailable(format!(
            "slice {} was written {TRIES} times while rows of it were copied",
            slice.0
        )))
    }

    /// A stream's number is the same everywhere, so a snapshot is right whenever it comes.
    async fn copy_snapshots(&self, snapshots: Vec<Snapshot>) -> Result<(), StoreError> {
        let there = self.numbers(distinct(snapshots.iter().map(|snapshot| &snapshot.stream))).await?;
        let known: Vec<StreamId> = there.into_keys().cloned().collect();
        for snapshot in snapshots.into_iter().filter(|snapshot| known.contains(&snapshot.stream)) {
            self.keep_snapshot(snapshot).await?;
        }
        Ok(())
    }

    async fn copy_blocks(&self, slice: Slice, number: u64, blocks: Vec<(BlockKey, Vec<u8>)>) -> Result<(), StoreError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let numbers = self.numbers(distinct(blocks.iter().map(|(key, _)| &key.stream))).await?;
        let transaction = self.begin().await?;
        if !self.tenure_in(&transaction, slice).await?.receives(number) {
            return Err(StoreError::Moved(vec![slice]));
        }
        for (BlockKey { stream, info }, bytes) in &blocks {
            let number = numbers.get(stream).copied();
            let number = number.ok_or_else(|| self.is_damaged(format_args!("a block of {stream} came before it")))?;
            self.db(keep_block(number, *info, bytes.clone()).exec_without_returning(&transaction).await)?;
        }
        self.end(transaction).await
    }

    async fn block_keys_now(&self, slice: Slice) -> Result<Vec<BlockKey>, StoreError> {
        let (start, end) = range(slice);
        let rows: Vec<(i64, i64, i64)> = self.db(archive::Entity::find()
            .select_only()
            .columns([archive::Column::Stream, archive::Column::ToVersion, archive::Column::FromVersion])
            .filter(archive::Column::Stream.gte(start).and(archive::Column::Stream.lt(end)))
            .order_by_asc(archive::Column::Stream)
            .into_tuple()
            .all(self.dialect.database())
            .await)?;
        let named = self.named(&rows, |(stream, ..)| *stream).await?;
        let key = |(stream, (_, to, from)): (StreamId, &(i64, i64, i64))| {
            let info = BlockInfo { to: to.cast_unsigned(), from: from.cast_unsigned() };
            BlockKey { stream, info }
        };
        Ok(named.into_iter().map(key).collect())
    }

    /// Rows with the names of their streams; those of streams that are gone are left out.
    async fn named<'a, R>(
        &self,
        rows: &'a [R],
        number: impl Fn(&R) -> i64,
    ) -> Result<Vec<(StreamId, &'a R)>, StoreError> {
        let mut named = Vec::with_capacity(rows.len());
        for part in rows.chunks(STREAMS) {
            let wanted = part.iter().map(&number);
            let streams = streams::Entity::find().filter(streams::Column::Stream.is_in(wanted));
            let streams = self.db(streams.all(self.dialect.database()).await)?;
            let streams: HashMap<i64, &streams::Model> = streams.iter().map(|row| (row.stream, row)).collect();
            for row in part {
                let Some(stream) = streams.get(&number(row)) else { continue };
                let id = AggregateId::new(&stream.id).map_err(|e| self.is_damaged(e))?;
                named.push((StreamId { aggregate: stream.aggregate.as_str().into(), id }, row));
            }
        }
        Ok(named)
    }

    async fn snapshot_keys_now(&self, slice: Slice) -> Result<Vec<SnapshotKey>, StoreError> {
        let (start, end) = range(slice);
        let rows: Vec<(i64, i64, i64)> = self.db(snapshots::Entity::find()
            .select_only()
            .columns([snapshots::Column::Stream, snapshots::Column::Version, snapshots::Column::Fingerprint])
            .filter(snapshots::Column::Stream.gte(start).and(snapshots::Column::Stream.lt(end)))
            .order_by_asc(snapshots::Column::Stream)
            .into_tuple()
            .all(self.dialect.database())
            .await)?;
        let named = self.named(&rows, |(stream, ..)| *stream).await?;
        let key = |(stream, (_, version, fingerprint)): (StreamId, &(i64, i64, i64))| {
            let (version, fingerprint) = (version.cast_unsigned(), fingerprint.cast_unsigned());
            SnapshotKey { stream, version, fingerprint }
        };
        Ok(named.into_iter().map(key).collect())
    }

    async fn purge_now(&self, slice: Slice, number: u64, limit: usize) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        if !self.tenure_in(&transaction, slice).await?.purges(number) {
            return Err(StoreError::Moved(vec![slice]));
        }
        let (start, end) = range(slice);
        // the newest rows first, so that what is left is a beginning
        let newest: Vec<i64> = self.db(events::Entity::find()
            .select_only()
            .column(events::Column::Position)
            .filter(events::Column::Position.gte(start).and(events::Column::Position.lt(end)))
            .order_by_desc(events::Column::Position)
            .limit(limit as u64)
            .into_tuple()
            .all(&transaction)
            .await)?;
        let from = if newest.len() < limit { start } else { newest.last().copied().unwrap_or(start) };
        let events = events::Column::Position.gte(from).and(events::Column::Position.lt(end));
        self.db(events::Entity::delete_many().filter(events).exec(&transaction).await)?;
        // a stream has the number of its first record
        let begun = streams::Column::Stream.gte(from).and(streams::Column::Stream.lt(end));
        self.db(streams::Entity::delete_many().filter(begun).exec(&transaction).await)?;
        let kept = snapshots::Column::Stream.gte(from).and(snapshots::Column::Stream.lt(end));
        self.db(snapshots::Entity::delete_many().filter(kept).exec(&transaction).await)?;
        let blocks = archive::Column::Stream.gte(from).and(archive::Column::Stream.lt(end));
        self.db(archive::Entity::delete_many().filter(blocks).exec(&transaction).await)?;
        self.end(transaction).await?;
        self.known().forget_all();
        Ok(from > start)
    }
}

fn distinct<'a>(streams: impl Iterator<Item = &'a StreamId>) -> Vec<&'a StreamId> {
    let mut all: Vec<_> = streams.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Everything that is to be inserted but the fence.
fn prepare<'a>(records: &[&'a Record], mut numbers: HashMap<&'a StreamId, i64>) -> Result<Insert<'a>, StoreError> {
    let mut insert = Insert::default();
    for (index, record) in records.iter().copied().enumerate() {
        let refused = |reason: &str| StoreError::Refused { index, reason: reason.to_owned() };
        let position =
            rules::position(record.slice, record.sequence).ok_or_else(|| refused("its number is no position"))?;
        let stream = *numbers.entry(&record.stream).or_insert_with(|| {
            insert.streams.push((position, &record.stream));
            position
        });
        let version = record.event.as_ref().map(|event| i64::try_from(event.version)).transpose();
        let version = version.map_err(|_| refused("its version is too large"))?;
        insert.names.extend(record.event.as_ref().map(|event| (&*record.stream.aggregate, &*event.name)));
        insert.rows.push(Row { position, stream, version, index, record });
    }
    insert.names.sort_unstable();
    insert.names.dedup();
    Ok(insert)
}

impl<D: Dialect> Source for SqlStore<D> {
    fn table(&self) -> &dyn Archive {
        self
    }

    fn document(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Document>, StoreError>> {
        Box::pin(async move {
            let row = self.db(documents::Entity::find_by_id(name).one(self.dialect.database()).await)?;
            Ok(row.map(|row| Document { version: row.version.cast_unsigned(), text: row.body }))
        })
    }

    fn put_document(&self, name: &'static str, document: Document) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.put_document_now(name, document))
    }

    fn join(&self, member: String) -> BoxFuture<'_, Result<Joined, StoreError>> {
        Box::pin(self.join_now(member))
    }

    fn adopt(&self, epochs: Vec<(Partition, Epoch)>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.adopt_now(epochs))
    }

    fn fence(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.fence_now())
    }

    fn tenures(&self, known: Option<u64>) -> BoxFuture<'_, Result<Option<Tenures>, StoreError>> {
        Box::pin(self.tenures_now(known))
    }

    fn turn(&self, slice: Slice, turn: Turn, number: u64) -> BoxFuture<'_, Result<Tenure, StoreError>> {
        Box::pin(self.turn_now(slice, turn, number))
    }

    fn read_slices(&self, behind: Vec<(Slice, u64)>, limit: usize) -> BoxFuture<'_, Result<Behind, StoreError>> {
        Box::pin(self.events_behind(behind, limit))
    }

    fn copy_out(&self, slice: Slice, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(self.copy_out_now(slice, after, limit))
    }

    fn snapshot_keys(&self, slice: Slice) -> BoxFuture<'_, Result<Vec<SnapshotKey>, StoreError>> {
        Box::pin(self.snapshot_keys_now(slice))
    }

    fn block_keys(&self, slice: Slice) -> BoxFuture<'_, Result<Vec<BlockKey>, StoreError>> {
        Box::pin(self.block_keys_now(slice))
    }

    fn copy_in(&self, slice: Slice, number: u64, rows: Copied) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.copy_in_now(slice, number, rows))
    }

    fn purge(&self, slice: Slice, number: u64, limit: usize) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.purge_now(slice, number, limit))
    }
}
