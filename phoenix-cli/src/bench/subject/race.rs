//! Connections that insert batches side by side, as fast as they can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use phoenix_bench::{Latencies, Seen};
use phoenix_runtime::domain::ports::BoxFuture;
use tokio::task::JoinSet;

use super::BenchError;
use crate::bench::whole::cpu_micros;

/// A connection that inserts.
pub(super) trait Inserts: Send + 'static {
    /// Rows, ready to be sent.
    type Batch: Send + Sync + 'static;

    /// How many rows it has.
    fn len(batch: &Self::Batch) -> usize;

    /// Inserts them in one transaction.
    fn insert(&mut self, batch: &Self::Batch) -> impl Future<Output = Result<(), BenchError>> + Send;
}

/// Rows that are ready to be inserted in batches, and connections to do it: for loops that do something else besides.
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only loops over a bus need it"))]
pub(crate) struct Rows {
    /// How many rows each batch has.
    pub(crate) sizes: Vec<usize>,
    pub(crate) connections: Vec<Box<dyn InsertsBatch>>,
}

/// A connection that inserts batches by their numbers.
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only loops over a bus need it"))]
pub(crate) trait InsertsBatch: Send {
    /// Inserts this batch in one transaction.
    fn insert(&mut self, number: usize) -> BoxFuture<'_, Result<(), BenchError>>;
}

struct Numbered<I: Inserts> {
    connection: I,
    batches: Arc<Vec<I::Batch>>,
}

impl<I: Inserts> InsertsBatch for Numbered<I> {
    fn insert(&mut self, number: usize) -> BoxFuture<'_, Result<(), BenchError>> {
        Box::pin(async move {
            let none = || BenchError::Bare(format!("there is no batch {number}"));
            self.connection.insert(self.batches.get(number).ok_or_else(none)?).await
        })
    }
}

impl Rows {
    pub(super) fn new<I: Inserts>(connections: Vec<I>, batches: Vec<I::Batch>) -> Self {
        let sizes = batches.iter().map(I::len).collect();
        let batches = Arc::new(batches);
        let numbered = |connection| Numbered { connection, batches: Arc::clone(&batches) };
        let boxed = |connection| Box::new(numbered(connection)) as Box<dyn InsertsBatch>;
        Self { sizes, connections: connections.into_iter().map(boxed).collect() }
    }
}

/// Each connection takes the next batch as soon as its last one is durable. Also says how many microseconds of a core
/// each row took in this process.
pub(super) async fn race<I: Inserts>(
    connections: Vec<I>,
    batches: Vec<I::Batch>,
    at_most: Duration,
) -> Result<(Seen, Option<f64>), BenchError> {
    let (batches, next) = (Arc::new(batches), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    let (cpu_before, began) = (cpu_micros(), Instant::now());
    for mut connection in connections {
        let (batches, next) = (Arc::clone(&batches), Arc::clone(&next));
        tasks.spawn(async move {
            let (mut latencies, mut rows) = (Latencies::default(), 0);
            while began.elapsed() < at_most {
                let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let since = Instant::now();
                connection.insert(batch).await?;
                latencies.add(since.elapsed());
                rows += I::len(batch);
            }
            Ok::<_, BenchError>((latencies, rows))
        });
    }
    let (mut latencies, mut rows) = (Latencies::default(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (seen, inserted) = ended??;
        latencies.append(seen);
        rows += inserted;
    }
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 rows")]
    let rows = rows as f64;
    let per_second = rows / began.elapsed().as_secs_f64();
    let cpu = cpu_micros().zip(cpu_before).map(|(after, before)| (after - before) / rows);
    Ok((Seen { per_second, latencies }, cpu))
}
