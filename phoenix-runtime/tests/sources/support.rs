//! Databases, rows and an owner that follows its slices.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::port::{
    Batch, CommandData, Epoch, EventData, Lane, Partition, Position, Record, Snapshot, StoreError, StoredEvent,
    StreamId,
};
use phoenix_runtime::event_store::sources::{Members, MoveError, Mover, Source, SourcesStore};
use phoenix_runtime::event_store::{EventStore, MemoryStore};
use phoenix_runtime::testkit::gated_source::{Gate, GatedSource};
use uuid::Uuid;

/// Two databases that outlive whoever opens them.
#[derive(Clone)]
pub(crate) struct Databases {
    pub(crate) home: Arc<dyn Source>,
    pub(crate) b: Arc<dyn Source>,
}

impl Default for Databases {
    fn default() -> Self {
        Self { home: Arc::new(MemoryStore::new()), b: Arc::new(MemoryStore::new()) }
    }
}

impl Databases {
    pub(crate) fn all(&self) -> [&Arc<dyn Source>; 2] {
        [&self.home, &self.b]
    }

    pub(crate) async fn members(&self) -> Members {
        members_of(Arc::clone(&self.home), Arc::clone(&self.b)).await.unwrap()
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

/// Everything that can be asked of a slice.
pub(crate) async fn dump(store: &dyn EventStore, slice: u16) -> Vec<String> {
    let mut all = vec![format!("{:?}", store.last_sequences(vec![Slice(slice)]).await.unwrap())];
    for nth in 0..3 {
        let id = stream(&id_in(slice, nth));
        all.push(format!("{:?}", store.read_stream(id.clone(), 1, 1000).await.unwrap()));
        all.push(format!("{:?}", store.snapshot(id.clone(), u64::MAX).await.unwrap()));
        all.push(format!("{:?}", store.known_keys(id.clone(), 1000).await.unwrap()));
        let commands = (0..30).map(|n| (id.clone(), row("x", None, n).command.unwrap().dedup)).collect();
        all.push(format!("{:?}", store.outcomes(commands).await.unwrap()));
    }
    all
}

/// Two slices with events, outcomes and snapshots.
pub(crate) async fn filled(store: Arc<dyn EventStore>) -> Owner {
    let mut owner = Owner::of(store).await.unwrap();
    for slice in [5, 6] {
        for nth in 0..3 {
            let id = id_in(slice, nth);
            for number in 0..10 {
                let batch = owner.decide(&id, number, number % 3 != 2).await.unwrap();
                owner.store.append_in(owner.lane(&batch), Arc::clone(&batch)).await.unwrap();
                owner.appended(&batch);
            }
            owner.store.put_snapshot(snapshot(&id, 4)).await.unwrap();
        }
    }
    owner
}

/// Lets a number of calls through; then everything fails, the last one after it was done or before.
pub(crate) struct Deadly {
    pub(crate) left: AtomicU64,
    done: bool,
}

impl Deadly {
    pub(crate) fn new(calls: u64, done: bool) -> Self {
        Self { left: AtomicU64::new(calls), done }
    }
}

impl Gate for Deadly {
    fn before(&self, _: &'static str) -> BoxFuture<'_, Result<(), StoreError>> {
        let left = self.left.load(Ordering::Relaxed);
        let last = u64::from(!self.done);
        Box::pin(ready(if left < last { Err(StoreError::Unavailable("killed".to_owned())) } else { Ok(()) }))
    }

    fn after(&self, _: &'static str) -> BoxFuture<'_, Result<(), StoreError>> {
        let went = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        Box::pin(ready(went.map(drop).map_err(|_| StoreError::Unknown("killed".to_owned()))))
    }
}

pub(crate) async fn behind(databases: &Databases, gate: Arc<Deadly>) -> Members {
    // what brings them together is not the move
    let left = gate.left.swap(u64::MAX, Ordering::Relaxed);
    let gated = |inner| Arc::new(GatedSource::new(inner, Arc::clone(&gate) as Arc<dyn Gate>));
    let members = members_of(gated(Arc::clone(&databases.home)), gated(Arc::clone(&databases.b))).await.unwrap();
    gate.left.store(left, Ordering::Relaxed);
    members
}
