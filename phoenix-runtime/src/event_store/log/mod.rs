//! A log in a folder, for a node of its own: append-only segments, and an index that growth does not slow.
//!
//! One thread writes. It takes every batch that waits, and makes them durable with one write and one sync into room
//! that was reserved before. A record points to the one before it in its stream and in its slice, so the index knows
//! the last one of each, and where each command's key is: that is all it has to find. Its newest part is in memory, the
//! rest in sorted files that are merged as they become many. They come from the log and can always be made again.
//!
//! A failed write or sync is final: nobody knows what the disk has then, so the store refuses everything until it is
//! opened again. A [`LogReader`] needs no lock, and sees what is durable.
//!
//! # Layout
//! - `options`, `error`: what can be chosen, and what can go wrong
//! - [`files`]: what it needs of a file system
//! - `address`, `frame`, `unit`, `path`, `segment`: what the log is made of
//! - `hash`, `index`, `run`, `checkpoint`, `flush`: where things are in it
//! - `writer`, `stage`, `heads`: the thread that writes; what is about to be written; what it remembers of streams
//! - `compact`, `compaction`: segments that were written anew without what was stripped; who does that, and when
//! - `recover`: from files to an open log
//! - `shared`, `read`: what writer and readers have in common; every read
//! - `letters`: the inbox and the dead letters, in a file of their own
//! - `reader`: those who only read

mod address;
mod checkpoint;
mod compact;
mod compaction;
mod error;
pub mod files;
mod flush;
mod frame;
mod hash;
mod heads;
mod index;
mod letters;
mod options;
mod path;
mod read;
mod reader;
mod recover;
mod run;
mod segment;
mod shared;
mod stage;
mod unit;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

pub use self::options::LogStoreOptions;
pub use self::reader::LogReader;

use self::compaction::{Compaction, Work};
use self::files::{Files, Folder};
use self::letters::LetterFile;
use self::recover::Role;
use self::shared::Shared;
use self::writer::{Job, Reply, Writer};
use crate::domain::id::{AggregateId, Dedup, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::lock::OwnerLock;
use crate::event_store::port::{
    Batch, Epoch, EventStore, KnownKeys, Load, Loaded, Partition, Position, Snapshot, SnapshotInfo, StoreError,
    StoredEvent, StoredOutcome, StreamId,
};
use crate::event_store::sqlite::OpenError;

/// An event store in a folder, and the only one that may write to it.
///
/// Dropping it waits for what was sent to be written, and lets the folder go.
pub struct LogStore {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    compaction: Option<(Sender<Work>, JoinHandle<()>)>,
    kept: LetterFile,
    // let go last, when nothing of this store can write any more
    _lock: Option<OwnerLock>,
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens a log as its owner, and makes it where there is none.
    ///
    /// # Errors
    /// A folder that has another owner, was written by a newer release, is damaged, or can't be read and written.
    pub async fn open(options: LogStoreOptions) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: options.path.clone(), source };
        let folder = Folder::make(&options.path).map_err(io)?;
        let lock = OwnerLock::take(&options.path)?;
        Self::start(Arc::new(folder), options, Some(lock)).await
    }

    /// Opens a log on another disk than the operating system's, which is nobody else's.
    ///
    /// # Errors
    /// A log that is damaged, or a disk that can't be read and written.
    pub async fn open_on(files: Arc<dyn Files>, options: LogStoreOptions) -> Result<Self, OpenError> {
        Self::start(files, options, None).await
    }

    async fn start(
        files: Arc<dyn Files>,
        options: LogStoreOptions,
        lock: Option<OwnerLock>,
    ) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let (jobs, waiting) = channel();
        let start = move || {
            let shared = Arc::new(recover::open(Arc::clone(&files), &options, Role::Owner)?);
            let end = recover::end_file(&*files, &options.path)?;
            let (work, compaction) = Compaction::start(&shared, &options)?;
            let writer = Writer::new(Arc::clone(&shared), &options, end, work.clone())?;
            let thread = std::thread::Builder::new().name("phoenix-log".to_owned()).spawn(move || writer.run(&waiting));
            let thread = thread.map_err(|e| error::failed(&options.path, "start the thread that writes", &e))?;
            let kept = LetterFile::open(files, &shared.path, options.segment_bytes())?;
            Ok::<_, StoreError>((shared, thread, (work, compaction), kept))
        };
        let (shared, thread, compaction, kept) = blocking(start).await.map_err(|e| OpenError::database(&path, &e))?;
        Ok(Self { shared, jobs: Some(jobs), thread: Some(thread), compaction: Some(compaction), kept, _lock: lock })
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

    fn writer_ended(&self, what: &str) -> String {
        let path = self.shared.path.display();
        format!("the thread that writes `{path}` has ended, and this {what}; restart the service")
    }

    /// Reads on a thread that may wait for the disk.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking(move || {
            shared.check()?;
            read(&shared)
        }))
    }

    /// Writes sealed segments anew at once of which at least so many percent are bytes that moved to an archive, or were
    /// those of snapshots that are gone. Says how many bytes the disk has back.
    ///
    /// # Errors
    /// A segment that can't be read or is damaged, which stays as it is, and a disk without room for the new one.
    pub async fn compact(&self, above: u8) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        let ended = || StoreError::Unavailable(self.writer_ended("was not compacted"));
        let (work, _) = self.compaction.as_ref().ok_or_else(ended)?;
        work.send(Work::Now(above, reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// How much memory the index takes, in bytes.
    #[must_use]
    pub fn index_memory(&self) -> usize {
        self.shared.index().memory()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = |e| StoreError::Unavailable(format!("a thread that reads the log has ended: {e}"));
    spawn_blocking(work).await.map_err(ended)?
}

impl Drop for LogStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let compaction = self.compaction.take().map(|(_, thread)| thread);
        // one that panicked has told its askers
        for thread in self.thread.take().into_iter().chain(compaction) {
            let _ = thread.join();
        }
    }
}

impl EventStore for LogStore {
    fn name(&self) -> String {
        "log (fdatasync)".to_owned()
    }

    fn is_durable(&self) -> bool {
        true
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
        self.read(|shared| Ok(shared.last_sequences(slices)))
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.read(move |shared| shared.read_stream(&stream, from, limit))
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        self.read(move |shared| shared.read_all(position, limit))
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        self.read(move |shared| shared.outcomes(&commands))
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        self.read(move |shared| shared.known_keys(&stream, limit))
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        self.send(|reply| Job::Snapshot(Box::new(snapshot), reply))
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        self.read(move |shared| shared.snapshot(&stream, at_most))
    }

    fn load(&self, loads: Vec<Load>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        self.read(move |shared| shared.load(&loads))
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        self.read(move |shared| shared.snapshots(&stream))
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.send(|reply| Job::DropSnapshots(stream, below, reply))
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        let asked = stream.clone();
        let freed = self.read(move |shared| shared.freed_by_strip(&asked, up_to));
        Box::pin(async move {
            let freed = freed.await?;
            self.send(|reply| Job::Strip(stream, up_to, freed, reply)).await
        })
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.send(|reply| Job::Refill(events, reply))
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        self.read(move |shared| Ok(shared.event_names(&aggregate)))
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        self.read(move |shared| shared.ids_after(&aggregate, after.as_ref(), limit))
    }

    fn letters(&self) -> Option<&dyn Letters> {
        Some(self)
    }
}
