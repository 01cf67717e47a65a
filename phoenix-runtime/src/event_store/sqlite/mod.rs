//! An event store in one file: `SQLite` with a write-ahead log, the embedded default.
//!
//! One thread writes. It makes everything that waits durable with one commit, on a connection of its own; reads go
//! through sea-orm, on connections that can't write. The owner of a file holds a lock on another one beside it, so
//! that nobody else can append; a [`SqliteReader`] needs no lock.
//!
//! # Layout
//! - `options`, `error`: what can be chosen, and what can go wrong
//! - `migration`, `entity`, `row`: the schema, the tables, what a row means
//! - `writer`, `append`: the thread that writes; one batch inside its transaction
//! - `reader`: every read
//! - `letters`: the inbox and the dead letters
//! - `retention`, `archive`: what leaves the store, and the table where it may go

mod append;
mod archive;
mod entity;
mod error;
mod letters;
mod migration;
mod options;
mod reader;
mod retention;
mod row;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use sea_orm::SqlxSqliteConnector;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::oneshot;

pub use self::error::OpenError;
pub use self::options::{SqliteOptions, Synchronous};
pub use self::reader::SqliteReader;

use self::writer::{Job, Reply, Writer};
use crate::domain::id::{AggregateId, Dedup, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::lock::OwnerLock;
use crate::event_store::port::{
    Batch, Epoch, EventStore, KnownKeys, Partition, Position, Snapshot, SnapshotInfo, StoreError, StoredEvent,
    StoredOutcome, StreamId,
};
use crate::event_store::rules;

/// An event store in a `SQLite` file, and the only one that may write to it.
///
/// Dropping it waits for what was sent to be written, and lets the file go.
pub struct SqliteStore {
    path: Arc<Path>,
    synchronous: Synchronous,
    reader: SqliteReader,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    // let go last, when nothing of this store can write any more
    _lock: OwnerLock,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens a store as its owner: makes the file where there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// A file that has another owner, was written by a newer release, is no database, or can't be read and written.
    pub async fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        make(&options.path).map_err(|source| OpenError::Io { path: options.path.clone(), source })?;
        let lock = OwnerLock::take(&options.path)?;
        migrate(&options).await?;
        let writer = Writer::open(&options)?;
        let reader = SqliteReader::connect(&options).await?;
        let (jobs, waiting) = channel();
        let thread = std::thread::Builder::new()
            .name("phoenix-sqlite".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(|source| OpenError::Io { path: options.path.clone(), source })?;
        Ok(Self {
            path: options.path.as_path().into(),
            synchronous: options.synchronous,
            reader,
            jobs: Some(jobs),
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// Everything that can be read, for those who only read.
    #[must_use]
    pub fn reader(&self) -> &SqliteReader {
        &self.reader
    }

    /// Sends a job at once, so that jobs are done in the order in which they were asked for.
    fn send<T: Send + 'static>(&self, job: impl FnOnce(Reply<T>) -> Job) -> BoxFuture<'_, Result<T, StoreError>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job(reply)).is_ok());
        Box::pin(async move {
            if !sent {
                return Err(StoreError::Unavailable(self.writer_ended("was not sent")));
            }
            answer.await.unwrap_or_else(|_| Err(StoreError::Unknown(self.writer_ended("was perhaps written"))))
        })
    }

    /// The events among these that are stripped, once all are known to be the stored ones.
    async fn stripped(&self, events: Vec<StoredEvent>) -> Result<Vec<StoredEvent>, StoreError> {
        let mut stripped = Vec::new();
        let follows = |a: &StoredEvent, b: &StoredEvent| a.event.version + 1 == b.event.version;
        for run in events.chunk_by(follows) {
            let Some(first) = run.first() else { continue };
            let mut stored = Vec::with_capacity(run.len());
            // what is given is in memory already, and what is stored has at most as many bytes
            while stored.len() < run.len() {
                let from = first.event.version + stored.len() as u64;
                let page = self.reader.read_stream(first.stream.clone(), from, run.len() - stored.len()).await?;
                if page.is_empty() {
                    break;
                }
                stored.extend(page);
            }
            for (index, given) in run.iter().enumerate() {
                let stored = stored.get(index).ok_or_else(|| rules::not_there(given))?;
                stripped.extend(rules::takes_back(stored, given)?.then(|| given.clone()));
            }
        }
        Ok(stripped)
    }

    fn writer_ended(&self, what: &str) -> String {
        format!("the thread that writes `{}` has ended, and this {what}; restart the service", self.path.display())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // a writer that panicked has told its askers
            let _ = thread.join();
        }
    }
}

/// Makes an empty database where there is none: only what is there has a name that is the same for everybody.
fn make(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::options().create(true).append(true).open(path).map(drop)
}

async fn migrate(options: &SqliteOptions) -> Result<(), OpenError> {
    let connect = reader::connect_options(options)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let failed = |e| OpenError::database(&options.path, &e);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(connect).await.map_err(failed)?;
    let db = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
    migration::migrate(&db, &options.path).await?;
    db.close().await.map_err(|e| OpenError::database(&options.path, &e))
}

impl EventStore for SqliteStore {
    fn name(&self) -> String {
        format!("sqlite (wal, synchronous={})", self.synchronous)
    }

    fn is_durable(&self) -> bool {
        self.synchronous == Synchronous::Full
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        self.send(|reply| Job::Partitions(wanted, reply))
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        self.send(|reply| Job::Acquire(partitions, reply))
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.send(|reply| Job::Append(batch, reply))
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        Box::pin(self.reader.last_sequences(slices))
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(self.reader.read_stream(stream, from, limit))
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        Box::pin(self.reader.read_all(position, limit))
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        Box::pin(self.reader.outcomes(commands))
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        Box::pin(self.reader.known_keys(stream, limit))
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        self.send(|reply| Job::Snapshot(Box::new(snapshot), reply))
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        Box::pin(self.reader.snapshot(stream, at_most))
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        Box::pin(self.reader.snapshots(stream))
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.send(|reply| Job::DropSnapshots(stream, below, reply))
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.send(|reply| Job::Strip(stream, up_to, reply))
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let stripped = self.stripped(events).await?;
            if stripped.is_empty() { Ok(()) } else { self.send(|reply| Job::Refill(stripped, reply)).await }
        })
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        Box::pin(self.reader.event_names(aggregate))
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        Box::pin(self.reader.ids(aggregate, after, limit))
    }

    fn letters(&self) -> Option<&dyn Letters> {
        Some(self)
    }
}
