//! A database of several that a test can stop, slow down or kill between any two of its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::domain::id::{AggregateId, Dedup, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{Archive, BlockInfo};
use crate::event_store::letters::Letters;
use crate::event_store::port::{
    Batch, Epoch, EventStore, KnownKeys, Load, Loaded, Partition, Position, Record, Snapshot, SnapshotInfo, StoreError,
    StoredEvent, StoredOutcome, StreamId,
};
use crate::event_store::sources::port::{
    BlockKey, Document, Joined, Page, Rows, SnapshotKey, Source, Tenure, Tenures, Turn,
};

/// What stands before and behind every call.
pub trait Gate: Send + Sync + 'static {
    /// Lets a call in, or fails it: then nothing was done.
    fn before(&self, call: &'static str) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Lets the answer of a call out that was done, or fails it.
    fn after(&self, call: &'static str) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A database behind a gate.
#[derive(Clone)]
pub struct GatedSource {
    inner: Arc<dyn Source>,
    gate: Arc<dyn Gate>,
}

impl GatedSource {
    /// This database behind this gate.
    #[must_use]
    pub fn new(inner: Arc<dyn Source>, gate: Arc<dyn Gate>) -> Self {
        Self { inner, gate }
    }

    fn pass<'a, T: Send + 'a>(
        &'a self,
        call: &'static str,
        question: impl FnOnce(&'a dyn Source) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        Box::pin(async move {
            self.gate.before(call).await?;
            let answer = question(&*self.inner).await;
            self.gate.after(call).await?;
            answer
        })
    }
}

impl fmt::Debug for GatedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatedSource({:?})", self.inner)
    }
}

/// Every call of both ports, each under its own name.
macro_rules! gated {
    ($($call:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $call(&self, $($argument: $type),*) -> BoxFuture<'_, Result<$answer, StoreError>> {
            self.pass(stringify!($call), move |inner| inner.$call($($argument),*))
        })*
    };
}

impl EventStore for GatedSource {
    fn name(&self) -> String {
        format!("gated {}", self.inner.name())
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    gated! {
        partitions(wanted: u16) -> u16;
        acquire(partitions: Vec<Partition>) -> Vec<(Partition, Epoch)>;
        append(batch: Arc<Batch>) -> ();
        last_sequences(slices: Vec<Slice>) -> BTreeMap<Slice, u64>;
        read_stream(stream: StreamId, from: u64, limit: usize) -> Vec<StoredEvent>;
        read_all(position: Position, limit: usize) -> (Vec<StoredEvent>, Position);
        outcomes(commands: Vec<(StreamId, Dedup)>) -> Vec<Option<StoredOutcome>>;
        known_keys(stream: StreamId, limit: usize) -> KnownKeys;
        put_snapshot(snapshot: Snapshot) -> ();
        snapshot(stream: StreamId, at_most: u64) -> Option<Snapshot>;
        load(loads: Vec<Load>) -> Vec<Loaded>;
        snapshots(stream: StreamId) -> Vec<SnapshotInfo>;
        drop_snapshots(stream: StreamId, below: u64) -> u64;
        strip(stream: StreamId, up_to: u64) -> u64;
        refill(events: Vec<StoredEvent>) -> ();
        event_names(aggregate: Arc<str>) -> BTreeSet<String>;
        ids(aggregate: Arc<str>, after: Option<AggregateId>, limit: usize) -> Vec<AggregateId>;
    }

    fn letters(&self) -> Option<&dyn Letters> {
        self.inner.letters()
    }
}

impl Archive for GatedSource {
    fn name(&self) -> String {
        format!("gated {}", self.inner.table().name())
    }

    fn is_durable(&self) -> bool {
        self.inner.table().is_durable()
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        self.inner.table().place(stream, block)
    }

    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.pass("put", move |inner| inner.table().put(stream, block, bytes))
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.pass("get", move |inner| inner.table().get(stream, block))
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        self.pass("blocks", move |inner| inner.table().blocks(stream, from, limit))
    }
}

impl Source for GatedSource {
    fn table(&self) -> &dyn Archive {
        self
    }

    gated! {
        document(name: &'static str) -> Option<Document>;
        put_document(name: &'static str, document: Document) -> bool;
        join(member: String) -> Joined;
        adopt(epochs: Vec<(Partition, Epoch)>) -> ();
        fence() -> ();
        tenures(known: Option<u64>) -> Option<Tenures>;
        turn(slice: Slice, turn: Turn, number: u64) -> Tenure;
        read_slices(behind: Vec<(Slice, u64)>, limit: usize) -> Page;
        copy_out(slice: Slice, after: u64, limit: usize) -> Vec<Record>;
        snapshot_keys(slice: Slice) -> Vec<SnapshotKey>;
        block_keys(slice: Slice) -> Vec<BlockKey>;
        copy_in(slice: Slice, number: u64, rows: Rows) -> ();
        purge(slice: Slice, number: u64, limit: usize) -> bool;
    }
}
