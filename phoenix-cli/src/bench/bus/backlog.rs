//! Commands that wait, and how fast the replies to them come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phoenix_bench::LoadError;
use phoenix_runtime::bus::{Bus, TopicPartition};

use crate::bench::error::BenchError;

/// How often it is looked how many replies there are.
const LOOK: Duration = Duration::from_millis(20);

/// Without a reply for so long nothing is expected any more.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until so many replies are in a partition that had none; how many a second, from the first that was seen on: before
/// that consumers join their group.
pub(super) async fn drained(bus: &Arc<dyn Bus>, replies: &TopicPartition, wanted: u64) -> Result<f64, BenchError> {
    let mut first = None;
    let (mut last, mut seen) = (Instant::now(), 0);
    loop {
        // nobody commits under this name
        let end = bus.offsets(replies.clone(), "phoenix-bench-watch").await?.end;
        let now = Instant::now();
        if end > seen {
            (last, seen) = (now, end);
            let (since, before) = *first.get_or_insert((now, end));
            if end >= wanted {
                #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 commands")]
                return Ok((end - before) as f64 / now.duration_since(since).as_secs_f64());
            }
        }
        if last.elapsed() > PATIENCE {
            let text = format!("{seen} of {wanted} replies came, and no further one within {PATIENCE:?}");
            return Err(LoadError::Command(text).into());
        }
        tokio::time::sleep(LOOK).await;
    }
}
