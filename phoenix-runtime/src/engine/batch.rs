//! What is decided and not yet durable.

use std::sync::Arc;

use crate::domain::id::SLICES;
use crate::engine::cell::CellRef;
use crate::engine::holdings::Holdings;
use crate::engine::mailbox::Mail;
use crate::event_store::port::{Batch, Partition, Record, Snapshot};

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

    /// Takes back the numbers of a batch that failed; not those of an earlier assignment, which were read anew since.
    pub(crate) fn take_back(&mut self, batch: &Batch, holdings: &Holdings) {
        for record in &batch.records {
            let partition = holdings.of(record.slice);
            let given = batch.epochs.iter().find(|(of, _)| *of == partition).map(|(_, epoch)| *epoch);
            if given == holdings.epoch(partition)
                && let Some(last) = self.0.get_mut(record.slice.0 as usize)
            {
                *last -= 1;
            }
        }
    }
}

/// Partitions, a bit each.
#[derive(Default)]
struct Touched([u64; SLICES as usize / 64]);

impl Touched {
    fn add(&mut self, Partition(partition): Partition) {
        if let Some(word) = self.0.get_mut(usize::from(partition / 64)) {
            *word |= 1 << (partition % 64);
        }
    }

    /// In their order.
    fn all(&self) -> impl Iterator<Item = Partition> + '_ {
        self.0.iter().zip(0_u16..).flat_map(|(word, index)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = u16::try_from(left.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
                left &= left - 1;
                Some(Partition(index * 64 + bit))
            })
        })
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
    pub(crate) fn seal(&mut self, sequences: &mut Sequences, holdings: &Holdings) -> Sealed {
        let OpenBatch { mut records, waiters, snapshots, spare, .. } = std::mem::take(self);
        (self.records, self.waiters) = spare;
        // the next one will be of about this size
        self.records.reserve(records.len());
        self.waiters.reserve(waiters.len());
        sequences.number(&mut records);
        let mut touched = Touched::default();
        for waiter in &waiters {
            touched.add(holdings.of(waiter.mail.slice()));
        }
        let epochs = touched.all().filter_map(|partition| Some((partition, holdings.epoch(partition)?))).collect();
        Sealed { batch: Arc::new(Batch { epochs, records }), waiters, snapshots }
    }
}
