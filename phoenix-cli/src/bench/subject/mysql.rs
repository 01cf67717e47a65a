//! MySQL and MariaDB, and what they can do without Phoenix: the rows that the engine wrote, inserted many at once on
//! two connections.

use std::collections::BTreeSet;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use phoenix_bench::AGGREGATES;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::EventStore;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, query, query_as};

use super::named::open;
use super::race::{Inserts, Rows, race};
use super::server::Server;
use super::{Bare, BenchError, Kind, Loop, Place, Subject};

/// The most rows that a bare loop inserts: they are in memory before it begins.
const MAX_ROWS: usize = 3_000_000;

/// The most placeholders that a statement can have.
const MAX_PLACES: usize = 65_535;

/// The durability settings that are shown.
const SETTINGS: [&str; 2] = ["innodb_flush_log_at_trx_commit", "sync_binlog"];

/// A server, and a database of each place on it.
pub(super) struct Mysql {
    server: Server,
    options: MySqlConnectOptions,
    settings: Option<String>,
    made: Mutex<BTreeSet<Place>>,
}

impl Mysql {
    pub(super) fn new(url: &str, name: &str) -> Result<Self, BenchError> {
        let server = Server::new(url, name);
        // one protocol, two names
        let url = url.strip_prefix("mariadb:").map_or_else(|| url.to_owned(), |rest| format!("mysql:{rest}"));
        let options = MySqlConnectOptions::from_str(&url).map_err(server.failed("be understood"))?;
        Ok(Self { server, options, settings: None, made: Mutex::default() })
    }

    async fn connect(&self) -> Result<MySqlConnection, BenchError> {
        self.options.connect().await.map_err(self.server.failed("connect"))
    }

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

    fn fresh(&self) -> MySqlConnectOptions {
        self.options.clone().database(&self.server.database(Place::Fresh))
    }

    /// The rows of the fresh store in batches, and connections to a new table without these indexes, which has the first
    /// row of each aggregate.
    async fn load(
        &self,
        batch: usize,
        alone: bool,
        drop_indexes: &[Index],
    ) -> Result<(Vec<Inserter>, Vec<Vec<Vec<Value>>>), BenchError> {
        let mut connection = self.fresh().connect().await?;
        let table = Table::create(&mut connection).await?;
        for index in drop_indexes {
            query(AssertSqlSafe(index.drop_statement())).execute(&mut connection).await?;
        }
        let (first, batches) = table.batches(&mut connection, batch).await?;
        let mut connections = vec![Inserter { connection, columns: table.columns.clone() }];
        if let Some(inserter) = connections.first_mut() {
            inserter.insert(&first).await?;
        }
        if !alone {
            let connection = self.fresh().connect().await?;
            connections.push(Inserter { connection, columns: table.columns.clone() });
        }
        Ok((connections, batches))
    }

    async fn race(&self, how: Loop, drop_indexes: &[Index]) -> Result<Bare, BenchError> {
        let (connections, batches) = self.load(how.batch, how.alone, drop_indexes).await?;
        let (seen, cpu_micros) = race(connections, batches, how.at_most).await?;
        let what = if how.alone { "bare single insert" } else { "bare multi-row insert on two connections, that size" };
        Ok(Bare { what: what.to_owned(), seen, cpu_micros })
    }
}

impl Subject for Mysql {
    fn kind(&self) -> Kind {
        Kind::Mysql
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<(), BenchError>> {
        Box::pin(async move {
            let mut connection = self.connect().await?;
            let failed = || self.server.failed("tell its settings");
            let (version,): (String,) =
                query_as("SELECT CAST(VERSION() AS CHAR)").fetch_one(&mut connection).await.map_err(failed())?;
            let (product, version) = match version.split_once("-MariaDB") {
                Some((version, _)) => ("MariaDB", version.to_owned()),
                None => ("MySQL", version),
            };
            let mut said = format!("{product} {version}");
            for setting in SETTINGS {
                let (value,): (i64,) = query_as(AssertSqlSafe(format!("SELECT CAST(@@{setting} AS SIGNED)")))
                    .fetch_one(&mut connection)
                    .await
                    .map_err(failed())?;
                said = format!("{said}, {setting}={value}");
            }
            self.settings = Some(said);
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
                self.administer(format!("DROP DATABASE IF EXISTS {}", self.server.database(place))).await?;
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
            let mut connection = self.fresh().connect().await?;
            Table::create(&mut connection).await?;
            let indexes = Index::all(&mut connection).await?;
            connection.close().await?;
            let mut all = Vec::new();
            let each = indexes.iter().map(std::slice::from_ref);
            for dropped in each.chain([indexes.as_slice()]) {
                let bare = self.race(how, dropped).await?;
                let what = match dropped {
                    [index] => format!("bare, without the index of ({})", index.columns),
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
    columns: Vec<Column>,
}

/// A column, and what its values are.
#[derive(Clone)]
struct Column {
    name: String,
    class: Class,
}

#[derive(Clone, Copy)]
enum Class {
    Number,
    Text,
    Bytes,
}

impl Table {
    async fn create(connection: &mut MySqlConnection) -> Result<Self, BenchError> {
        query("DROP TABLE IF EXISTS bare").execute(&mut *connection).await?;
        query("CREATE TABLE bare LIKE events").execute(&mut *connection).await?;
        let rows: Vec<(String, String)> = query_as(
            "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR) FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = 'bare' ORDER BY ordinal_position",
        )
        .fetch_all(connection)
        .await?;
        let column = |(name, of): (String, String)| {
            let class = match of.as_str() {
                "bigint" | "int" | "smallint" | "tinyint" => Class::Number,
                "varchar" | "char" | "text" | "mediumtext" | "longtext" => Class::Text,
                "varbinary" | "binary" | "blob" | "mediumblob" | "longblob" => Class::Bytes,
                _ => return Err(BenchError::Bare(format!("no rows of type {of} are made for the column `{name}`"))),
            };
            Ok(Column { name, class })
        };
        Ok(Self { columns: rows.into_iter().map(column).collect::<Result<_, _>>()? })
    }

    /// The rows of `events` in their order: those of the warm-up, which made the aggregates, and then batches.
    async fn batches(
        &self,
        connection: &mut MySqlConnection,
        size: usize,
    ) -> Result<(Vec<Vec<Value>>, Vec<Vec<Vec<Value>>>), BenchError> {
        let statement =
            format!("SELECT {} FROM events ORDER BY time_micros, position LIMIT {MAX_ROWS}", names(&self.columns));
        let mut rows = query(AssertSqlSafe(statement)).fetch(connection);
        let mut batches = Vec::new();
        let first = usize::try_from(AGGREGATES).unwrap_or(usize::MAX);
        let (mut open, mut wanted) = (Vec::new(), first);
        while let Some(row) = rows.try_next().await? {
            let values = self.columns.iter().enumerate().map(|(at, column)| Value::read(column.class, &row, at));
            open.push(values.collect::<Result<Vec<_>, _>>()?);
            if open.len() == wanted {
                batches.push(std::mem::take(&mut open));
                wanted = size;
            }
        }
        if batches.is_empty() {
            return Err(BenchError::Bare("the engine wrote too few rows to insert them again".to_owned()));
        }
        let first = batches.remove(0);
        Ok((first, batches))
    }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| format!("`{}`", column.name)).collect::<Vec<_>>().join(", ")
}

/// An index of the table `bare`.
struct Index {
    name: String,
    columns: String,
}

impl Index {
    async fn all(connection: &mut MySqlConnection) -> Result<Vec<Self>, BenchError> {
        let rows: Vec<(String, String)> = query_as(
            "SELECT CAST(index_name AS CHAR), CAST(GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', ') AS CHAR) \
             FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'bare' \
             GROUP BY index_name ORDER BY index_name",
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|(name, columns)| Self { name, columns }).collect())
    }

    fn drop_statement(&self) -> String {
        match self.name.as_str() {
            "PRIMARY" => "ALTER TABLE bare DROP PRIMARY KEY".to_owned(),
            name => format!("ALTER TABLE bare DROP INDEX `{name}`"),
        }
    }
}

/// One value of a row.
enum Value {
    Number(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Value {
    fn read(class: Class, row: &MySqlRow, at: usize) -> Result<Self, BenchError> {
        Ok(match class {
            Class::Number => Self::Number(row.try_get(at)?),
            Class::Text => Self::Text(row.try_get(at)?),
            Class::Bytes => Self::Bytes(row.try_get(at)?),
        })
    }
}

/// A connection that inserts many rows by one prepared statement.
struct Inserter {
    connection: MySqlConnection,
    columns: Vec<Column>,
}

impl Inserter {
    fn statement(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
        format!("INSERT INTO bare ({}) VALUES {}", names(&self.columns), vec![row; rows].join(", "))
    }
}

impl Inserts for Inserter {
    type Batch = Vec<Vec<Value>>;

    fn len(batch: &Vec<Vec<Value>>) -> usize {
        batch.len()
    }

    async fn insert(&mut self, batch: &Vec<Vec<Value>>) -> Result<(), BenchError> {
        let at_once = (MAX_PLACES / self.columns.len().max(1)).max(1);
        if batch.len() > at_once {
            query("BEGIN").execute(&mut self.connection).await?;
        }
        for rows in batch.chunks(at_once) {
            let text = self.statement(rows.len());
            let mut statement = query(AssertSqlSafe(text));
            for value in rows.iter().flatten() {
                statement = match value {
                    Value::Number(value) => statement.bind(value),
                    Value::Text(value) => statement.bind(value),
                    Value::Bytes(value) => statement.bind(value),
                };
            }
            statement.execute(&mut self.connection).await?;
        }
        if batch.len() > at_once {
            query("COMMIT").execute(&mut self.connection).await?;
        }
        Ok(())
    }
}
