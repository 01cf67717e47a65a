//! Rows to append, and everything that can be asked of a store as one text to compare.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::event_store::log::files::Files;
use phoenix_runtime::event_store::port::{
    Batch, CommandData, Epoch, EventData, Load, Partition, Position, Record, Snapshot, StoreError, StoredEvent,
    StreamId,
};
use phoenix_runtime::event_store::sqlite::OpenError;
use phoenix_runtime::event_store::{EventStore, LogStore, LogStoreOptions};
use uuid::Uuid;

/// So small that a few batches fill a segment, and a few records the index's memory.
pub(crate) fn small() -> LogStoreOptions {
    LogStoreOptions {
        segment_size: 4096,
        index_memory: 1,
        streams_in_memory: 4,
        // when a test says so, and not before
        compact_above: 101,
        ..LogStoreOptions::at("log")
    }
}

pub(crate) fn stream(number: u64) -> StreamId {
    StreamId { aggregate: "account".into(), id: AggregateId::new(format!("a{number}")).unwrap() }
}

/// The number of a stream.
pub(crate) fn number_of(stream: &StreamId) -> usize {
    stream.id.as_str()[1..].parse().unwrap()
}

/// Gives versions, sequence numbers and keys to the rows of one owner.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) versions: Vec<u64>,
    sequences: BTreeMap<Slice, u64>,
    commands: u64,
    pub(crate) epoch: u64,
}

impl Rows {
    pub(crate) fn new(streams: usize) -> Self {
        Self { versions: vec![0; streams], epoch: 1, ..Self::default() }
    }

    /// Goes on behind what was stored.
    pub(crate) fn absorb(&mut self, batch: &Batch) {
        for record in &batch.records {
            self.sequences.insert(record.slice, record.sequence);
            if let Some(event) = &record.event {
                self.versions[number_of(&record.stream)] = event.version;
            }
        }
    }

    /// Goes back to other numbers, but gives no key twice.
    pub(crate) fn back_to(&mut self, other: &Self) {
        *self = Self { commands: self.commands, ..other.clone() };
    }

    pub(crate) fn batch(&self, records: Vec<Record>) -> Arc<Batch> {
        Arc::new(Batch { epochs: vec![(Partition(0), Epoch(self.epoch))], records })
    }

    /// The next event of a stream, with its command.
    pub(crate) fn event(&mut self, of: u64, payload: usize) -> Record {
        let at = usize::try_from(of).unwrap();
        self.versions[at] += 1;
        let version = self.versions[at];
        let name = if version.is_multiple_of(2) { "paid" } else { "opened" };
        let payload = vec![u8::try_from(version % 251).unwrap(); payload];
        let event = EventData { version, name: name.into(), schema_version: 1, codec: 1, payload };
        self.record(of, Some(event))
    }

    /// The outcome of a command without events.
    pub(crate) fn outcome(&mut self, of: u64) -> Record {
        self.record(of, None)
    }

    fn record(&mut self, of: u64, event: Option<EventData>) -> Record {
        let stream = stream(of);
        let slice = Slice::of(&stream.aggregate, stream.id.as_str());
        let sequence = self.sequences.entry(slice).or_insert(0);
        *sequence += 1;
        self.commands += 1;
        let outcome = Outcome { kind: OutcomeKind::Replied, version: self.commands, codec: 1, body: vec![7; 9] };
        let command = CommandData {
            id: MessageId(Uuid::from_u128(self.commands.into())),
            dedup: dedup(self.commands),
            name: "pay".into(),
            key: Some(format!("key {}", self.commands)),
            payload_hash: self.commands,
            outcome,
            correlation_id: None,
            causation_id: None,
        };
        Record { stream, slice, sequence: *sequence, time_micros: 5, event, command: Some(Box::new(command)) }
    }
}

pub(crate) fn dedup(number: u64) -> Dedup {
    Dedup(u128::from(number).to_be_bytes())
}

pub(crate) fn snapshot(of: u64, version: u64, bytes: usize) -> Snapshot {
    let payload = vec![u8::try_from(version % 251).unwrap(); bytes];
    Snapshot { stream: stream(of), version, time_micros: 1, fingerprint: 2, codec: 3, payload }
}

/// All events in the order of their slices.
async fn all_events(store: &dyn EventStore) -> Result<Vec<StoredEvent>, StoreError> {
    let (mut position, mut events) = (Position::default(), Vec::new());
    loop {
        let (page, behind) = store.read_all(position, 7).await?;
        if page.is_empty() {
            break;
        }
        events.extend(page);
        position = behind;
    }
    events.sort_by_key(|stored| (stored.slice, stored.sequence));
    Ok(events)
}

/// Everything that can be asked about so many streams; an error is told as it is.
pub(crate) async fn everything(store: &dyn EventStore, streams: u64) -> Vec<String> {
    let mut all = vec![format!("all: {:?}", all_events(store).await)];
    all.push(format!("ids: {:?}", store.ids("account".into(), None, 1000).await));
    all.push(format!("names: {:?}", store.event_names("account".into()).await));
    for of in (0..streams).map(stream) {
        all.push(format!("{of} events: {:?}", store.read_stream(of.clone(), 1, usize::MAX).await));
        all.push(format!("{of} page: {:?}", store.read_stream(of.clone(), 3, 2).await));
        all.push(format!("{of} keys: {:?}", store.known_keys(of.clone(), 1000).await));
        all.push(format!("{of} snapshots: {:?}", store.snapshots(of.clone()).await));
        all.push(format!("{of} snapshot: {:?}", store.snapshot(of.clone(), u64::MAX).await));
        let load = Load { stream: of.clone(), fingerprint: Some(2), keys: 3, events: 4 };
        all.push(format!("{of} load: {:?}", store.load(vec![load]).await));
        let commands = (1..40).map(|number| (of.clone(), dedup(number))).collect();
        all.push(format!("{of} outcomes: {:?}", store.outcomes(commands).await));
    }
    all
}

/// Opens a small log on a disk.
pub(crate) async fn open_small(files: impl Files) -> Result<LogStore, OpenError> {
    LogStore::open_on(Arc::new(files), small()).await
}

/// Runs what is asynchronous in a property test.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
