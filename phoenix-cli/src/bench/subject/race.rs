//! Connections that insert batches side by side, as fast as they can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use phoenix_bench::{Latencies, Seen};
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
