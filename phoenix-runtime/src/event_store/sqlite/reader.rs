//! Reading: through sea-orm, on connections that can't write, without the owner's lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use sea_orm::sea_query::{Expr, Func};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteRow};
use sea_orm::sqlx::{self, ConnectOptions as _, query};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, EntityTrait as _,
    FromQueryResult as _, QueryFilter as _, QueryOrder as _, QueryResult, QuerySelect as _, RuntimeErr,
    SqlxSqliteConnector, Statement, Value,
};

use super::entity::{events, snapshots};
use super::error::{OpenError, damaged, read_failed};
use super::migration;
use super::options::SqliteOptions;
use super::row::{Rows, SEQUENCE_BITS, position as rowid};
use crate::domain::id::{AggregateId, Dedup, Slice};
use crate::event_store::port::{
    KnownKeys, MOST_ROWS, Position, Snapshot, SnapshotInfo, StoreError, StoredEvent, StoredOutcome, StreamId,
};
use crate::event_store::rules::{self, Room};

/// Reads a `SQLite` store, also while a service owns and writes it. Clones share their connections.
#[derive(Debug, Clone)]
pub struct SqliteReader {
    db: DatabaseConnection,
    path: Arc<Path>,
    /// Numbers that slices have, so that a reader who comes from there is not asked about.
    reached: Arc<Mutex<BTreeMap<Slice, u64>>>,
}

/// Rows that are read at once while outcomes without events are passed over.
const LEAST_PAGE: usize = 256;

const STREAM: &str =
    "SELECT * FROM events WHERE aggregate = ?1 AND id = ?2 AND version >= ?3 ORDER BY version LIMIT ?4";

/// The question is a JSON array of positions, in the order of the slices.
const AFTER: &str = "SELECT e.* FROM json_each(?1) AS q CROSS JOIN events AS e \
     ON e.position > q.value AND e.position < ((q.value >> 44) + 1) << 44 LIMIT ?2";

/// The question is a JSON array of slices.
const LAST: &str = "SELECT q.value AS slice, (SELECT max(e.position) FROM events AS e \
     WHERE e.position > q.value << 44 AND e.position < (q.value + 1) << 44) AS position FROM json_each(?1) AS q";

/// The question is a JSON array of [aggregate, id, dedup in hexadecimal digits].
const OUTCOMES: &str = "SELECT q.key AS question, e.position, e.aggregate, e.id, e.version, e.dedup, e.time_micros, \
     NULL AS event_name, NULL AS schema_version, NULL AS codec, e.command_id, e.command_name, e.key, e.payload_hash, \
     e.outcome_kind, e.outcome_version, e.outcome_codec, e.correlation_id, e.causation_id, e.outcome_body, \
     NULL AS payload FROM json_each(?1) AS q CROSS JOIN events AS e \
     ON e.aggregate = q.value ->> 0 AND e.id = q.value ->> 1 AND e.dedup = unhex(q.value ->> 2)";

const EVENT_NAMES: &str = "SELECT event_name FROM event_names WHERE aggregate = ?1";

/// Goes from id to id through the index: a seek each, however many events they have.
const IDS: &str = "WITH RECURSIVE page (id) AS ( \
       SELECT * FROM (SELECT e.id FROM events AS e WHERE e.aggregate = ?1 AND e.version IS NOT NULL AND e.id > ?2 \
                      ORDER BY e.id LIMIT 1) \
       UNION ALL \
       SELECT (SELECT e.id FROM events AS e WHERE e.aggregate = ?1 AND e.version IS NOT NULL AND e.id > page.id \
               ORDER BY e.id LIMIT 1) FROM page WHERE page.id IS NOT NULL \
     ) SELECT id FROM page WHERE id IS NOT NULL LIMIT ?3";

impl SqliteReader {
    /// Opens an existing store to read it, without becoming its owner.
    ///
    /// # Errors
    /// A file that is missing, is no event store, or has another schema than this program's.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let options = SqliteOptions::at(path);
        if !options.path.exists() {
            return Err(OpenError::Missing(options.path));
        }
        let reader = Self::connect(&options).await?;
        migration::check(&reader.db, &options.path).await?;
        Ok(reader)
    }

    pub(super) async fn connect(options: &SqliteOptions) -> Result<Self, OpenError> {
        let connect = connect_options(options).read_only(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(options.read_connections.max(1))
            .test_before_acquire(false)
            .connect_with(connect)
            .await
            .map_err(|e| OpenError::database(&options.path, &e))?;
        let db = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        Ok(Self { db, path: options.path.as_path().into(), reached: Arc::default() })
    }

    pub(super) fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The answer to who would write.
    pub(super) fn only_reads(&self) -> StoreError {
        StoreError::Unavailable(format!("`{}` is open to be read, not to be written", self.path.display()))
    }

    pub(super) fn failed(&self) -> impl Fn(DbErr) -> StoreError + '_ {
        |error| read_failed(&self.path, &error)
    }

    /// What an error of a statement says that goes past sea-orm, so that its rows come one by one.
    fn ended(&self) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        |error| read_failed(&self.path, &DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))))
    }

    fn model(&self, row: SqliteRow) -> Result<events::Model, StoreError> {
        events::Model::from_query_result(&row.into(), "").map_err(self.failed())
    }

    async fn query(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, StoreError> {
        let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, values);
        self.db.query_all_raw(statement).await.map_err(self.failed())
    }

    /// At most `limit` events of a stream, from version `from` on, in order.
    ///
    /// # Errors
    /// A store that can't be read, or has a gap in the stream.
    pub async fn read_stream(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let limit = limit.min(MOST_ROWS);
        let ask = query(STREAM)
            .bind(&*stream.aggregate)
            .bind(stream.id.as_str())
            .bind(signed(from))
            .bind(signed(limit as u64));
        let mut rows = ask.fetch(self.db.get_sqlite_connection_pool());
        let mut read = Rows::new(&self.path);
        let (mut found, mut room) = (Vec::new(), Room::default());
        while !room.is_full()
            && let Some(row) = rows.try_next().await.map_err(self.ended())?
        {
            let Some(event) = read.event(self.model(row)?)? else { continue };
            let (expected, version) = (from.max(1) + found.len() as u64, event.event.version);
            if version != expected {
                return Err(damaged(&self.path, format_args!("{stream} lacks version {expected} before {version}")));
            }
            room.takes(event.bytes());
            found.push(event);
        }
        Ok(found)
    }

    /// At most `limit` events that come after `position`, and the position behind them.
    ///
    /// # Errors
    /// A store that can't be read, has a gap in a slice, or ends before the position.
    pub async fn read_all(&self, position: Position, limit: usize) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        self.check_reached(&position).await?;
        let (found, position) = self.events_behind(position, limit).await?;
        self.note_reached(&position.0);
        Ok((found, position))
    }

    /// Refuses a position that is ahead of the end of a slice.
    async fn check_reached(&self, position: &Position) -> Result<(), StoreError> {
        let ahead: Vec<Slice> = {
            let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
            let known = |slice| reached.get(slice).copied().unwrap_or(0);
            position.0.iter().filter(|(slice, behind)| **behind > known(slice)).map(|(slice, _)| *slice).collect()
        };
        if ahead.is_empty() {
            return Ok(());
        }
        let last = self.last_sequences(ahead).await?;
        for (slice, last) in &last {
            rules::reached(*slice, position.0.get(slice).copied().unwrap_or(0), *last)?;
        }
        self.note_reached(&last);
        Ok(())
    }

    fn note_reached(&self, numbers: &BTreeMap<Slice, u64>) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        for (slice, number) in numbers {
            let known = reached.entry(*slice).or_insert(0);
            *known = (*number).max(*known);
        }
    }

    async fn events_behind(
        &self,
        mut position: Position,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        if limit == 0 {
            return Ok((Vec::new(), position));
        }
        let mut read = Rows::new(&self.path);
        let (mut found, mut room) = (Vec::new(), Room::default());
        loop {
            let wanted = limit.clamp(LEAST_PAGE, MOST_ROWS);
            let after =
                json_numbers(rules::reading_order(&position).filter_map(|(slice, behind)| rowid(slice, behind)));
            let mut rows =
                query(AFTER).bind(after).bind(signed(wanted as u64)).fetch(self.db.get_sqlite_connection_pool());
            let mut count = 0;
            while let Some(row) = rows.try_next().await.map_err(self.ended())? {
                count += 1;
                let row = self.model(row)?;
                let (slice, sequence) = read.place(row.position)?;
                let behind = position.0.insert(slice, sequence).unwrap_or(0);
                if behind + 1 != sequence {
                    let gap = format_args!("slice {} lacks sequence {} before {sequence}", slice.0, behind + 1);
                    return Err(damaged(&self.path, gap));
                }
                if let Some(event) = read.event(row)? {
                    room.takes(event.bytes());
                    found.push(event);
                    // the rows behind it are not asked for: they stay where they are
                    if found.len() == limit || room.is_full() {
                        return Ok((found, position));
                    }
                }
            }
            if count < wanted {
                return Ok((found, position));
            }
        }
    }

    /// The stored outcomes of these commands, in their order; `None` where there is none.
    ///
    /// # Errors
    /// A store that can't be read.
    pub async fn outcomes(&self, commands: Vec<(StreamId, Dedup)>) -> Result<Vec<Option<StoredOutcome>>, StoreError> {
        let mut found = vec![None; commands.len()];
        if commands.is_empty() {
            return Ok(found);
        }
        let questions: Vec<_> =
            commands.iter().map(|(stream, dedup)| (&*stream.aggregate, stream.id.as_str(), hex(dedup))).collect();
        let question = serde_json::to_string(&questions).map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let mut read = Rows::new(&self.path);
        for row in self.query(OUTCOMES, vec![question.into()]).await? {
            let index: i64 = row.try_get("", "question").map_err(self.failed())?;
            let mut model =
                <events::Model as sea_orm::FromQueryResult>::from_query_result(&row, "").map_err(self.failed())?;
            let (_, sequence) = read.place(model.position)?;
            let (Some(command), Some(slot)) =
                (read.command(&mut model)?, usize::try_from(index).ok().and_then(|index| found.get_mut(index)))
            else {
                continue;
            };
            let first_version = model.version.map(i64::cast_unsigned);
            *slot = Some(StoredOutcome { command: *command, first_version, sequence });
        }
        Ok(found)
    }

    /// All keys of a stream if they are at most `limit`; otherwise the newest of its events, and not `complete`.
    ///
    /// # Errors
    /// A store that can't be read.
    pub async fn known_keys(&self, stream: StreamId, limit: usize) -> Result<KnownKeys, StoreError> {
        let of_stream = || {
            events::Entity::find()
                .select_only()
                .columns([events::Column::Position, events::Column::Dedup])
                .filter(events::Column::Aggregate.eq(&*stream.aggregate))
                .filter(events::Column::Id.eq(stream.id.as_str()))
        };
        let at_most = (limit as u64).min(u64::from(u32::MAX));
        let all = of_stream().filter(events::Column::Dedup.is_not_null()).limit(at_most + 1);
        let mut keys: Vec<(i64, Option<Vec<u8>>)> = all.into_tuple().all(&self.db).await.map_err(self.failed())?;
        let complete = keys.len() as u64 <= at_most;
        if !complete {
            // by version from the end, so that a long stream costs no more than a short one
            let newest = of_stream()
                .filter(events::Column::Version.is_not_null())
                .order_by_desc(events::Column::Version)
                .limit(at_most);
            keys = newest.into_tuple().all(&self.db).await.map_err(self.failed())?;
        }
        keys.sort_by_key(|(position, _)| *position);
        let short = |(_, dedup): (i64, Option<Vec<u8>>)| Some(Dedup(dedup?.try_into().ok()?).short());
        Ok(KnownKeys { keys: keys.into_iter().filter_map(short).collect(), complete })
    }

    /// The last sequence number of each of these slices; 0 where there is none.
    ///
    /// # Errors
    /// A store that can't be read.
    pub async fn last_sequences(&self, slices: Vec<Slice>) -> Result<BTreeMap<Slice, u64>, StoreError> {
        let mut last: BTreeMap<_, _> = slices.iter().map(|slice| (*slice, 0)).collect();
        let question = json_numbers(slices.iter().map(|slice| i64::from(slice.0)));
        let read = Rows::new(&self.path);
        for row in self.query(LAST, vec![question.into()]).await? {
            let position: Option<i64> = row.try_get("", "position").map_err(self.failed())?;
            if let Some(position) = position {
                let (slice, sequence) = read.place(position)?;
                last.insert(slice, sequence);
            }
        }
        Ok(last)
    }

    /// The newest snapshot at or below `at_most`.
    ///
    /// # Errors
    /// A store that can't be read.
    pub async fn snapshot(&self, stream: StreamId, at_most: u64) -> Result<Option<Snapshot>, StoreError> {
        let row = snapshots::Entity::find()
            .filter(snapshots::Column::Aggregate.eq(&*stream.aggregate))
            .filter(snapshots::Column::Id.eq(stream.id.as_str()))
            .filter(snapshots::Column::Version.lte(signed(at_most)))
            .order_by_desc(snapshots::Column::Version)
            .one(&self.db)
            .await
            .map_err(self.failed())?;
        row.map(|row| Rows::new(&self.path).snapshot(row, stream)).transpose()
    }

    /// The snapshots of a stream, newest first.
    ///
    /// # Errors
    /// A store that can't be read.
    pub async fn snapshots(&self, stream: StreamId) -> Result<Vec<SnapshotInfo>, StoreError> {
        use snapshots::Column;
        let rows: Vec<(i64, i64, i64, i64)> = snapshots::Entity::find()
            .select_only()
            .columns([Column::Version, Column::TimeMicros, Column::Fingerprint])
            .expr(Func::cust("length").arg(Expr::col(Column::Payload)))
            .filter(Column::Aggregate.eq(&*stream.aggregate))
            .filter(Column::Id.eq(stream.id.as_str()))
            .order_by_desc(Column::Version)
            .into_tuple()
            .all(&self.db)
            .await
            .map_err(self.failed())?;
        let info = |(version, time_micros, fingerprint, bytes): (i64, i64, i64, i64)| SnapshotInfo {
            version: version.cast_unsigned(),
            time_micros,
            fingerprint: fingerprint.cast_unsigned(),
            bytes: bytes.cast_unsigned(),
        };
        Ok(rows.into_iter().map(info).collect())
    }

    /// The names under which events of a type are stored.
    ///
    /// # Errors
    /// A database that does not answer.
    pub async fn event_names(&self, aggregate: Arc<str>) -> Result<BTreeSet<String>, StoreError> {
        let rows = self.query(EVENT_NAMES, vec![(&*aggregate).into()]).await?;
        rows.iter().map(|row| row.try_get("", "event_name").map_err(self.failed())).collect()
    }

    /// Ids of aggregates of a type in their order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// A store that can't be read.
    pub async fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> Result<Vec<AggregateId>, StoreError> {
        // no id is empty, so all come after the empty text
        let after = after.as_ref().map_or("", AggregateId::as_str);
        let values = vec![(&*aggregate).into(), after.into(), signed(limit as u64).into()];
        let rows = self.query(IDS, values).await?;
        let id = |row: &QueryResult| {
            let id: String = row.try_get("", "id").map_err(self.failed())?;
            AggregateId::new(id).map_err(|e| damaged(&self.path, e))
        };
        rows.iter().map(id).collect()
    }
}

/// What every connection of sea-orm has in common.
pub(super) fn connect_options(options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&options.path)
        .foreign_keys(false)
        .busy_timeout(options.busy_timeout)
        .disable_statement_logging()
}

/// As a number of `SQLite`, which has no larger ones.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn json_numbers(numbers: impl Iterator<Item = i64>) -> String {
    let mut json = String::from("[");
    for number in numbers {
        let comma = if json.len() > 1 { "," } else { "" };
        // writing to a String can't fail
        let _ = write!(json, "{comma}{number}");
    }
    json.push(']');
    json
}

fn hex(Dedup(bytes): &Dedup) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

const _: () = assert!(SEQUENCE_BITS == 44, "the statements above have the number in them");
