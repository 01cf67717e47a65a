//! Bringing aggregates into memory: activation and replay, from any store.

use std::ops::Range;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use indicatif::ProgressBar;
use phoenix_bench::messages::name;
use phoenix_bench::{Latencies, LoadError, Seen};
use phoenix_runtime::client::Client;
use phoenix_runtime::domain::aggregate::Aggregate as _;

use super::error::BenchError;
use super::prefill::{History, prefill};
use super::subject::{Place, Subject};
use super::whole::Whole;
use super::workload::{Account, Archived, Balance, Measured, SNAPSHOT_EVERY, deposit};

/// Cold aggregates of each sort.
const COLD: u64 = 2000;

/// Events behind a snapshot, and events of an aggregate that has both or has no snapshot.
const BEHIND: u64 = 50;
const HISTORY: u64 = SNAPSHOT_EVERY + BEHIND;

/// Aggregates with a snapshot that come into memory at once, the number of the first, and how many events each has: more
/// than of the other sorts, so that the measurement does not end within a moment.
const BULK: u64 = 20_000;
const FIRST_BULK: u64 = 100_000;
const BULK_EVENTS: u64 = 10;

/// How many of their snapshots are taken at once.
const AT_ONCE: usize = 128;

/// Aggregates that nobody has written to, asked for before the clock starts: by then a store has its connections and
/// prepared statements.
const NOBODY: Range<u64> = 2_000_000..2_001_024;

/// Aggregates that are replayed, the number of the first, and how many events each has.
const REPLAYED: u64 = 100;
const FIRST_REPLAYED: u64 = 1_000_000;
const LONG_HISTORY: u64 = 10_000;

/// How fast cold aggregates come into memory.
pub(crate) struct Activation {
    pub(crate) what: String,
    /// One after the other.
    pub(crate) alone: Seen,
    /// All at once, a second.
    pub(crate) together: f64,
}

/// What was measured of cold aggregates.
pub(crate) struct Cold {
    /// A snapshot and nothing behind it.
    pub(crate) snapshot: Activation,
    pub(crate) snapshot_and_events: Activation,
    pub(crate) events: Activation,
    /// Events a second of one aggregate at a time, and of many.
    pub(crate) replay_alone: f64,
    pub(crate) replay_together: f64,
}

/// Fills a store, and brings everything in it into memory.
pub(crate) async fn measure(subject: &dyn Subject, progress: &ProgressBar) -> Result<Cold, BenchError> {
    progress.set_message("events for activation and replay");
    {
        let store = subject.open(Place::Cold).await?;
        prefill(&store, History { first: 0, accounts: COLD, events: HISTORY }, progress).await?;
        let long = History { first: FIRST_REPLAYED, accounts: REPLAYED, events: LONG_HISTORY };
        prefill(&store, long, progress).await?;
    }
    let whole = over(subject).await?;
    let (client, bulk) = (whole.engine.client(), FIRST_BULK..FIRST_BULK + BULK);
    fill(&client, 0..2 * COLD, SNAPSHOT_EVERY).await?;
    fill(&client, bulk.clone(), BULK_EVENTS).await?;
    // all of them are due at once, and then an engine leaves some for later
    keep(&client, 0..2 * COLD).await?;
    keep(&client, bulk.clone()).await?;
    fill(&client, COLD..2 * COLD, BEHIND).await?;
    drop(client);
    whole.engine.drain(Duration::from_secs(30)).await;

    progress.set_message("activation");
    let cold = Cold {
        snapshot: activation::<Archived>(subject, [0..COLD, bulk], "snapshot".to_owned()).await?,
        snapshot_and_events: {
            let cold = COLD..2 * COLD;
            activation::<Archived>(subject, [cold.clone(), cold], format!("snapshot + {BEHIND} events")).await?
        },
        events: activation::<Account>(subject, [0..COLD, 0..COLD], format!("{HISTORY} events")).await?,
        replay_alone: replay(subject, false).await?,
        replay_together: replay(subject, true).await?,
    };
    subject.remove(Place::Cold).await?;
    Ok(cold)
}

async fn over(subject: &dyn Subject) -> Result<Whole, BenchError> {
    Whole::over(subject.open(Place::Cold).await?).await
}

async fn activation<A: Measured>(
    subject: &dyn Subject,
    [alone, together]: [Range<u64>; 2],
    what: String,
) -> Result<Activation, BenchError> {
    let whole = over(subject).await?;
    let mut latencies = Latencies::default();
    let (aggregates, began) = (alone.end - alone.start, Instant::now());
    for number in alone {
        let since = Instant::now();
        ask::<A>(&whole.engine.client(), number).await?;
        latencies.add(since.elapsed());
    }
    let alone = Seen { per_second: rate(aggregates, began), latencies };
    whole.stop().await;
    let whole = over(subject).await?;
    warm_up::<A>(&whole.engine.client()).await;
    let (aggregates, began) = (together.end - together.start, Instant::now());
    ask_all::<A>(&whole.engine.client(), together).await?;
    let together = rate(aggregates, began);
    whole.stop().await;
    Ok(Activation { what, alone, together })
}

/// Events a second.
async fn replay(subject: &dyn Subject, together: bool) -> Result<f64, BenchError> {
    let whole = over(subject).await?;
    let client = whole.engine.client();
    let began = Instant::now();
    let aggregates = if together {
        ask_all::<Account>(&client, FIRST_REPLAYED..FIRST_REPLAYED + REPLAYED).await?;
        REPLAYED
    } else {
        for number in 0..REPLAYED / 10 {
            ask::<Account>(&client, FIRST_REPLAYED + number).await?;
        }
        REPLAYED / 10
    };
    let rate = rate(LONG_HISTORY * aggregates, began);
    whole.stop().await;
    Ok(rate)
}

/// Gives each of these aggregates so many events, and with them snapshots.
async fn fill(client: &Client, aggregates: Range<u64>, events: u64) -> Result<(), BenchError> {
    let round = |_| aggregates.clone().map(|number| Archived::deposit(client, deposit(number), None));
    let mut answers = stream::iter((0..events).flat_map(round)).buffer_unordered(4096);
    while let Some(answer) = answers.next().await {
        answer.map_err(|e| LoadError::Command(e.to_string()))?;
    }
    Ok(())
}

async fn ask<A: Measured>(client: &Client, number: u64) -> Result<(), LoadError> {
    let query = Balance { account: name(number) };
    A::balance(client, query).await.map(drop).map_err(|e| LoadError::Command(e.to_string()))
}

/// Takes a snapshot of each of these aggregates; of no more at once than an engine lets wait.
async fn keep(client: &Client, aggregates: Range<u64>) -> Result<(), BenchError> {
    let mut kept = stream::iter(aggregates.map(|number| client.snapshot(Archived::NAME, &name(number), None)))
        .buffer_unordered(AT_ONCE);
    while let Some(kept) = kept.next().await {
        kept.map_err(|e| LoadError::Command(e.to_string()))?;
    }
    Ok(())
}

async fn ask_all<A: Measured>(client: &Client, aggregates: Range<u64>) -> Result<(), BenchError> {
    let mut all: FuturesUnordered<_> = aggregates.map(|number| ask::<A>(client, number)).collect();
    while let Some(answer) = all.next().await {
        answer?;
    }
    Ok(())
}

async fn warm_up<A: Measured>(client: &Client) {
    let mut all: FuturesUnordered<_> = NOBODY.map(|number| ask::<A>(client, number)).collect();
    // that they are not there is what is expected
    while all.next().await.is_some() {}
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn rate(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
