//! Making a batch durable, whatever it takes.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ports::{Clock, Seed};
use crate::engine::health::Health;
use crate::event_store::port::{Batch, EventStore, Lane, StoreError};

/// Waits between attempts to reach the store: doubled each time, with jitter.
#[derive(Clone)]
pub(crate) struct Backoff {
    clock: Arc<dyn Clock>,
    seed: Arc<dyn Seed>,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(clock: Arc<dyn Clock>, seed: Arc<dyn Seed>, longest: Duration) -> Self {
        Self { clock, seed, next: Duration::from_millis(10), longest }
    }

    pub(crate) async fn wait(&mut self) {
        let micros = u64::try_from(self.next.as_micros()).unwrap_or(u64::MAX).max(2);
        let jittered = micros / 2 + self.seed.next_u64() % (micros / 2);
        self.next = (self.next * 2).min(self.longest);
        self.clock.sleep(Duration::from_micros(jittered)).await;
    }
}

/// Why a batch was not appended, for good.
pub(crate) struct Failed {
    /// `Fenced`, `Conflict`, `Moved`, `Refused` or `Damaged`.
    pub(crate) error: StoreError,
    /// Whether an earlier attempt may have stored it.
    pub(crate) uncertain: bool,
}

/// Appends a batch. While its outcome is unknown the identical rows are sent again, until they are stored or conflict
/// with themselves.
///
/// # Errors
/// Only final ones: `Fenced`, `Conflict`, `Moved`, `Refused`, `Damaged`.
pub(crate) async fn persist(
    store: Arc<dyn EventStore>,
    lane: Lane,
    batch: Arc<Batch>,
    mut backoff: Backoff,
    health: &Health,
) -> Result<(), Failed> {
    let mut uncertain = false;
    let mut struggle = None;
    loop {
        match store.append_in(lane, Arc::clone(&batch)).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Unavailable(reason)) => tracing::warn!(reason, "append not done; trying again"),
            Err(StoreError::Unknown(reason)) => {
                uncertain = true;
                tracing::warn!(reason, "append of unknown outcome; sending the identical rows again");
            }
            Err(conflict @ StoreError::Conflict(_)) if uncertain => match is_stored(&*store, &batch).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Failed { error: conflict, uncertain: false }),
                Err(reason) => tracing::warn!(%reason, "can't ask whether the batch is stored; trying again"),
            },
            // what was stored before the slices moved has moved with them
            Err(moved @ StoreError::Moved(_)) if uncertain && !batch.records.is_empty() => {
                match is_stored(&*store, &batch).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => return Err(Failed { error: moved, uncertain }),
                    Err(reason) => tracing::warn!(%reason, "can't ask whether the batch is stored; trying again"),
                }
            }
            // nobody has the slices for a moment: who needs them waits until they can be read again, the others go on
            Err(moved @ StoreError::Moved(_)) if is_on_the_move(&*store, lane, &moved) => {
                backoff.wait().await;
                return Err(Failed { error: moved, uncertain });
            }
            // what was sent before ownership was lost may be stored
            Err(fenced @ StoreError::Fenced { .. }) => return Err(Failed { error: fenced, uncertain }),
            Err(error) => return Err(Failed { error, uncertain: false }),
        }
        struggle.get_or_insert_with(|| health.struggle());
        backoff.wait().await;
    }
}

/// Whether slices have left a lane, and the store does not know of another one yet.
fn is_on_the_move(store: &dyn EventStore, lane: Lane, error: &StoreError) -> bool {
    matches!(error, StoreError::Moved(slices) if slices.iter().any(|slice| store.lane(*slice) == lane))
}

/// Whether the rows that a batch is in conflict with are its own: it is stored whole, so its first command tells.
async fn is_stored(store: &dyn EventStore, batch: &Batch) -> Result<bool, StoreError> {
    let Some((record, command)) = batch.records.iter().find_map(|r| Some((r, r.command.as_ref()?))) else {
        return Ok(false);
    };
    let found = store.outcomes(vec![(record.stream.clone(), command.dedup)]).await?;
    Ok(found.into_iter().flatten().any(|stored| {
        stored.command.id == command.id
            && stored.sequence == record.sequence
            && stored.first_version == record.event.as_ref().map(|event| event.version)
    }))
}
