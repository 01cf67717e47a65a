//! Databases, rows and an owner that follows its slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::event_store::port::{
    Batch, CommandData, Epoch, EventData, Lane, Partition, Position, Record, Snapshot, StoreError, StoredEvent,
    StreamId,
};
use phoenix_runtime::event_store::sources::{Members, MoveError, Mover, Source, SourcesStore};
use phoenix_runtime::event_store::{EventStore, MemoryStore};
use uuid::Uuid;

/// Two databases in memory that outlive whoever opens them.
#[derive(Clone, Default)]
pub(crate) struct Databases {
    pub(crate) home: MemoryStore,
    pub(crate) b: MemoryStore,
}

impl Databases {
    pub(crate) fn all(&self) -> [(&'static str, &MemoryStore); 2] {
        [("home", &self.home), ("b", &self.b)]
    }

    pub(crate) async fn members(&self) -> Members {
        members_of(Arc::new(self.home.clone()), Arc::new(self.b.clone())).await.unwrap()
    }

    pub(crate) async fn store(&self) -> Arc<SourcesStore> {
        Arc::new(SourcesStore::open(self.members().await).await.unwrap())
    }

    pub(crate) async fn mover(&self) -> Mover {
        Mover::new(self.members().await)
    }
}

pub(crate) async fn members_of(
    home: Arc<dyn Source>,
    b: Arc<dyn Source>,
) -> Result<Members, phoenix_runtime::event_store::sources::MembersError> {
    Members::open(home, BTreeMap::from([("b".to_owned(), b)])).await
}

/// Moves these slices, without anybody who watches.
pub(crate) async fn deal(mover: &Mover, slices: impl IntoIterator<Item = u16>, to: &str) -> Result<(), MoveError> {
    for slice in slices {
        mover.move_slice(Slice(slice), to, |_| {}).await?;
    }
    Ok(())
}

pub(crate) fn stream(id: &str) -> StreamId {
    StreamId { aggregate: "account".into(), id: AggregateId::new(id).unwrap() }
}

/// An id in this slice.
pub(crate) fn id_in(slice: u16, nth: usize) -> String {
    (0..).map(|n| format!("a{n}")).filter(|id| stream(id).slice() == Slice(slice)).nth(nth).unwrap()
}

/// The row of a command: an event, or an outcome without one where there is no version.
pub(crate) fn row(id: &str, version: Option<u64>, number: u64) -> Record {
    let kind = if version.is_some() { OutcomeKind::Replied } else { OutcomeKind::Rejected };
    let command = CommandData {
        id: MessageId(Uuid::from_u128(u128::from(number) << 64)),
        dedup: Dedup(u128::from(number).to_be_bytes()),
        name: "deposit".into(),
        key: Some(format!("key {number}")),
        payload_hash: number,
        outcome: Outcome { kind, version: version.unwrap_or(0), codec: 1, body: b"{}".to_vec() },
        correlation_id: None,
        causation_id: None,
    };
    let event = version.map(|version| EventData {
        version,
        name: "deposited".into(),
        schema_version: 1,
        codec: 1,
        payload: format!("{{\"n\":{number}}}").into_bytes(),
    });
    let slice = stream(id).slice();
    Record { stream: stream(id), slice, sequence: 0, time_micros: 7, event, command: Some(Box::new(command)) }
}

pub(crate) fn snapshot(id: &str, version: u64) -> Snapshot {
    Snapshot {
        stream: stream(id),
        version,
        time_micros: 7,
        fingerprint: 1,
        codec: 1,
        payload: version.to_be_bytes().into(),
    }
}

/// Owns everything, gives numbers, and appends to wherever the slice is.
pub(crate) struct Owner {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) epochs: Vec<(Partition, Epoch)>,
    sequences: BTreeMap<Slice, u64>,
    versions: BTreeMap<String, u64>,
}

impl Owner {
    pub(crate) async fn of(store: Arc<dyn EventStore>) -> Result<Self, StoreError> {
        let epochs = store.acquire(vec![Partition(0), Partition(1)]).await?;
        let sequences = store.last_sequences((0..1024).map(Slice).collect()).await?;
        Ok(Self { store, epochs, sequences, versions: BTreeMap::new() })
    }

    /// What the next command of this aggregate appends.
    pub(crate) async fn decide(&mut self, id: &str, number: u64, event: bool) -> Result<Arc<Batch>, StoreError> {
        let known = self.versions.get(id).copied();
        let last = match known {
            Some(last) => last,
            None => self.store.read_stream(stream(id), 1, usize::MAX).await?.last().map_or(0, |e| e.event.version),
        };
        self.versions.insert(id.to_owned(), last);
        let mut record = row(id, event.then_some(last + 1), number);
        record.sequence = self.sequences.get(&record.slice).copied().unwrap_or(0) + 1;
        Ok(Arc::new(Batch { epochs: self.epochs.clone(), records: vec![record] }))
    }

    pub(crate) fn lane(&self, batch: &Batch) -> Lane {
        self.store.lane(batch.records[0].slice)
    }

    pub(crate) fn appended(&mut self, batch: &Batch) {
        for record in &batch.records {
            self.sequences.insert(record.slice, record.sequence);
            if let Some(event) = &record.event {
                self.versions.insert(record.stream.id.to_string(), event.version);
            }
        }
    }

    /// Appends the next command of this aggregate, where it is now.
    pub(crate) async fn append(&mut self, id: &str, number: u64) -> Result<(), StoreError> {
        let batch = self.decide(id, number, true).await?;
        let done = self.store.append_in(self.lane(&batch), Arc::clone(&batch)).await;
        done.map(|()| self.appended(&batch))
    }

    /// Appends the next command of this aggregate, wherever its slice has moved to.
    pub(crate) async fn follow(&mut self, id: &str, number: u64) -> Result<(), StoreError> {
        match self.append(id, number).await {
            Err(StoreError::Moved(_)) => self.append(id, number).await,
            done => done,
        }
    }
}

/// Sorts by slice and sequence: slices come in any order.
pub(crate) fn sorted((mut events, position): (Vec<StoredEvent>, Position)) -> (Vec<StoredEvent>, Position) {
    events.sort_by_key(|stored| (stored.slice, stored.sequence));
    (events, position)
}

/// All events, in pages, with the position behind them.
pub(crate) async fn drain(
    store: &dyn EventStore,
    mut position: Position,
    limit: usize,
) -> (Vec<StoredEvent>, Position) {
    let mut all = Vec::new();
    loop {
        let (page, behind) = store.read_all(position, limit).await.unwrap();
        position = behind;
        if page.is_empty() {
            return (all, position);
        }
        all.extend(page);
    }
}
