//! Keeps nothing: for measurements of everything but the store, and for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::{AggregateId, Dedup, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::port::{
    Batch, Epoch, EventStore, KnownKeys, Load, Loaded, Partition, Position, Snapshot, SnapshotInfo, StoreError,
    StoredEvent, StoredOutcome, StreamId,
};
use crate::event_store::rules;

#[derive(Debug, Default)]
struct Owners {
    epochs: BTreeMap<Partition, Epoch>,
    partitions: Option<u16>,
}

/// An event store that takes everything and keeps nothing of it: who reads finds nothing. It knows who owns what, and no
/// more; so an aggregate that leaves memory is gone, and a repeat is done again once its aggregate has forgotten it.
#[derive(Debug, Clone, Default)]
pub struct NoStore(Arc<Mutex<Owners>>);

impl NoStore {
    /// An empty store, as it always is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, Result<T, StoreError>> {
    Box::pin(ready(Ok(answer)))
}

impl EventStore for NoStore {
    fn name(&self) -> String {
        "none".to_owned()
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        let mut owners = self.owners();
        let first = rules::partitions(wanted, !owners.epochs.is_empty());
        Box::pin(ready(first.map(|first| *owners.partitions.get_or_insert(first))))
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        let epochs = &mut self.owners().epochs;
        let raised = partitions.into_iter().map(|partition| {
            let epoch = epochs.entry(partition).or_insert(Epoch(0));
            epoch.0 += 1;
            (partition, *epoch)
        });
        answer(raised.collect())
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        let epochs = &self.owners().epochs;
        let fenced = rules::fence(&batch.epochs, |partition| Ok(epochs.get(&partition).copied().unwrap_or(Epoch(0))));
        Box::pin(ready(fenced.and_then(|()| rules::well_formed(&batch))))
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        answer(slices.into_iter().map(|slice| (slice, 0)).collect())
    }

    fn read_stream(&self, _: StreamId, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        answer(Vec::new())
    }

    fn read_all(
        &self,
        position: Position,
        _: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        answer((Vec::new(), position))
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        answer(vec![None; commands.len()])
    }

    fn known_keys(&self, _: StreamId, _: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        answer(KnownKeys { keys: Vec::new(), complete: true })
    }

    fn put_snapshot(&self, _: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        answer(())
    }

    fn snapshot(&self, _: StreamId, _: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        answer(None)
    }

    fn load(&self, loads: Vec<Load>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        let nothing = || Loaded {
            snapshot: None,
            events: Vec::new(),
            keys: KnownKeys { keys: Vec::new(), complete: true },
            cut: false,
        };
        answer(loads.iter().map(|_| nothing()).collect())
    }

    fn snapshots(&self, _: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        answer(Vec::new())
    }

    fn drop_snapshots(&self, _: StreamId, _: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        answer(0)
    }

    fn strip(&self, _: StreamId, _: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        answer(0)
    }

    fn refill(&self, _: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        answer(())
    }

    fn event_names(&self, _: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        answer(BTreeSet::new())
    }

    fn ids(
        &self,
        _: Arc<str>,
        _: Option<AggregateId>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        answer(Vec::new())
    }

    fn letters(&self) -> Option<&dyn Letters> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_store::port::{EventData, Record};

    fn batch(epoch: Epoch) -> Arc<Batch> {
        let id = AggregateId::new("a").unwrap_or_else(|_| unreachable!());
        let stream = StreamId { aggregate: "none".into(), id };
        let event =
            EventData { version: 1, name: "happened".into(), schema_version: 1, codec: 1, payload: b"{}".to_vec() };
        let slice = Slice::from_hash(crate::domain::id::identity_hash("none", "a"));
        let record = Record { stream, slice, sequence: 1, time_micros: 1, event: Some(event), command: None };
        Arc::new(Batch { epochs: vec![(Partition(slice.0 % 16), epoch)], records: vec![record] })
    }

    #[tokio::test]
    async fn it_takes_everything_of_its_owner_and_keeps_nothing() -> Result<(), StoreError> {
        let store = NoStore::new();
        assert!(!store.is_durable());
        let all = || (0..16).map(Partition).collect();
        let first = store.acquire(all()).await?[0].1;
        let stream = batch(first).records[0].stream.clone();
        for _ in 0..2 {
            store.append(batch(first)).await?;
        }
        assert_eq!(store.read_stream(stream.clone(), 1, 10).await?, []);
        assert_eq!(store.read_all(Position::default(), 10).await?, (Vec::new(), Position::default()));
        assert!(store.known_keys(stream, 10).await?.complete);
        let second = store.clone().acquire(all()).await?[0].1;
        assert!(matches!(store.append(batch(first)).await, Err(StoreError::Fenced { .. })));
        store.append(batch(second)).await
    }
}
