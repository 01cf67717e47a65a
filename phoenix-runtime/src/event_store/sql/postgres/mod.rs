//! PostgreSQL.
//!
//! # Layout
//! - `connect`: the address and the options, waiting for a database that is down, the session's settings
//! - `migration`, `statements`, `cells`, `error`: schema, statements, rows, what errors mean
//! - `letters`: the statements of the inbox

mod cells;
mod connect;
mod error;
mod letters;
mod migration;
mod statements;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sea_orm::DbErr;
use sea_orm::sqlx::postgres::{PgArguments, PgBindIterExt as _, PgConnection, PgRow};
use sea_orm::sqlx::{self, Postgres, query};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::connections::{Connections, Lease, Made};
use super::database::{self, Database};
use super::dialect::{Dialect, Failure, Held, Insert, Inserted, Part};
use super::known::Stream;
use super::page::{Page, size};
use super::row::{Cells as _, Rows, column};
use super::{DatabaseOpenError, DatabaseOptions, DatabaseUrl, SqlStore, StoreWithTable};
use crate::domain::id::{Dedup, Slice};
use crate::event_store::letters::{InboxKey, Sealed};
use crate::event_store::port::{Epoch, Load, Partition, StoreError, StreamId};

/// Opens a store, and waits for a database that is down. Its schema is brought up to date.
///
/// # Errors
/// Options that make no sense, a database that refuses, a schema of a newer release.
pub async fn open(url: &DatabaseUrl, options: &DatabaseOptions) -> Result<Arc<dyn StoreWithTable>, DatabaseOpenError> {
    let database = connect::open(url, options).await?;
    Ok(Arc::new(SqlStore::new(database, options)))
}

/// Opens a store to look at it, while perhaps a service owns it: nothing waits, and the schema is left as it is.
///
/// # Errors
/// As [`open`]; also a database that can't be reached, and an older schema.
pub async fn open_to_read(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
) -> Result<Arc<dyn StoreWithTable>, DatabaseOpenError> {
    let database = connect::open_to_read(url, options).await?;
    Ok(Arc::new(SqlStore::new(database, options)))
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// A PostgreSQL database.
struct PostgresDatabase {
    place: String,
    /// Version and durability.
    name: String,
    durable: bool,
    database: Database,
    made: Made,
    writers: Connections<PgConnection>,
    readers: Connections<PgConnection>,
    /// How long an answer is waited for: a little longer than the server works on it.
    answer_timeout: Duration,
}

impl fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresDatabase").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresDatabase {
    /// The rows of a statement that only reads. A connection that was lost while nobody used it costs one more try.
    async fn rows<'q>(&self, ask: impl Fn() -> Query<'q> + Send) -> Result<Vec<PgRow>, StoreError> {
        self.rows_of(ask, &mut Page::default(), |_, _| Ok(true)).await
    }

    /// The rows of a statement that only reads, as far as there is room for them.
    async fn rows_of<'q>(
        &self,
        ask: impl Fn() -> Query<'q> + Send,
        page: &mut Page,
        takes: impl Fn(&mut Page, &PgRow) -> Result<bool, sqlx::Error> + Send + Sync,
    ) -> Result<Vec<PgRow>, StoreError> {
        let before = page.clone();
        let failed = |error: &sqlx::Error| error::read_failed(&self.place, error);
        let mut first = true;
        loop {
            let mut lease = self.readers.take().await.map_err(|e| failed(&e))?;
            let answer = async {
                let (mut answer, mut rows) = (ask().fetch(&mut lease.connection), Vec::new());
                while !page.is_over()
                    && let Some(row) = answer.try_next().await?
                {
                    if takes(page, &row)? {
                        rows.push(row);
                    }
                }
                Ok(rows)
            };
            match timeout(self.answer_timeout, answer).await {
                Ok(Ok(rows)) => {
                    // what is not heard to its end goes with its connection
                    if !page.is_over() {
                        lease.keep();
                    }
                    return Ok(rows);
                }
                Ok(Err(error)) if error::is_lost(&error) => {
                    self.readers.discard_idle();
                    if !first {
                        return Err(failed(&error));
                    }
                    first = false;
                    *page = before.clone();
                }
                Ok(Err(error)) => {
                    // where a row could not be read there are others behind it
                    if error.as_database_error().is_some() {
                        lease.keep();
                    }
                    return Err(failed(&error));
                }
                Err(_) => return Err(failed(&database::silence(self.answer_timeout))),
            }
        }
    }

    /// What the answer to a statement that writes means. sqlx tells the end of a statement when the server is ready for
    /// the next one, which is after the commit.
    fn written<T>(
        &self,
        lease: Lease<'_, PgConnection>,
        answer: Result<Result<T, sqlx::Error>, Elapsed>,
        largest: usize,
    ) -> Result<T, Failure> {
        match answer {
            Ok(Ok(done)) => {
                lease.keep();
                Ok(done)
            }
            Ok(Err(error)) => {
                if error::is_lost(&error) {
                    self.writers.discard_idle();
                } else {
                    lease.keep();
                }
                Err(error::write_failed(&self.place, &error, largest))
            }
            Err(_) => {
                let silence = database::silence(self.answer_timeout);
                Err(error::write_failed(&self.place, &silence, largest))
            }
        }
    }

    async fn writer(&self) -> Result<Lease<'_, PgConnection>, StoreError> {
        self.writers.take().await.map_err(|e| error::read_failed(&self.place, &e))
    }

    fn held(&self, rows: &[PgRow]) -> Result<Vec<Held>, StoreError> {
        let read = Rows::new(&self.place);
        let held = |row: &PgRow| {
            let partition = u16::try_from(read.number(row, 0)?).unwrap_or(u16::MAX);
            let epoch = Epoch(read.number(row, 1)?.cast_unsigned());
            Ok(Held { partition: Partition(partition), epoch, moves: read.number(row, 2)? })
        };
        rows.iter().map(held).collect()
    }

    /// The number of the question in the first column.
    fn question(&self, row: &PgRow) -> Result<usize, StoreError> {
        Ok(usize::try_from(Rows::new(&self.place).number(row, 0)?).unwrap_or(usize::MAX))
    }
}

fn numbers(partitions: impl Iterator<Item = Partition>) -> impl Iterator<Item = i32> {
    partitions.map(|Partition(partition)| i32::from(partition))
}

/// The statement that appends, with its values.
fn append<'q>(insert: &Insert<'_>) -> Query<'q> {
    let Insert { fence, names, streams, rows, connections: _ } = insert;
    let events = || rows.iter().map(|row| row.record.event.as_ref());
    let commands = || rows.iter().map(|row| row.record.command.as_deref());
    let outcomes = || commands().map(|command| command.map(|command| &command.outcome));
    query(statements::APPEND)
        .bind(numbers(fence.iter().map(|held| held.partition)).bind_iter())
        .bind(fence.iter().map(|held| held.epoch.0.cast_signed()).bind_iter())
        .bind(fence.iter().map(|held| held.moves).bind_iter())
        .bind(names.iter().map(|(aggregate, _)| *aggregate).bind_iter())
        .bind(names.iter().map(|(_, name)| *name).bind_iter())
        .bind(streams.iter().map(|(number, _)| *number).bind_iter())
        .bind(streams.iter().map(|(_, stream)| &*stream.aggregate).bind_iter())
        .bind(streams.iter().map(|(_, stream)| stream.id.as_str()).bind_iter())
        .bind(rows.iter().map(|row| row.position).bind_iter())
        .bind(rows.iter().map(|row| row.stream).bind_iter())
        .bind(rows.iter().map(|row| row.version).bind_iter())
        .bind(commands().map(|c| c.map(|c| c.dedup.short().cast_signed())).bind_iter())
        .bind(rows.iter().map(|row| row.record.time_micros).bind_iter())
        .bind(commands().map(|c| c.map(|c| c.payload_hash.cast_signed())).bind_iter())
        .bind(outcomes().map(|o| o.map(|o| o.version.cast_signed())).bind_iter())
        .bind(events().map(|e| e.map(|e| e.schema_version.cast_signed())).bind_iter())
        .bind(events().map(|e| e.map(|e| i16::from(e.codec))).bind_iter())
        .bind(outcomes().map(|o| o.map(|o| o.kind as i16)).bind_iter())
        .bind(outcomes().map(|o| o.map(|o| i16::from(o.codec))).bind_iter())
        .bind(commands().map(|c| c.map(|c| &c.dedup.0[..])).bind_iter())
        .bind(commands().map(|c| c.map(|c| &c.id.0.as_bytes()[..])).bind_iter())
        .bind(events().map(|e| e.map(|e| &*e.name)).bind_iter())
        .bind(commands().map(|c| c.map(|c| &*c.name)).bind_iter())
        .bind(commands().map(|c| c.and_then(|c| c.key.as_deref())).bind_iter())
        .bind(commands().map(|c| c.and_then(|c| c.correlation_id.as_deref())).bind_iter())
        .bind(commands().map(|c| c.and_then(|c| c.causation_id.as_deref())).bind_iter())
        .bind(outcomes().map(|o| o.map(|o| &o.body[..])).bind_iter())
        .bind(events().map(|e| e.map(|e| &e.payload[..])).bind_iter())
}

impl Dialect for PostgresDatabase {
    type Row = PgRow;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_durable(&self) -> bool {
        self.durable
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn database(&self) -> &Database {
        &self.database
    }

    fn failed(&self, error: &DbErr) -> StoreError {
        error::database_failed(&self.place, error)
    }

    fn perhaps_done(&self, error: &DbErr) -> StoreError {
        error::perhaps_done(&self.place, error)
    }

    fn connections(&self) -> u64 {
        self.made.count()
    }

    async fn raise(&self, partitions: &[Partition]) -> Result<Vec<Held>, StoreError> {
        let mut lease = self.writer().await?;
        let raise = query(statements::RAISE).bind(numbers(partitions.iter().copied()).bind_iter());
        let answer = timeout(self.answer_timeout, raise.fetch_all(&mut lease.connection)).await;
        match self.written(lease, answer, 0) {
            Ok(rows) => self.held(&rows),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Taken) => Err(StoreError::Unavailable("a partition is there twice".to_owned())),
        }
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<Inserted, Failure> {
        let mut lease = self.writer().await?;
        if insert.connections != self.made.count() {
            lease.keep();
            return Ok(Inserted::OtherServer);
        }
        let answer = timeout(self.answer_timeout, append(insert).execute(&mut lease.connection)).await;
        match self.written(lease, answer, insert.largest())?.rows_affected() {
            0 => Ok(Inserted::NotHeld),
            inserted if inserted == insert.rows.len() as u64 => Ok(Inserted::Done),
            inserted => {
                let what = format!("{inserted} of {} rows were inserted; is there a trigger?", insert.rows.len());
                Err(Failure::Store(super::row::damaged(&self.place, what)))
            }
        }
    }

    /// A commit is seen once it is durable.
    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn held(&self, partitions: &[Partition]) -> Result<Vec<Held>, StoreError> {
        let rows = self.rows(|| query(statements::HELD).bind(numbers(partitions.iter().copied()).bind_iter())).await?;
        self.held(&rows)
    }

    async fn streams(&self, streams: &[&StreamId]) -> Result<Vec<(usize, Stream)>, StoreError> {
        let ask = || {
            query(statements::STREAMS)
                .bind(streams.iter().map(|stream| &*stream.aggregate).bind_iter())
                .bind(streams.iter().map(|stream| stream.id.as_str()).bind_iter())
        };
        let read = Rows::new(&self.place);
        let found = |row: &PgRow| {
            let version = read.number(row, 2)?.cast_unsigned();
            Ok((self.question(row)?, Stream { number: Some(read.number(row, 1)?), version }))
        };
        self.rows(ask).await?.iter().map(found).collect()
    }

    async fn keys(&self, keys: &[(i64, i64)]) -> Result<Vec<(usize, Dedup)>, StoreError> {
        let ask = || {
            query(statements::KEYS)
                .bind(keys.iter().map(|(stream, _)| *stream).bind_iter())
                .bind(keys.iter().map(|(_, short)| *short).bind_iter())
        };
        let read = Rows::new(&self.place);
        let found = |row: &PgRow| {
            let dedup = read.bytes(row, 1)?.try_into().map_err(|_| super::row::damaged(&self.place, "a key"))?;
            Ok((self.question(row)?, Dedup(dedup)))
        };
        self.rows(ask).await?.iter().map(found).collect()
    }

    async fn last_positions(&self, slices: &[Slice]) -> Result<Vec<i64>, StoreError> {
        let ask = || query(statements::LAST_POSITIONS).bind(slices.iter().map(|slice| i64::from(slice.0)).bind_iter());
        let position = |row: &PgRow| row.number(0).map_err(|e| error::read_failed(&self.place, &e)).transpose();
        self.rows(ask).await?.iter().filter_map(position).collect()
    }

    async fn stream_page(
        &self,
        stream: &StreamId,
        from: i64,
        limit: i64,
        page: &mut Page,
    ) -> Result<Vec<PgRow>, StoreError> {
        let ask =
            || query(statements::STREAM_PAGE).bind(&*stream.aggregate).bind(stream.id.as_str()).bind(from).bind(limit);
        self.rows_of(ask, page, Page::takes_record).await
    }

    async fn page_after(&self, positions: &[i64], limit: i64, page: &mut Page) -> Result<Vec<PgRow>, StoreError> {
        let ask = || query(statements::PAGE_AFTER).bind(positions).bind(limit);
        self.rows_of(ask, page, Page::takes_record).await
    }

    async fn commands(&self, commands: &[(StreamId, Dedup)]) -> Result<Vec<PgRow>, StoreError> {
        let ask = || {
            query(statements::COMMANDS)
                .bind(commands.iter().map(|(stream, _)| &*stream.aggregate).bind_iter())
                .bind(commands.iter().map(|(stream, _)| stream.id.as_str()).bind_iter())
                .bind(commands.iter().map(|(_, dedup)| dedup.short().cast_signed()).bind_iter())
        };
        self.rows(ask).await
    }

    async fn load(&self, loads: &[Load], page: &mut Page) -> Result<Vec<PgRow>, StoreError> {
        let at_most = |number: usize| i64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let ask = || {
            query(statements::LOAD)
                .bind(loads.iter().map(|load| &*load.stream.aggregate).bind_iter())
                .bind(loads.iter().map(|load| load.stream.id.as_str()).bind_iter())
                .bind(loads.iter().map(|load| load.fingerprint.map(u64::cast_signed)).bind_iter())
                .bind(loads.iter().map(|load| at_most(load.keys)).bind_iter())
                .bind(loads.iter().map(|load| at_most(load.events)).bind_iter())
        };
        let takes = |page: &mut Page, row: &PgRow| {
            let part = row.number(column::OWN + 1)?.and_then(Part::from_number).unwrap_or(Part::Keys);
            Ok(page.takes(part, row.number(column::OWN)?.unwrap_or(i64::MAX), size(row)?))
        };
        self.rows_of(ask, page, takes).await
    }

    async fn put_rows(&self, rows: &[Sealed<Vec<u8>>]) -> Result<(), StoreError> {
        self.put_inbox(rows).await
    }

    async fn note_tries(&self, keys: &[InboxKey], due_micros: i64) -> Result<(), StoreError> {
        self.note_inbox(keys, due_micros).await
    }

    async fn finish_rows(&self, keys: &[InboxKey]) -> Result<(), StoreError> {
        self.finish_inbox(keys).await
    }
}
