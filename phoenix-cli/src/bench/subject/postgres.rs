//! PostgreSQL, and what it can do without Phoenix: the rows that the engine wrote, inserted by `UNNEST` on two
//! connections.

use std::collections::BTreeSet;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use phoenix_bench::AGGREGATES;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::EventStore;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, query, query_as, query_scalar};

use super::named::open;
use super::race::{Inserts, Rows, race};
use super::server::Server;
use super::{Bare, BenchError, Kind, Loop, Place, Subject};

/// The most rows that a bare loop inserts: they are in memory before it begins.
const MAX_ROWS: usize = 3_000_000;

/// A server, and a database of each place on it.
pub(super) struct Postgres {
    server: Server,
    options: PgConnectOptions,
    settings: Option<String>,
    made: Mutex<BTreeSet<Place>>,
}

impl Postgres {
    pub(super) fn new(url: &str, name: &str) -> Result<Self, BenchError> {
        let server = Server::new(url, name);
        let options = PgConnectOptions::from_str(url).map_err(server.failed("be understood"))?;
        Ok(Self { server, options, settings: None, made: Mutex::default() })
    }

    async fn connect(&self) -> Result<PgConnection, BenchError> {
        self.options.connect().await.map_err(self.server.failed("connect"))
    }

    /// What does not belong to a database.
    async fn administer(&self, statement: String) -> Result<(), BenchError> {
        let mut connection = self.connect().await?;
        query(AssertSqlSafe(statement.as_str()))
            .execute(&mut connection)
            .await
            .map_err(self.server.failed(statement.as_str()))?;
        Ok(connection.close().await?)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, BTreeSet<Place>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of the fresh store in batches, and connections to a new table without these indexes, which has the first
    /// row of each aggregate.
    async fn load(
        &self,
        batch: usize,
        alone: bool,
        drop_indexes: &[Index],
    ) -> Result<(Vec<Inserter>, Vec<Vec<Column>>), BenchError> {
        let options = self.options.clone().database(&self.server.database(Place::Fresh));
        let mut connection = options.connect().await?;
        let table = Table::create(&mut connection).await?;
        for index in drop_indexes {
            query(AssertSqlSafe(index.drop_statement())).execute(&mut connection).await?;
        }
        let (first, batches) = table.batches(&mut connection, batch).await?;
        let mut connections = vec![Inserter { connection, statement: table.insert_statement() }];
        if let Some(inserter) = connections.first_mut() {
            inserter.insert(&first).await?;
        }
        if !alone {
            let connection = options.connect().await?;
            connections.push(Inserter { connection, statement: table.insert_statement() });
        }
        Ok((connections, batches))
    }

    /// Inserts the rows of the fresh store into a new table without these indexes.
    async fn race(&self, how: Loop, drop_indexes: &[Index]) -> Result<Bare, BenchError> {
        let (connections, batches) = self.load(how.batch, how.alone, drop_indexes).await?;
        let (seen, cpu_micros) = race(connections, batches, how.at_most).await?;
        let what = if how.alone { "bare single insert" } else { "bare UNNEST on two connections, that size" };
        Ok(Bare { what: what.to_owned(), seen, cpu_micros })
    }
}

impl Subject for Postgres {
    fn kind(&self) -> Kind {
        Kind::Postgres
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<(), BenchError>> {
        Box::pin(async move {
            let mut connection = self.connect().await?;
            let settings: String = query_scalar(
                "SELECT format('PostgreSQL %s, fsync=%s, synchronous_commit=%s, full_page_writes=%s', \
                 split_part(current_setting('server_version'), ' ', 1), current_setting('fsync'), \
                 current_setting('synchronous_commit'), current_setting('full_page_writes'))",
            )
            .fetch_one(&mut connection)
            .await
            .map_err(self.server.failed("tell its settings"))?;
            self.settings = Some(settings);
            Ok(connection.close().await?)
        })
    }

    fn settings(&self) -> Option<&str> {
        self.settings.as_deref()
    }

    fn open(&self, place: Place) -> BoxFuture<'_, Result<Arc<dyn EventStore>, BenchError>> {
        Box::pin(async move {
            if self.made().insert(place) {
                self.administer(format!("CREATE DATABASE {}", self.server.database(place))).await?;
            }
            open(&self.server.url_of(place)).await
        })
    }

    fn remove(&self, place: Place) -> BoxFuture<'_, Result<(), BenchError>> {
        Box::pin(async move {
            if self.made().remove(&place) {
                let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.server.database(place));
                self.administer(statement).await?;
            }
            Ok(())
        })
    }

    fn bare(&self, how: Loop) -> BoxFuture<'_, Result<Option<Bare>, BenchError>> {
        Box::pin(async move { Ok(Some(self.race(how, &[]).await?)) })
    }

    fn rows(&self, batch: usize) -> BoxFuture<'_, Result<Option<Rows>, BenchError>> {
        Box::pin(async move {
            let (connections, batches) = self.load(batch, false, &[]).await?;
            Ok(Some(Rows::new(connections, batches)))
        })
    }

    fn without_indexes(&self, how: Loop) -> BoxFuture<'_, Result<Vec<Bare>, BenchError>> {
        Box::pin(async move {
            let options = self.options.clone().database(&self.server.database(Place::Fresh));
            let mut connection = options.connect().await?;
            Table::create(&mut connection).await?;
            let indexes = Index::all(&mut connection).await?;
            drop(connection);
            let mut all = Vec::new();
            let each = indexes.iter().map(std::slice::from_ref);
            for dropped in each.chain([indexes.as_slice()]) {
                let bare = self.race(how, dropped).await?;
                let what = match dropped {
                    [index] => format!("bare, without the index of ({})", index.columns.replace('"', "")),
                    _ => "bare, without any index".to_owned(),
                };
                all.push(Bare { what, ..bare });
            }
            Ok(all)
        })
    }
}

/// The table `bare`, which is as `events` is.
struct Table {
    /// Names, and types as the server writes them.
    columns: Vec<(String, String)>,
}

impl Table {
    /// Makes it anew, without a row.
    async fn create(connection: &mut PgConnection) -> Result<Self, BenchError> {
        query("DROP TABLE IF EXISTS bare").execute(&mut *connection).await?;
        query("CREATE TABLE bare (LIKE events INCLUDING ALL)").execute(&mut *connection).await?;
        // what LIKE leaves out
        let options: Option<String> =
            query_scalar("SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = 'events'::regclass")
                .fetch_one(&mut *connection)
                .await?;
        if let Some(options) = options {
            query(AssertSqlSafe(format!("ALTER TABLE bare SET ({options})"))).execute(&mut *connection).await?;
        }
        let columns = query_as(
            "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute \
             WHERE attrelid = 'bare'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        )
        .fetch_all(connection)
        .await?;
        Ok(Self { columns })
    }

    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    }

    fn insert_statement(&self) -> String {
        let arrays = self.columns.iter().enumerate().map(|(at, (_, of))| format!("${}::{of}[]", at + 1));
        let arrays = arrays.collect::<Vec<_>>().join(", ");
        format!("INSERT INTO bare ({}) SELECT * FROM UNNEST({arrays})", self.names())
    }

    /// The rows of `events` in their order: those of the warm-up, which made the aggregates, and then batches.
    async fn batches(
        &self,
        connection: &mut PgConnection,
        size: usize,
    ) -> Result<(Vec<Column>, Vec<Vec<Column>>), BenchError> {
        let statement = format!("SELECT {} FROM events ORDER BY time_micros, position LIMIT {MAX_ROWS}", self.names());
        let mut rows = query(AssertSqlSafe(statement)).fetch(connection);
        let mut batches = Vec::new();
        let first = usize::try_from(AGGREGATES).unwrap_or(usize::MAX);
        let (mut open, mut wanted) = (self.empty()?, first);
        while let Some(row) = rows.try_next().await? {
            for (at, column) in open.iter_mut().enumerate() {
                column.push(&row, at)?;
            }
            if open.first().is_some_and(|column| column.len() == wanted) {
                batches.push(std::mem::replace(&mut open, self.empty()?));
                wanted = size;
            }
        }
        if batches.is_empty() {
            return Err(BenchError::Bare("the engine wrote too few rows to insert them again".to_owned()));
        }
        let first = batches.remove(0);
        Ok((first, batches))
    }

    fn empty(&self) -> Result<Vec<Column>, BenchError> {
        self.columns.iter().map(|(name, of)| Column::of(name, of)).collect()
    }
}

/// An index of the table `bare`.
struct Index {
    name: String,
    constraint: Option<String>,
    columns: String,
}

impl Index {
    async fn all(connection: &mut PgConnection) -> Result<Vec<Self>, BenchError> {
        let indexes: Vec<(String, Option<String>, String)> = query_as(
            "SELECT i.indexrelid::regclass::text AS name, c.conname::text AS constraint, \
             array_to_string(ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnatts) k), \
             ', ') AS columns \
             FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid \
             WHERE i.indrelid = 'bare'::regclass ORDER BY i.indexrelid",
        )
        .fetch_all(connection)
        .await?;
        let index = |(name, constraint, columns)| Self { name, constraint, columns };
        Ok(indexes.into_iter().map(index).collect())
    }

    fn drop_statement(&self) -> String {
        match &self.constraint {
            Some(constraint) => format!("ALTER TABLE bare DROP CONSTRAINT \"{constraint}\""),
            None => format!("DROP INDEX {}", self.name),
        }
    }
}

/// One column of a batch.
enum Column {
    Long(Vec<Option<i64>>),
    Int(Vec<Option<i32>>),
    Short(Vec<Option<i16>>),
    Bool(Vec<Option<bool>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Column {
    fn of(name: &str, of: &str) -> Result<Self, BenchError> {
        Ok(match of {
            "bigint" => Self::Long(Vec::new()),
            "integer" => Self::Int(Vec::new()),
            "smallint" => Self::Short(Vec::new()),
            "boolean" => Self::Bool(Vec::new()),
            "text" | "character varying" => Self::Text(Vec::new()),
            "bytea" => Self::Bytes(Vec::new()),
            _ => return Err(BenchError::Bare(format!("no rows of type {of} are made for the column `{name}`"))),
        })
    }

    fn push(&mut self, row: &PgRow, at: usize) -> Result<(), BenchError> {
        match self {
            Self::Long(values) => values.push(row.try_get(at)?),
            Self::Int(values) => values.push(row.try_get(at)?),
            Self::Short(values) => values.push(row.try_get(at)?),
            Self::Bool(values) => values.push(row.try_get(at)?),
            Self::Text(values) => values.push(row.try_get(at)?),
            Self::Bytes(values) => values.push(row.try_get(at)?),
        }
        Ok(())
    }

    fn len(&self) -> usize {
        match self {
            Self::Long(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::Short(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }
}

/// A connection that inserts by one constant statement.
struct Inserter {
    connection: PgConnection,
    statement: String,
}

impl Inserts for Inserter {
    type Batch = Vec<Column>;

    fn len(batch: &Vec<Column>) -> usize {
        batch.first().map_or(0, Column::len)
    }

    async fn insert(&mut self, batch: &Vec<Column>) -> Result<(), BenchError> {
        let mut statement = query(AssertSqlSafe(self.statement.as_str()));
        for column in batch {
            statement = match column {
                Column::Long(values) => statement.bind(values),
                Column::Int(values) => statement.bind(values),
                Column::Short(values) => statement.bind(values),
                Column::Bool(values) => statement.bind(values),
                Column::Text(values) => statement.bind(values),
                Column::Bytes(values) => statement.bind(values),
            };
        }
        statement.execute(&mut self.connection).await?;
        Ok(())
    }
}
