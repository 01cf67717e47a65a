//! `SQLite`, and what it can do without Phoenix: the rows that the engine wrote, inserted into the same table with the
//! same columns and indexes by a prepared statement.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phoenix_bench::{Latencies, Seen};
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::sqlite::{SqliteOptions, SqliteStore};
use phoenix_runtime::event_store::{EventStore, OpenError};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Statement, params_from_iter};

use super::{Bare, BenchError, Kind, Loop, Place, Subject};

/// Files in a folder of their own.
pub(super) struct Sqlite {
    folder: PathBuf,
}

impl Sqlite {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn file(&self, place: &str) -> PathBuf {
        self.folder.join(place).with_extension("db")
    }
}

impl Subject for Sqlite {
    fn kind(&self) -> Kind {
        Kind::Sqlite
    }

    fn open(&self, place: Place) -> BoxFuture<'_, Result<Arc<dyn EventStore>, BenchError>> {
        Box::pin(async move {
            let store: Arc<dyn EventStore> =
                Arc::new(SqliteStore::open(SqliteOptions::at(self.file(place.name()))).await.map_err(OpenError::from)?);
            Ok(store)
        })
    }

    fn remove(&self, place: Place) -> BoxFuture<'_, Result<(), BenchError>> {
        remove(&self.file(place.name()));
        Box::pin(std::future::ready(Ok(())))
    }

    fn bare(&self, how: Loop) -> BoxFuture<'_, Result<Option<Bare>, BenchError>> {
        let (source, target) = (self.file(Place::Fresh.name()), self.file("bare"));
        Box::pin(async move {
            let table = Table::new(&source, &target).await?;
            let measured = tokio::task::spawn_blocking(move || table.batches(how.batch, how.at_most)).await;
            remove(&target);
            let (seen, cpu_micros) = measured??;
            let what = if how.alone { "bare single insert" } else { "bare insert, batches of that size" };
            Ok(Some(Bare { what: what.to_owned(), seen, cpu_micros }))
        })
    }
}

/// Removes a database with what belongs to it.
fn remove(path: &Path) {
    for ending in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        // what was never made need not be removed
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// A table to insert into, and the rows that another one has.
struct Table {
    source: Connection,
    target: Connection,
    columns: usize,
}

impl Table {
    /// A new store at `target` that has the first event of every aggregate of `source`.
    async fn new(source: &Path, target: &Path) -> Result<Self, BenchError> {
        let options = SqliteOptions::at(target);
        drop(SqliteStore::open(options.clone()).await.map_err(OpenError::from)?);
        let source = Connection::open_with_flags(source, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let target = Connection::open_with_flags(target, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        target.pragma_update(None, "journal_mode", "wal")?;
        target.pragma_update(None, "synchronous", options.synchronous.to_string())?;
        target.pragma_update(None, "wal_autocheckpoint", options.wal_autocheckpoint_pages)?;
        let cache = i64::try_from(options.cache / 1024).unwrap_or(i64::MAX);
        target.pragma_update(None, "cache_size", -cache)?;
        let columns = source.prepare("SELECT * FROM events")?.column_count();
        let bare = Self { source, target, columns };
        let mut first = bare.source.prepare("SELECT * FROM events WHERE version = 1")?;
        let rows = read(&mut first, columns)?;
        bare.insert(&mut bare.statement()?, &rows)?;
        drop(first);
        Ok(bare)
    }

    fn statement(&self) -> Result<Statement<'_>, BenchError> {
        let places = vec!["?"; self.columns].join(", ");
        Ok(self.target.prepare(&format!("INSERT INTO events VALUES ({places})"))?)
    }

    fn insert(&self, statement: &mut Statement<'_>, rows: &[Vec<Value>]) -> Result<(), BenchError> {
        self.target.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for row in rows {
            statement.execute(params_from_iter(row))?;
        }
        self.target.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Inserts all rows, so many in each transaction, or those of `at_most`. Also says how many microseconds of a core
    /// each row took.
    fn batches(self, batch: usize, at_most: Duration) -> Result<(Seen, Option<f64>), BenchError> {
        let mut all = self.source.prepare("SELECT * FROM events WHERE version > 1 ORDER BY time_micros, version")?;
        let mut rows = all.query([])?;
        let mut statement = self.statement()?;
        let mut cpu = Some(0.0);
        let (mut latencies, mut spent, mut inserted, mut more) = (Latencies::default(), Duration::ZERO, 0, true);
        while more && spent < at_most {
            let mut next = Vec::with_capacity(batch);
            while next.len() < batch {
                let Some(row) = rows.next()? else {
                    more = false;
                    break;
                };
                next.push((0..self.columns).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()?);
            }
            if next.is_empty() {
                break;
            }
            let (cpu_before, began) = (cpu_micros(), Instant::now());
            self.insert(&mut statement, &next)?;
            let took = began.elapsed();
            cpu = cpu.zip(cpu_micros().zip(cpu_before)).map(|(sum, (after, before))| sum + after - before);
            latencies.add(took);
            spent += took;
            inserted += next.len();
        }
        #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 rows")]
        let rows = inserted as f64;
        Ok((Seen { per_second: rows / spent.as_secs_f64(), latencies }, cpu.map(|cpu| cpu / rows)))
    }
}

/// Time of a core that this thread has used, in microseconds, where the system tells it.
fn cpu_micros() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse::<f64>().ok().map(|nanos| nanos / 1000.0)
}

fn read(statement: &mut Statement<'_>, columns: usize) -> Result<Vec<Vec<Value>>, BenchError> {
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?;
    Ok(rows.collect::<Result<_, _>>()?)
}
