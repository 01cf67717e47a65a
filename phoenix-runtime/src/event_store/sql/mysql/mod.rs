//! MySQL and MariaDB.
//!
//! # Layout
//! - `connect`: the address and the options, the session's settings, what the server is, its schema
//! - `migration`, `cells`, `error`: schema, rows, what errors mean
//! - `text`, `write`, `read`: statements as text, transactions, questions
//! - `flush`: what is seen, made durable
//! - `letters`: the statements of the inbox

mod cells;
mod connect;
mod error;
mod flush;
mod letters;
mod migration;
mod read;
mod text;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;
use sea_orm::sqlx::mysql::MySqlConnection;

use self::cells::ServerRow;
use super::connections::{Connections, Made};
use super::database::Database;
use super::dialect::{Dialect, Failure, Held, Insert, Inserted};
use super::known::Stream;
use super::page::Page;
use super::{DatabaseOpenError, DatabaseOptions, DatabaseUrl, SqlStore, StoreWithTable};
use crate::domain::id::{Dedup, Slice};
use crate::event_store::letters::{InboxKey, Sealed};
use crate::event_store::port::{Load, Partition, StoreError, StreamId};

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

/// A database of MySQL or MariaDB.
struct MySqlDatabase {
    place: String,
    /// Version and durability.
    name: String,
    durable: bool,
    /// The collation of the columns that are compared.
    collation: &'static str,
    /// How long a text may be that is sent at once.
    max_packet: usize,
    database: Database,
    made: Made,
    writers: Connections<MySqlConnection>,
    readers: Connections<MySqlConnection>,
    /// How long an answer is waited for: a little longer than the server works on it.
    answer_timeout: Duration,
}

impl fmt::Debug for MySqlDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlDatabase").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Dialect for MySqlDatabase {
    type Row = ServerRow;

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
        self.raise_epochs(partitions).await
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<Inserted, Failure> {
        self.insert_all(insert).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.flush_log().await
    }

    async fn held(&self, partitions: &[Partition]) -> Result<Vec<Held>, StoreError> {
        self.partitions(partitions).await
    }

    async fn streams(&self, streams: &[&StreamId]) -> Result<Vec<(usize, Stream)>, StoreError> {
        self.last_versions(streams).await
    }

    async fn keys(&self, keys: &[(i64, i64)]) -> Result<Vec<(usize, Dedup)>, StoreError> {
        self.stored_keys(keys).await
    }

    async fn last_positions(&self, slices: &[Slice]) -> Result<Vec<i64>, StoreError> {
        self.ends(slices).await
    }

    async fn stream_page(
        &self,
        stream: &StreamId,
        from: i64,
        limit: i64,
        page: &mut Page,
    ) -> Result<Vec<ServerRow>, StoreError> {
        self.events_of(stream, from, limit, page).await
    }

    async fn page_after(&self, positions: &[i64], limit: i64, page: &mut Page) -> Result<Vec<ServerRow>, StoreError> {
        self.records_after(positions, limit, page).await
    }

    async fn commands(&self, commands: &[(StreamId, Dedup)]) -> Result<Vec<ServerRow>, StoreError> {
        self.first_records(commands).await
    }

    async fn load(&self, loads: &[Load], page: &mut Page) -> Result<Vec<ServerRow>, StoreError> {
        self.all_of(loads, page).await
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
