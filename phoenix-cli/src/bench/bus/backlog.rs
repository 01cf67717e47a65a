//! Commands that wait, and how fast the replies to them come.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use phoenix_bench::LoadError;
use phoenix_runtime::bus::{Bus, TopicPartition};

use crate::bench::error::BenchError;
use crate::bench::whole::Commits;

/// How often it is looked how many replies there are.
const LOOK: Duration = Duration::from_millis(10);

/// Without a reply for so long nothing is expected any more.
const PATIENCE: Duration = Duration::from_mins(1);

/// Since when a backlog is drained: before that a group forms.
#[derive(Debug, Clone, Default)]
pub(super) struct Start(Arc<OnceLock<Instant>>);

impl Start {
    /// It is now, unless it was before.
    pub(super) fn now(&self) {
        self.0.get_or_init(Instant::now);
    }

    /// It is when the first commands are durable, seen by the metrics.
    pub(super) async fn at_the_first_commit(&self, before: Commits) {
        while Commits::now().since(before).is_none() {
            tokio::time::sleep(LOOK).await;
        }
        self.now();
    }
}

/// Waits until so many replies are in a partition that had none; how many a second, since the first commands were taken.
pub(super) async fn drained(
    bus: &Arc<dyn Bus>,
    replies: &TopicPartition,
    wanted: u64,
    start: &Start,
) -> Result<f64, BenchError> {
    let (mut last, mut seen) = (Instant::now(), 0);
    loop {
        // nobody commits under this name
        let end = bus.offsets(replies.clone(), "phoenix-bench-watch").await?.end;
        let now = Instant::now();
        if end > seen {
            (last, seen) = (now, end);
        }
        if let (true, Some(start)) = (end >= wanted, start.0.get()) {
            #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 commands")]
            return Ok(end as f64 / now.duration_since(*start).as_secs_f64());
        }
        if last.elapsed() > PATIENCE {
            let text = format!("{seen} of {wanted} replies came, and no further one within {PATIENCE:?}");
            return Err(LoadError::Command(text).into());
        }
        tokio::time::sleep(LOOK).await;
    }
}
