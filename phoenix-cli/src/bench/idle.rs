//! The memory of idle aggregates, from the growth of a process of its own: what the allocator wastes counts.

use std::process::Command;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use phoenix_bench::LoadError;
use phoenix_runtime::event_store::NoStore;
use serde::{Deserialize, Serialize};

use super::error::BenchError;
use super::whole::Whole;
use super::workload::{Account, Measured, deposit};

/// How many aggregates are made.
const IDLE: u64 = 1_000_000;
/// How many of them get how many keys.
const KEYED: u64 = 20_000;
const KEYS: u64 = 100;

/// Bytes of memory.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bytes {
    /// Of an aggregate, with its state.
    pub(crate) aggregate: f64,
    /// Of its state alone.
    pub(crate) state: f64,
    /// Of each key that it remembers.
    pub(crate) key: f64,
}

/// Measures in a new process: this one's memory has been used for other things.
pub(crate) async fn measure() -> Result<Bytes, BenchError> {
    let failed = |text: String| BenchError::Probe(text);
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let run = move || Command::new(program).args(["bench", "--probe-memory"]).output();
    let output = tokio::task::spawn_blocking(run).await.map_err(|e| LoadError::Caller(e.to_string()))?;
    let output = output.map_err(|e| failed(e.to_string()))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|e| failed(format!("{e}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// Measures in this process, which must be a new one.
pub(crate) async fn probe() -> Result<Bytes, BenchError> {
    let whole = Whole::over(Arc::new(NoStore::new())).await?;
    let client = whole.engine.client();
    // the engine's own buffers grow first
    run(&client, IDLE..IDLE + KEYED, None).await?;
    let before = resident()?;
    run(&client, 0..IDLE, None).await?;
    let aggregate = per(resident()? - before, IDLE);
    // 4 keys each, so that buffers and the first steps of growth are behind us
    for round in 0..4 {
        run(&client, 0..KEYED, Some(round)).await?;
    }
    let before = resident()?;
    for round in 4..KEYS {
        run(&client, 0..KEYED, Some(round)).await?;
    }
    let key = per(resident()? - before, KEYED * (KEYS - 4));
    #[allow(clippy::cast_precision_loss, reason = "a few bytes")]
    let state = size_of::<Account>() as f64;
    Ok(Bytes { aggregate, state, key })
}

async fn run(
    client: &phoenix_runtime::client::Client,
    accounts: std::ops::Range<u64>,
    round: Option<u64>,
) -> Result<(), BenchError> {
    let key = |account| round.map(|round| format!("{round}-{account}"));
    let all = accounts.map(|account| Account::deposit(client, deposit(account), key(account)));
    let mut answers = stream::iter(all).buffer_unordered(512);
    while let Some(answer) = answers.next().await {
        answer.map_err(|e| LoadError::Command(e.to_string()))?;
    }
    Ok(())
}

/// Resident memory in bytes.
fn resident() -> Result<f64, BenchError> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| BenchError::Probe(e.to_string()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| BenchError::Probe("the system does not tell VmRSS".to_owned()))
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn per(bytes: f64, count: u64) -> f64 {
    bytes / count as f64
}
