//! Callers: in a closed loop as fast as answers come, in an open loop at a given rate.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use phoenix_runtime::client::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::BenchError;
use super::latency::Latencies;
use super::workload::{AGGREGATES, Account, Measured, Messages, deposit};

/// How many callers there are, and how many commands each has on its way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Callers {
    pub(crate) clients: usize,
    pub(crate) in_flight: usize,
}

impl std::fmt::Display for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", self.clients, self.in_flight)
    }
}

/// What callers saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) per_second: f64,
    pub(crate) latencies: Latencies,
}

/// Sends a first command to every aggregate, so that all of them are in memory.
pub(crate) async fn warm_up(client: &Client) -> Result<(), BenchError> {
    let mut numbers = 0..AGGREGATES;
    let first = |number| Account::deposit(client, deposit(number), None);
    let mut waiting: FuturesUnordered<_> = numbers.by_ref().take(1000).map(first).collect();
    while let Some(answer) = waiting.next().await {
        answer.map_err(|e| BenchError::Command(e.to_string()))?;
        waiting.extend(numbers.next().map(first));
    }
    Ok(())
}

/// Callers that send the next command when an answer comes.
pub(crate) async fn closed(
    client: &Client,
    callers: Callers,
    keyed: bool,
    duration: Duration,
) -> Result<Seen, BenchError> {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    let end = began + duration;
    for number in 0..callers.clients {
        let (client, mut messages) = (client.clone(), Messages::new(number as u64 + 1, keyed));
        tasks.spawn(async move {
            let mut latencies = Latencies::default();
            if callers.in_flight == 1 {
                // what a service does that has one thing to ask
                while Instant::now() < end {
                    latencies.add(timed(&client, messages.next(), Instant::now()).await?);
                }
                return Ok(latencies);
            }
            let mut waiting: FuturesUnordered<_> =
                (0..callers.in_flight).map(|_| timed(&client, messages.next(), Instant::now())).collect();
            while let Some(latency) = waiting.next().await {
                latencies.add(latency?);
                let now = Instant::now();
                if now < end {
                    waiting.push(timed(&client, messages.next(), now));
                }
            }
            Ok(latencies)
        });
    }
    let latencies = gather(tasks).await?;
    Ok(seen(latencies, began.elapsed()))
}

/// Commands at a constant rate, whether answers come or not. A latency counts from the moment when the command was
/// due: a stall delays those behind it, and shows in each of them (no coordinated omission).
pub(crate) async fn open(client: &Client, per_second: f64, duration: Duration) -> Result<Seen, BenchError> {
    const SENDERS: usize = 8;
    let mut tasks = JoinSet::new();
    let mut lines = Vec::with_capacity(SENDERS);
    for number in 0..SENDERS {
        let (line, mut due) = mpsc::unbounded_channel::<Instant>();
        lines.push(line);
        let (client, mut messages) = (client.clone(), Messages::new(number as u64 + 1001, false));
        tasks.spawn(async move {
            let (mut latencies, mut waiting, mut more) = (Latencies::default(), FuturesUnordered::new(), true);
            while more || !waiting.is_empty() {
                tokio::select! {
                    next = due.recv(), if more => match next {
                        Some(due) => waiting.push(timed(&client, messages.next(), due)),
                        None => more = false,
                    },
                    Some(latency) = waiting.next() => latencies.add(latency?),
                }
            }
            Ok(latencies)
        });
    }
    let began = Instant::now();
    // a thread of its own: the runtime's timers tick in milliseconds
    let pace = tokio::task::spawn_blocking(move || {
        let (mut sent, mut line) = (0_u32, 0);
        while began.elapsed() < duration {
            while began + Duration::from_secs_f64(f64::from(sent) / per_second) <= Instant::now() {
                let due = began + Duration::from_secs_f64(f64::from(sent) / per_second);
                // the other end lives until this one is dropped, or has failed, which is told there
                let _ = lines[line].send(due);
                (sent, line) = (sent + 1, (line + 1) % SENDERS);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    pace.await.map_err(|e| BenchError::Task(e.to_string()))?;
    let latencies = gather(tasks).await?;
    Ok(seen(latencies, began.elapsed()))
}

async fn timed(
    client: &Client,
    (command, key): (super::workload::Deposit, Option<String>),
    since: Instant,
) -> Result<Duration, BenchError> {
    match Account::deposit(client, command, key).await {
        Ok(_) => Ok(since.elapsed()),
        Err(error) => Err(BenchError::Command(error.to_string())),
    }
}

async fn gather(mut tasks: JoinSet<Result<Latencies, BenchError>>) -> Result<Latencies, BenchError> {
    let mut all = Latencies::default();
    while let Some(ended) = tasks.join_next().await {
        all.append(ended.map_err(|e| BenchError::Task(e.to_string()))??);
    }
    Ok(all)
}

fn seen(latencies: Latencies, elapsed: Duration) -> Seen {
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 commands")]
    let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
    Seen { per_second, latencies }
}
