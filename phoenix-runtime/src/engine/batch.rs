//! What is decided and not yet durable.

use std::sync::Arc;

use crate::domain::id::SLICES;
use crate::engine::cell::CellRef;
use crate::engine::mailbox::Mail;
use crate::engine::options::PARTITIONS;
use crate::event_store::port::{Batch, Epoch, Partition, Record, Snapshot};

/// Records and those who wait for them, in the order of the decisions.
#[derive(Default)]
pub(crate) struct OpenBatch {
    pub(crate) records: Vec<Record>,
    pub(crate) waiters: Vec<Waiter>,
    /// The bytes of its events, outcomes and snapshots.
    pub(crate) bytes: usize,
    /// Encoded at versions that this batch makes durable: written after it, thrown away if it fails.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Empty ones of a settled batch, for the next: freeing and asking for so much memory each time costs more.
    spare: (Vec<Record>, Vec<Waiter>),
}

/// Somebody who is told when the batch is durable, and is done anew when it fails.
pub(crate) struct Waiter {
    pub(crate) cell: CellRef,
    pub(crate) mail: Mail,
    /// The version that the answer rests on.
    pub(crate) version: u64,
    /// The first of its records, by its place in the batch.
    pub(crate) first_record: usize,
    pub(crate) told: Waiting,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A command: its reply.
    Decided,
    /// A command: its rejection.
    Rejected,
    /// A command without an aggregate that creates none.
    NotFound,
    /// A query: its answer.
    Answered,
    /// A query of an aggregate without events.
    Absent,
}

/// The partition of a slice.
pub(crate) const fn partition_of(slice: crate::domain::id::Slice) -> Partition {
    Partition(slice.0 % PARTITIONS)
}

/// The next sequence number of every slice, for the slices that a shard owns.
pub(crate) struct Sequences(Vec<u64>);

impl Sequences {
    pub(crate) fn new() -> Self {
        Self(vec![0; SLICES as usize])
    }

    pub(crate) fn set(&mut self, slice: crate::domain::id::Slice, last: u64) {
        if let Some(entry) = self.0.get_mut(slice.0 as usize) {
            *entry = last;
        }
    }

    fn number(&mut self, records: &mut [Record]) {
        for record in records {
            if let Some(last) = self.0.get_mut(record.slice.0 as usize) {
                *last += 1;
                record.sequence = *last;
            }
        }
    }

    /// Takes back the numbers of a batch that failed.
    pub(crate) fn take_back(&mut self, records: &[Record]) {
        for record in records {
            if let Some(last) = self.0.get_mut(record.slice.0 as usize) {
                *last -= 1;
            }
        }
    }
}

/// A batch on its way to the store.
pub(crate) struct Sealed {
    pub(crate) batch: Arc<Batch>,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) snapshots: Vec<Snapshot>,
}

impl OpenBatch {
    /// Adds a record.
    pub(crate) fn push(&mut self, record: Record) {
        let event = record.event.as_ref().map_or(0, |event| event.payload.len());
        self.bytes += event + record.command.as_ref().map_or(0, |command| command.outcome.body.len());
        self.records.push(record);
    }

    /// Adds a snapshot of a version that this batch makes durable.
    pub(crate) fn push_snapshot(&mut self, snapshot: Snapshot) {
        self.bytes += snapshot.payload.len();
        self.snapshots.push(snapshot);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Keeps the memory of a batch that is settled.
    pub(crate) fn recycle(&mut self, batch: Arc<Batch>, mut waiters: Vec<Waiter>) {
        waiters.clear();
        self.spare.1 = waiters;
        // a store may keep it, or may not have let go of it yet
        if let Ok(Batch { mut records, .. }) = Arc::try_unwrap(batch) {
            records.clear();
            self.spare.0 = records;
        }
    }

    /// Numbers the records and names the epochs. Only here, because an earlier batch that fails moves the numbers.
    pub(crate) fn seal(&mut self, sequences: &mut Sequences, epochs: &[Option<Epoch>]) -> Sealed {
        let OpenBatch { mut records, waiters, snapshots, spare, .. } = std::mem::take(self);
        (self.records, self.waiters) = spare;
        // the next one will be of about this size
        self.records.reserve(records.len());
        self.waiters.reserve(waiters.len());
        sequences.number(&mut records);
        let mut touched = [false; PARTITIONS as usize];
        for waiter in &waiters {
            let partition = partition_of(waiter.mail.slice());
            touched[partition.0 as usize] = true;
        }
        let epochs = (0..PARTITIONS)
            .map(Partition)
            .filter(|p| touched[p.0 as usize])
            .filter_map(|p| Some((p, (*epochs.get(p.0 as usize)?)?)))
            .collect();
        Sealed { batch: Arc::new(Batch { epochs, records }), waiters, snapshots }
    }
}
