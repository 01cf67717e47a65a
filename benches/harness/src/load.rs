//! Callers: in a closed loop as fast as answers come, in an open loop at a given rate.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::latency::Latencies;
use crate::messages::{AGGREGATES, Message, Messages};

/// Whatever takes deposits.
pub trait Target: Clone + Send + Sync + 'static {
    /// One deposit, until its answer.
    fn deposit(&self, message: Message) -> impl Future<Output = Result<(), LoadError>> + Send;
}

/// Why there is no figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// A command failed.
    Command(String),
    /// A caller panicked.
    Caller(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(reason) => write!(f, "a command failed: {reason}"),
            Self::Caller(reason) => write!(f, "a caller ended early: {reason}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// How many callers there are, and how many commands each has on its way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Callers {
    /// How many callers.
    pub clients: usize,
    /// How many commands of each.
    pub in_flight: usize,
}

impl Callers {
    /// Many callers with many commands each.
    pub const FULL: Self = Self { clients: 64, in_flight: 64 };
    /// Many callers with one command each.
    pub const WIDE: Self = Self { clients: 64, in_flight: 1 };
    /// A few callers with one command each.
    pub const FEW: Self = Self { clients: 8, in_flight: 1 };
    /// One command at a time.
    pub const ONE: Self = Self { clients: 1, in_flight: 1 };
}

impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.clients, self.in_flight)
    }
}

/// What callers saw.
#[derive(Debug)]
pub struct Seen {
    /// Commands a second.
    pub per_second: f64,
    /// Of every command.
    pub latencies: Latencies,
}

/// Sends a first command to every aggregate, so many at once.
///
/// # Errors
/// A command that fails.
pub async fn warm_up(target: &impl Target, at_once: usize) -> Result<(), LoadError> {
    let mut numbers = 0..AGGREGATES;
    let first = |account| target.deposit(Message::to(account));
    let mut waiting: FuturesUnordered<_> = numbers.by_ref().take(at_once).map(first).collect();
    while let Some(answer) = waiting.next().await {
        answer?;
        waiting.extend(numbers.next().map(first));
    }
    Ok(())
}

/// Callers that send the next command when an answer comes.
///
/// # Errors
/// A command that fails, and a caller that panics.
pub async fn closed(
    target: &impl Target,
    callers: Callers,
    keyed: bool,
    duration: Duration,
) -> Result<Seen, LoadError> {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    let end = began + duration;
    for client in 0..callers.clients {
        let target = target.clone();
        tasks.spawn(async move {
            // one task a client; each of its lines has one command on its way
            let lines = (0..callers.in_flight).map(|line| {
                let mut messages = Messages::new((client * callers.in_flight + line) as u64 + 1, keyed);
                let target = &target;
                async move {
                    let mut latencies = Latencies::default();
                    loop {
                        let now = Instant::now();
                        if now >= end {
                            break;
                        }
                        latencies.add(timed(target, messages.any(), now).await?);
                    }
                    Ok::<_, LoadError>(latencies)
                }
            });
            let mut all = Latencies::default();
            for latencies in try_join_all(lines).await? {
                all.append(latencies);
            }
            Ok(all)
        });
    }
    let latencies = gather(tasks).await?;
    Ok(seen(latencies, began.elapsed()))
}

/// Commands at a constant rate, whether answers come or not. A latency counts from the moment when the command was
/// due: a stall delays those behind it, and shows in each of them (no coordinated omission).
///
/// # Errors
/// A command that fails, and a caller that panics.
pub async fn open(target: &impl Target, per_second: f64, duration: Duration) -> Result<Seen, LoadError> {
    const SENDERS: usize = 8;
    let mut tasks = JoinSet::new();
    let mut lines = Vec::with_capacity(SENDERS);
    for number in 0..SENDERS {
        let (line, mut due) = mpsc::unbounded_channel::<Instant>();
        lines.push(line);
        let (target, mut messages) = (target.clone(), Messages::new(number as u64 + 1_000_001, false));
        tasks.spawn(async move {
            let (mut latencies, mut waiting, mut more) = (Latencies::default(), FuturesUnordered::new(), true);
            while more || !waiting.is_empty() {
                tokio::select! {
                    next = due.recv(), if more => match next {
                        Some(due) => waiting.push(timed(&target, messages.any(), due)),
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
    pace.await.map_err(|e| LoadError::Caller(e.to_string()))?;
    let latencies = gather(tasks).await?;
    Ok(seen(latencies, began.elapsed()))
}

async fn timed(target: &impl Target, message: Message, since: Instant) -> Result<Duration, LoadError> {
    target.deposit(message).await?;
    Ok(since.elapsed())
}

async fn gather(mut tasks: JoinSet<Result<Latencies, LoadError>>) -> Result<Latencies, LoadError> {
    let mut all = Latencies::default();
    while let Some(ended) = tasks.join_next().await {
        all.append(ended.map_err(|e| LoadError::Caller(e.to_string()))??);
    }
    Ok(all)
}

fn seen(latencies: Latencies, elapsed: Duration) -> Seen {
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 commands")]
    let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
    Seen { per_second, latencies }
}
