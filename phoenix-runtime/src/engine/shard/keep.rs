//! Snapshots on their way into the store, and what they make superfluous.
//!
//! All of it is done beside the commands, a few at a time for each lane; more than a bound does not wait. A snapshot comes
//! here when its version is durable, and what is older is let go when the snapshot itself is. What fails is done with the
//! next one.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::error::{Code, Fault, QueryError};
use crate::engine::shard::{Done, Shard};
use crate::event_store::port::{EventStore, Lane, Snapshot, StoreError, StreamId};

/// How many snapshots of a lane are being written at a time.
const AT_A_TIME: usize = 4;

/// How many snapshots of a lane may wait for that; together they may have as many bytes as a batch.
const MOST: usize = 256;

/// A snapshot whose version is durable.
pub(crate) struct Keeping {
    pub(crate) snapshot: Snapshot,
    /// How many of the stream stay.
    pub(crate) kept: usize,
    /// Whether what is below the oldest that stays may leave for the archive.
    pub(crate) archive: bool,
    /// Who asked for it.
    pub(crate) told: Option<oneshot::Sender<Result<u64, QueryError>>>,
}

impl Shard {
    pub(super) fn keep(&mut self, lane: Lane, keeping: Keeping) {
        let most_bytes = self.options.max_batch_bytes;
        let waiting = &mut self.lanes.work(lane).keeping;
        let bytes: usize = waiting.iter().map(|keeping| keeping.snapshot.payload.len()).sum();
        // a large one alone is no less welcome
        if waiting.is_empty() || (waiting.len() < MOST && bytes + keeping.snapshot.payload.len() <= most_bytes) {
            return waiting.push_back(keeping);
        }
        let (stream, version) = (&keeping.snapshot.stream, keeping.snapshot.version);
        tracing::warn!(%stream, version, "the store is too slow for its snapshots; this one is not written");
        if let Some(told) = keeping.told {
            let text = "the store is too slow: as many snapshots as may wait for it do; try again later";
            // whoever asked may be gone
            let _ = told.send(Err(Fault::new(Code::StoreFailed, text).into()));
        }
    }

    /// Starts what may be under way at a time.
    pub(super) fn keep_some(&mut self, lane: Lane) -> bool {
        let mut progress = false;
        while self.lanes.work(lane).keepers < AT_A_TIME {
            let Some(keeping) = self.lanes.work(lane).keeping.pop_front() else { break };
            self.lanes.work(lane).keepers += 1;
            // a node that ends leaves the tidying to the next snapshot
            let (store, tidies) = (Arc::clone(&self.store), !self.draining);
            self.tasks.push(Box::pin(async move {
                keep(&*store, keeping, tidies).await;
                Done::Kept(lane)
            }));
            progress = true;
        }
        progress
    }
}

async fn keep(store: &dyn EventStore, keeping: Keeping, tidies: bool) {
    let Keeping { snapshot, kept, archive, told } = keeping;
    let (stream, version) = (snapshot.stream.clone(), snapshot.version);
    let written = store.put_snapshot(snapshot).await;
    if let Err(error) = &written {
        // the stream has everything: the next snapshot is as good
        tracing::warn!(%stream, version, %error, "the snapshot was not written");
    }
    let done = written.is_ok();
    if let Some(told) = told {
        let answer = written.map(|()| version);
        // whoever asked may be gone
        let _ = told.send(answer.map_err(|error| Fault::new(Code::StoreFailed, error.to_string()).into()));
    }
    if done
        && tidies
        && let Err(error) = tidy(store, &stream, version, kept, archive).await
    {
        tracing::warn!(%stream, version, %error, "what is older than the snapshots was not let go; the next one will see to it");
    }
}

/// Drops snapshots behind the newest `kept`, and lets events go that those do not need.
async fn tidy(
    store: &dyn EventStore,
    stream: &StreamId,
    version: u64,
    kept: usize,
    archive: bool,
) -> Result<(), StoreError> {
    // one above this version is not known to be durable, so it stands for nothing
    let durable = store.snapshots(stream.clone()).await?.into_iter().filter(|info| info.version <= version);
    let mut newest: Vec<u64> = durable.map(|info| info.version).collect();
    let more = newest.len() > kept;
    newest.truncate(kept);
    let Some(oldest) = newest.last().copied() else { return Ok(()) };
    if more {
        store.drop_snapshots(stream.clone(), oldest).await?;
    }
    if archive && oldest > 1 {
        store.retain(stream.clone(), oldest).await?;
    }
    Ok(())
}
