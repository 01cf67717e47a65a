//! Bringing aggregates into memory: activation from a file, replay from memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use phoenix_runtime::client::Client;
use phoenix_runtime::event_store::sqlite::{SqliteOptions, SqliteStore};
use phoenix_runtime::event_store::{EventStore, MemoryStore};

use super::BenchError;
use super::latency::Latencies;
use super::load::Seen;
use super::whole::{Whole, remove};
use super::workload::{Account, Archived, Balance, Measured, deposit, name};

/// Cold aggregates of a file, how many events each has, and how many come behind its snapshot.
pub(crate) const COLD: u64 = 500;
pub(crate) const HISTORY: u64 = 150;

/// Aggregates that are replayed from memory, and how many events each has.
pub(crate) const REPLAYED: u64 = 100;
pub(crate) const LONG_HISTORY: u64 = 10_000;

/// How fast cold aggregates come into memory.
pub(crate) struct Activation {
    /// One after the other.
    pub(crate) alone: Seen,
    /// All at once.
    pub(crate) together: f64,
}

/// Activation without a snapshot, and with one.
pub(crate) async fn activation(folder: &Path) -> Result<(Activation, Activation), BenchError> {
    let path = folder.join("cold.db");
    let open = async || -> Result<Arc<dyn EventStore>, BenchError> {
        let store: Arc<dyn EventStore> = Arc::new(SqliteStore::open(SqliteOptions::at(&path)).await?);
        Ok(store)
    };
    let whole = Whole::over(open().await?).await?;
    fill::<Account>(&whole.engine.client(), COLD, HISTORY).await?;
    fill::<Archived>(&whole.engine.client(), COLD, HISTORY).await?;
    whole.engine.drain(std::time::Duration::from_secs(30)).await;
    let mut alone = Vec::new();
    let mut together = Vec::new();
    for snapshots in [false, true] {
        let whole = Whole::over(open().await?).await?;
        let mut latencies = Latencies::default();
        let began = Instant::now();
        for number in 0..COLD {
            let since = Instant::now();
            ask(&whole.engine.client(), number, snapshots).await?;
            latencies.add(since.elapsed());
        }
        alone.push(Seen { per_second: rate(COLD, began), latencies });
        whole.stop().await;
        let whole = Whole::over(open().await?).await?;
        let began = Instant::now();
        ask_all(&whole.engine.client(), COLD, snapshots).await?;
        together.push(rate(COLD, began));
        whole.stop().await;
    }
    remove(&path);
    let mut both = alone.into_iter().zip(together).map(|(alone, together)| Activation { alone, together });
    both.next().zip(both.next()).ok_or_else(|| BenchError::Task("activation was not measured".to_owned()))
}

/// Events a second replayed from memory: by one aggregate alone, and by many at once.
pub(crate) async fn replay() -> Result<(f64, f64), BenchError> {
    let store = MemoryStore::new();
    let over = || Whole::over(Arc::new(store.clone()));
    let whole = over().await?;
    fill::<Account>(&whole.engine.client(), REPLAYED, LONG_HISTORY).await?;
    whole.stop().await;

    let whole = over().await?;
    let began = Instant::now();
    for number in 0..REPLAYED / 10 {
        ask(&whole.engine.client(), number, false).await?;
    }
    let alone = rate(LONG_HISTORY * (REPLAYED / 10), began);
    whole.stop().await;

    let whole = over().await?;
    let began = Instant::now();
    ask_all(&whole.engine.client(), REPLAYED, false).await?;
    let together = rate(LONG_HISTORY * REPLAYED, began);
    whole.stop().await;
    Ok((alone, together))
}

/// Gives each of these aggregates so many events.
async fn fill<A: Measured>(client: &Client, aggregates: u64, events: u64) -> Result<(), BenchError> {
    let all = (0..events).flat_map(|_| (0..aggregates).map(|number| A::deposit(client, deposit(number), None)));
    let mut answers = stream::iter(all).buffer_unordered(4096);
    while let Some(answer) = answers.next().await {
        answer.map_err(|e| BenchError::Command(e.to_string()))?;
    }
    Ok(())
}

async fn ask(client: &Client, number: u64, snapshots: bool) -> Result<(), BenchError> {
    let query = Balance { account: name(number) };
    let question = if snapshots { Archived::balance(client, query) } else { Account::balance(client, query) };
    question.await.map(drop).map_err(|e| BenchError::Command(e.to_string()))
}

async fn ask_all(client: &Client, aggregates: u64, snapshots: bool) -> Result<(), BenchError> {
    let mut all: FuturesUnordered<_> = (0..aggregates).map(|number| ask(client, number, snapshots)).collect();
    while let Some(answer) = all.next().await {
        answer?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn rate(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
