//! The whole path: typed client, engine, store, reply.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::engine::Engine;
use phoenix_runtime::event_store::sqlite::{SqliteOptions, SqliteStore};
use phoenix_runtime::event_store::{EventStore, MemoryStore};
use phoenix_runtime::telemetry::Metrics;

use super::BenchError;
use super::load::{self, Callers, Seen};
use super::workload::{Account, Archived};

/// Which store is under the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Under {
    /// A file in this folder, a new one each time.
    Sqlite(PathBuf),
    /// Nothing durable.
    Memory,
}

/// An engine with a store of its own, every aggregate in memory.
pub(crate) struct Whole {
    pub(crate) engine: Engine,
    pub(crate) store: String,
}

/// How load is put on it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    Closed { callers: Callers, keyed: bool },
    Open { per_second: f64 },
}

impl Whole {
    /// A new store, of this name where it is a file, and an engine over it.
    pub(crate) async fn start(under: &Under, name: &str) -> Result<Self, BenchError> {
        let store: Arc<dyn EventStore> = match under {
            Under::Sqlite(folder) => Arc::new(SqliteStore::open(SqliteOptions::at(folder.join(name))).await?),
            Under::Memory => Arc::new(MemoryStore::new()),
        };
        let whole = Self::over(store).await?;
        load::warm_up(&whole.engine.client()).await?;
        Ok(whole)
    }

    /// An engine over this store, with the options of a service that says nothing.
    pub(crate) async fn over(store: Arc<dyn EventStore>) -> Result<Self, BenchError> {
        let name = store.name();
        let engine = Engine::builder(store).aggregate::<Account>().aggregate::<Archived>().start().await?;
        Ok(Self { engine, store: name })
    }

    /// Puts load on it, and says how many records a commit had, and how many microseconds of a core each command took.
    pub(crate) async fn measure(
        &self,
        load: Load,
        duration: Duration,
    ) -> Result<(Seen, Option<f64>, Option<f64>), BenchError> {
        let client = self.engine.client();
        let (before, cpu_before) = (Commits::now(), cpu_micros());
        let seen = match load {
            Load::Closed { callers, keyed } => load::closed(&client, callers, keyed, duration).await?,
            Load::Open { per_second } => load::open(&client, per_second, duration).await?,
        };
        #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 commands")]
        let cpu = cpu_micros().zip(cpu_before).map(|(after, before)| (after - before) / seen.latencies.len() as f64);
        Ok((seen, Commits::now().since(before), cpu))
    }

    /// Stops the engine; with it the file is free.
    pub(crate) async fn stop(self) {
        self.engine.stop().await;
    }
}

/// Time of a core that this process has used, in microseconds, where the system tells it.
fn cpu_micros() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // behind the name, which may have blanks in it; user and system time, in hundredths of a second
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) * 10_000.0)
}

/// Removes a database with what belongs to it.
pub(crate) fn remove(path: &Path) {
    for ending in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        // what was never made need not be removed
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// Commits of the `SQLite` store since the process began, from its metrics.
#[derive(Clone, Copy)]
struct Commits {
    records: f64,
    commits: f64,
}

impl Commits {
    fn now() -> Self {
        let text = Metrics::install().render().unwrap_or_default();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        };
        Self { records: value("phoenix_commit_records_sum"), commits: value("phoenix_commit_records_count") }
    }

    fn since(self, before: Self) -> Option<f64> {
        let commits = self.commits - before.commits;
        (commits > 0.0).then(|| (self.records - before.records) / commits)
    }
}
