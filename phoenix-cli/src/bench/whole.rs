//! The whole path: typed client, engine, store, reply.

use std::sync::Arc;
use std::time::Duration;

use phoenix_bench::{Callers, Seen, load};
use phoenix_runtime::engine::Engine;
use phoenix_runtime::event_store::EventStore;
use phoenix_runtime::telemetry::Metrics;

use super::error::BenchError;
use super::subject::{Place, Subject};
use super::workload::{Account, Accounts, Archived};

/// An engine with a store of its own.
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

/// What was measured of it.
pub(crate) struct Measured {
    pub(crate) seen: Seen,
    /// Records that one commit made durable.
    pub(crate) records_a_commit: Option<f64>,
    /// Time of a core for each command, of this process alone.
    pub(crate) cpu_micros: Option<f64>,
}

impl Whole {
    /// The store of a place with an engine over it, every aggregate in memory.
    pub(crate) async fn start(subject: &dyn Subject, place: Place) -> Result<Self, BenchError> {
        let whole = Self::over(subject.open(place).await?).await?;
        load::warm_up(&whole.accounts(), 1000).await?;
        Ok(whole)
    }

    /// An engine over this store, with the options of a service that says nothing.
    pub(crate) async fn over(store: Arc<dyn EventStore>) -> Result<Self, BenchError> {
        let name = store.name();
        let engine = Engine::builder(store).aggregate::<Account>().aggregate::<Archived>().start().await?;
        Ok(Self { engine, store: name })
    }

    fn accounts(&self) -> Accounts {
        Accounts(self.engine.client())
    }

    /// Puts load on it.
    pub(crate) async fn measure(&self, load: Load, duration: Duration) -> Result<Measured, BenchError> {
        let accounts = self.accounts();
        let (before, cpu_before) = (Commits::now(), cpu_micros());
        let seen = match load {
            Load::Closed { callers, keyed } => load::closed(&accounts, callers, keyed, duration).await?,
            Load::Open { per_second } => load::open(&accounts, per_second, duration).await?,
        };
        #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 commands")]
        let cpu_micros =
            cpu_micros().zip(cpu_before).map(|(after, before)| (after - before) / seen.latencies.len() as f64);
        Ok(Measured { seen, records_a_commit: Commits::now().since(before), cpu_micros })
    }

    /// Stops the engine; with it the store is free.
    pub(crate) async fn stop(self) {
        self.engine.stop().await;
    }
}

/// Time of a core that this process has used, in microseconds, where the system tells it.
pub(crate) fn cpu_micros() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // behind the name, which may have blanks in it; user and system time, in hundredths of a second
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) * 10_000.0)
}

/// Commits since the process began, from the metrics: those of a store that puts batches together, or batches.
#[derive(Clone, Copy)]
pub(super) struct Commits {
    put_together: Sum,
    batches: Sum,
}

#[derive(Clone, Copy)]
struct Sum {
    records: f64,
    commits: f64,
}

impl Commits {
    pub(super) fn now() -> Self {
        let text = Metrics::install().render().unwrap_or_default();
        let value = |name: String| {
            let line = text.lines().find_map(|line| line.strip_prefix(name.as_str())?.strip_prefix(' '));
            line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        };
        let sum = |name: &str| Sum { records: value(format!("{name}_sum")), commits: value(format!("{name}_count")) };
        Self { put_together: sum("phoenix_commit_records"), batches: sum("phoenix_batch_records") }
    }

    pub(super) fn since(self, before: Self) -> Option<f64> {
        self.put_together.since(before.put_together).or_else(|| self.batches.since(before.batches))
    }
}

impl Sum {
    fn since(self, before: Self) -> Option<f64> {
        let commits = self.commits - before.commits;
        (commits > 0.0).then(|| (self.records - before.records) / commits)
    }
}
