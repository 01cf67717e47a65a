//! Rows to append, an owner that numbers them, and comparisons that say where they failed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::Location;
use std::sync::Arc;

use uuid::Uuid;

use super::Failure;
use crate::domain::id::{AggregateId, Dedup, MessageId, SLICES, Slice};
use crate::domain::outcome::{Outcome, OutcomeKind};
use crate::event_store::port::{
    Batch, CommandData, Conflict, ConflictKind, Epoch, EventData, EventStore, Lane, Partition, Position, Record,
    StoreError, StoredEvent, StreamId,
};

pub(super) type Checked = Result<(), Failure>;

#[track_caller]
pub(super) fn equal<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Checked {
    if found == expected {
        return Ok(());
    }
    let at = Location::caller();
    Err(Failure(format!("{}:{}: {what}: expected {expected:?}, found {found:?}", at.file(), at.line())))
}

#[track_caller]
pub(super) fn holds(what: &str, truth: bool) -> Checked {
    equal(what, &truth, &true)
}

/// Checks that an append was refused for exactly these conflicts, in any order.
#[track_caller]
pub(super) fn conflicts(what: &str, found: Result<(), StoreError>, expected: &[(usize, ConflictKind)]) -> Checked {
    let found = found.map_err(|error| match error {
        StoreError::Conflict(all) => {
            let mut all: Vec<_> = all.iter().map(|Conflict { index, kind }| format!("{index} {kind:?}")).collect();
            all.sort();
            all.join(", ")
        }
        other => format!("{other:?}"),
    });
    let mut expected: Vec<_> = expected.iter().map(|(index, kind)| format!("{index} {kind:?}")).collect();
    expected.sort();
    equal(what, &found, &Err(expected.join(", ")))
}

pub(super) const AGGREGATE: &str = "bank-account";

pub(super) fn stream(id: &str) -> StreamId {
    // the ids of the suite are neither empty nor too long
    let id = AggregateId::new(id).unwrap_or_else(|_| unreachable!("an id of the suite is valid"));
    StreamId { aggregate: AGGREGATE.into(), id }
}

pub(super) fn dedup(number: u64) -> Dedup {
    Dedup(u128::from(number).to_be_bytes())
}

pub(super) fn command(number: u64) -> CommandData {
    CommandData {
        id: MessageId(Uuid::from_u128(u128::from(number) << 64)),
        dedup: dedup(number),
        name: "deposit".into(),
        key: Some(format!("key {number}")),
        payload_hash: u64::MAX - number,
        outcome: Outcome { kind: OutcomeKind::Replied, version: 1, codec: 1, body: b"{\"balance\":100}".to_vec() },
        correlation_id: None,
        causation_id: None,
    }
}

pub(super) fn event(version: u64) -> EventData {
    EventData {
        version,
        name: "deposited".into(),
        schema_version: 1,
        codec: 1,
        payload: format!("{{\"n\":{version}}}").into_bytes(),
    }
}

fn record(id: &str, event: Option<EventData>, command: Option<CommandData>) -> Record {
    let stream = stream(id);
    let slice = Slice::of(&stream.aggregate, stream.id.as_str());
    // the sequence is given by the owner, unless a case wants a wrong one
    Record { stream, slice, sequence: 0, time_micros: 1_700_000_000_000_000, event, command: command.map(Box::new) }
}

/// The event of a command.
pub(super) fn decided(id: &str, version: u64, number: u64) -> Record {
    record(id, Some(event(version)), Some(command(number)))
}

/// A further event of the command before it.
pub(super) fn further(id: &str, version: u64) -> Record {
    record(id, Some(event(version)), None)
}

/// The outcome of a command without events.
pub(super) fn rejected(id: &str, number: u64) -> Record {
    let mut command = command(number);
    command.outcome.kind = OutcomeKind::Rejected;
    record(id, None, Some(command))
}

/// An owner of partitions that gives sequence numbers.
#[derive(Clone)]
pub(super) struct Owner {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) epochs: Vec<(Partition, Epoch)>,
    pub(super) sequences: BTreeMap<Slice, u64>,
}

impl Owner {
    /// The owner of everything: one partition.
    pub(super) async fn of(store: Arc<dyn EventStore>) -> Result<Self, Failure> {
        Self::of_partitions(store, vec![Partition(0)]).await
    }

    pub(super) async fn of_partitions(store: Arc<dyn EventStore>, own: Vec<Partition>) -> Result<Self, Failure> {
        let epochs = store.acquire(own).await?;
        let sequences = store.last_sequences((0..1024).map(Slice).collect()).await?;
        Ok(Self { store, epochs, sequences })
    }

    /// A batch of these records, numbered on from the last appended ones.
    pub(super) fn batch(&self, mut records: Vec<Record>) -> Batch {
        let mut sequences = self.sequences.clone();
        for record in &mut records {
            let last = sequences.entry(record.slice).or_insert(0);
            *last += 1;
            record.sequence = *last;
        }
        Batch { epochs: self.epochs.clone(), records }
    }

    pub(super) async fn append(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        let batch = self.batch(records);
        self.send(batch).await
    }

    /// Appends a batch as it is, or lane by lane, where a store has several; records whose fate must be one have slices
    /// of one lane.
    pub(super) async fn send(&mut self, batch: Batch) -> Result<(), StoreError> {
        let mut by_lane: BTreeMap<Lane, Vec<Record>> = BTreeMap::new();
        for record in batch.records {
            // one that does not exist stays with the record before it
            let last = by_lane.keys().next_back().copied().unwrap_or_default();
            let lane = if record.slice.0 < SLICES { self.store.lane(record.slice) } else { last };
            by_lane.entry(lane).or_default().push(record);
        }
        if by_lane.is_empty() {
            by_lane.insert(Lane(0), Vec::new());
        }
        for (lane, records) in by_lane {
            let batch = Arc::new(Batch { epochs: batch.epochs.clone(), records });
            self.store.append_in(lane, Arc::clone(&batch)).await?;
            for record in &batch.records {
                self.sequences.insert(record.slice, record.sequence);
            }
        }
        Ok(())
    }

    pub(super) async fn versions(&self, id: &str) -> Result<Vec<u64>, StoreError> {
        let events = self.store.read_stream(stream(id), 1, usize::MAX).await?;
        Ok(events.iter().map(|stored| stored.event.version).collect())
    }
}

/// The record as a reader should find it.
pub(super) fn as_stored(record: &Record) -> Option<StoredEvent> {
    Some(StoredEvent {
        stream: record.stream.clone(),
        slice: record.slice,
        sequence: record.sequence,
        time_micros: record.time_micros,
        event: record.event.clone()?,
        command: record.command.clone(),
    })
}

/// Everything after `position`, in pages of `limit`, with the last position.
pub(super) async fn drain(
    store: &dyn EventStore,
    mut position: Position,
    limit: usize,
) -> Result<(Vec<StoredEvent>, Position), Failure> {
    let mut all = Vec::new();
    loop {
        let (page, behind) = store.read_all(position, limit).await?;
        holds("a page has at most as many events as were asked for", page.len() <= limit)?;
        position = behind;
        if page.is_empty() {
            return Ok((all, position));
        }
        all.extend(page);
    }
}

/// Sorts by slice and sequence, to compare what may come in any order of slices.
pub(super) fn sorted(mut events: Vec<StoredEvent>) -> Vec<StoredEvent> {
    events.sort_by_key(|stored| (stored.slice, stored.sequence));
    events
}
