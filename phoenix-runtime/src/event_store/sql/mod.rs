//! Event stores in a database: what PostgreSQL and others have in common.
//!
//! sea-orm owns the schema, its migrations, and the reads that need not be fast; what must be fast are constant
//! statements of each database, behind the [`dialect`] seam.
//!
//! # Layout
//! - `url`, `options`, `error`: what can be chosen, and what can go wrong
//! - `tls`: what an address and the options say about protection
//! - `reach`, `connections`, `database`: the first connection, and all others: for what must be fast, and for sea-orm
//! - `schema`, `entity`, `row`: migrations, the tables, what a row means
//! - `dialect`: what differs between databases: [`postgres`] and [`mysql`]
//! - `known`, `turns`, `append`: what is remembered of the database, the order of appends, one append
//! - `page`: how many bytes an answer has
//! - `partitions`: how many of them there are
//! - `reader`, `lists`, `snapshots`, `archive`, `blocks`: reads; ids and names; snapshots; stripped
//!   events, and the table where they may go
//! - `source`: one of several databases that share the slices
//! - `letters`: the inbox and the dead letters
//! - `gaps`: a reader of all events in front of a gap

mod append;
mod archive;
mod blocks;
mod connections;
mod database;
mod dialect;
mod entity;
mod error;
mod gaps;
mod known;
mod letters;
mod lists;
pub mod mysql;
mod options;
mod page;
mod partitions;
pub mod postgres;
mod reach;
mod reader;
mod row;
mod schema;
mod snapshots;
mod source;
mod tls;
mod turns;
mod url;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::blocks::StoreWithTable;
pub use self::error::DatabaseOpenError;
pub use self::options::{DatabaseOptions, TlsMode};
pub use self::url::DatabaseUrl;

use self::dialect::Dialect;
use self::gaps::Gaps;
use self::known::Known;
use self::turns::Turns;
use crate::domain::id::{AggregateId, Dedup, SLICES, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::port::{
    Batch, Epoch, EventStore, KnownKeys, Load, Loaded, Partition, Position, Snapshot, SnapshotInfo, StoreError,
    StoredEvent, StoredOutcome, StreamId,
};

/// An event store in a database.
struct SqlStore<D> {
    dialect: D,
    known: Mutex<Known>,
    turns: Arc<Turns>,
    gaps: Gaps,
    /// How many bytes a row of events had lately.
    row_bytes: AtomicUsize,
    commit_records: metrics::Histogram,
}

impl<D: Dialect> SqlStore<D> {
    fn new(dialect: D, options: &DatabaseOptions) -> Self {
        Self {
            dialect,
            known: Mutex::new(Known::new(options.remembered_streams)),
            turns: Arc::default(),
            gaps: Gaps::default(),
            row_bytes: AtomicUsize::new(0),
            commit_records: metrics::histogram!("phoenix_commit_records"),
        }
    }

    /// What is known of the servers that the connections lead to.
    fn known(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.hold_for(self.dialect.connections());
        known
    }

    /// Notes what was read when so many connections had been made; if one was made since, then perhaps to a server of
    /// which it is not true.
    fn learn(&self, connections: u64, note: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        if known.connections() == connections {
            note(&mut known);
        }
    }

    async fn acquire_now(&self, partitions: Vec<Partition>) -> Result<Vec<(Partition, Epoch)>, StoreError> {
        if let Some(index) = partitions.iter().position(|partition| partition.0 >= SLICES) {
            return Err(StoreError::Refused { index, reason: "there are 1024 partitions at most".to_owned() });
        }
        let once: BTreeSet<_> = partitions.iter().copied().collect();
        if once.is_empty() {
            return Ok(Vec::new());
        }
        let held = self.dialect.raise(&once.into_iter().collect::<Vec<_>>()).await?;
        // what another owner did before is not known here
        self.known().forget_all();
        let epochs: BTreeMap<_, _> = held.iter().map(|held| (held.partition, held.epoch)).collect();
        let missing =
            |partition| row::damaged(self.dialect.place(), format_args!("there is no row of partition {partition}"));
        let epoch = |p: Partition| Ok((p, epochs.get(&p).copied().ok_or_else(|| missing(p.0))?));
        partitions.into_iter().map(epoch).collect()
    }
}

impl<D: Dialect> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("place", &self.dialect.place()).finish_non_exhaustive()
    }
}

impl<D: Dialect> EventStore for SqlStore<D> {
    fn name(&self) -> String {
        self.dialect.name()
    }

    fn is_durable(&self) -> bool {
        self.dialect.is_durable()
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        Box::pin(self.fixed_partitions(wanted))
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        Box::pin(self.acquire_now(partitions))
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        // the order is that of the calls, whoever is asked first
        let mut turn = self.turns.enter(batch.records.iter().map(|record| record.slice).collect());
        Box::pin(async move {
            turn.come().await;
            self.append_now(&batch).await
        })
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        Box::pin(async move {
            let connections = self.dialect.connections();
            let last = self.last(&slices).await?;
            self.learn(connections, |known| last.iter().for_each(|(slice, last)| known.note_sequence(*slice, *last)));
            Ok(last)
        })
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(self.stream_events(stream, from, limit))
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        Box::pin(self.all_events(position, limit))
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        Box::pin(self.stored_outcomes(commands))
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        Box::pin(async move {
            let load = Load { stream, fingerprint: None, keys: limit, events: 0 };
            Ok(self.load_all(vec![load]).await?.pop().map(|loaded| loaded.keys).unwrap_or_default())
        })
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.keep_snapshot(snapshot))
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        Box::pin(self.newest_snapshot(stream, at_most))
    }

    fn load(&self, loads: Vec<Load>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        Box::pin(self.load_all(loads))
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        Box::pin(self.list_snapshots(stream))
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.remove_snapshots(stream, below))
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.strip_events(stream, up_to))
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.refill_events(events))
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        Box::pin(self.names_of(aggregate))
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        Box::pin(self.ids_of(aggregate, after, limit))
    }

    fn letters(&self) -> Option<&dyn Letters> {
        Some(self)
    }
}
