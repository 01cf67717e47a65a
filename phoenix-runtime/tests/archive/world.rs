//! Stores with archives, events to put into them, and faults between the two.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::archive::BlockInfo;
use phoenix_runtime::event_store::port::{
    Batch, CommandData, EventData, Load, Loaded, Partition, Position, Record, Snapshot, StoredEvent, StoredOutcome,
    StreamId,
};
use phoenix_runtime::event_store::{
    Archive, Archived, EventStore, FolderArchive, MemoryArchive, MemoryStore, SqliteOptions, SqliteStore, StoreError,
};
use tempfile::TempDir;
use uuid::Uuid;

/// A store and an archive, as they lie below an [`Archived`].
#[derive(Clone)]
pub(crate) struct Below {
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) archive: Arc<dyn Archive>,
    _folder: Arc<TempDir>,
}

impl Below {
    pub(crate) fn memory() -> Self {
        let (store, archive) = (Arc::new(MemoryStore::new()), Arc::new(MemoryArchive::new()));
        Self { name: "memory", store, archive, _folder: Arc::new(TempDir::new().unwrap()) }
    }

    /// Every store of this crate that needs no server, with the archives that it may have.
    pub(crate) async fn all() -> Vec<Self> {
        let folder = Arc::new(TempDir::new().unwrap());
        let sqlite = async |name| {
            let path = folder.path().join(name);
            Arc::new(SqliteStore::open(SqliteOptions::at(path)).await.unwrap())
        };
        let (table, beside) = (sqlite("table.db").await, sqlite("folder.db").await);
        let in_folder = Arc::new(FolderArchive::open(folder.path().join("archive")).unwrap());
        let of = |name, store: Arc<dyn EventStore>, archive: Arc<dyn Archive>| Self {
            name,
            store,
            archive,
            _folder: Arc::clone(&folder),
        };
        vec![Self::memory(), of("table", table.clone(), table), of("folder", beside, in_folder)]
    }

    pub(crate) fn archived(&self) -> Archived {
        Archived::new(Arc::clone(&self.store), Arc::clone(&self.archive))
    }

    /// So many events of "a", each of its own command, and as many of "b".
    pub(crate) async fn fill(&self, versions: u64, payload: usize) {
        let epochs = self.store.acquire(vec![Partition(0)]).await.unwrap();
        let last = self.store.last_sequences(vec![Slice(5)]).await.unwrap();
        let mut sequence = last.get(&Slice(5)).copied().unwrap_or(0);
        let first = self.store.read_stream(stream("a"), 1, usize::MAX).await.unwrap().len() as u64 + 1;
        let mut records = Vec::new();
        for version in first..first + versions {
            for id in ["a", "b"] {
                sequence += 1;
                records.push(record(id, version, sequence, payload));
            }
        }
        self.store.append(Arc::new(Batch { epochs, records })).await.unwrap();
    }

    pub(crate) async fn snapshot(&self, id: &str, version: u64) {
        let (stream, payload) = (stream(id), vec![1]);
        let snapshot = Snapshot { stream, version, time_micros: 0, fingerprint: 7, codec: 1, payload };
        self.store.put_snapshot(snapshot).await.unwrap();
    }

    /// Waits until so many events of "a" are stripped.
    pub(crate) async fn until_stripped(&self, count: usize) {
        let waiting = async {
            while self.stripped().await.len() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap();
    }

    /// The versions of "a" that the store has stripped.
    pub(crate) async fn stripped(&self) -> Vec<u64> {
        let events = self.store.read_stream(stream("a"), 1, usize::MAX).await.unwrap();
        events.iter().filter(|stored| stored.is_archived()).map(|stored| stored.event.version).collect()
    }
}

pub(crate) fn stream(id: &str) -> StreamId {
    StreamId { aggregate: "account".into(), id: AggregateId::new(id).unwrap() }
}

pub(crate) fn dedup(version: u64) -> Dedup {
    Dedup(u128::from(version).to_be_bytes())
}

pub(crate) fn record(id: &str, version: u64, sequence: u64, payload: usize) -> Record {
    let body = format!("reply {version}").into_bytes();
    let command = CommandData {
        id: MessageId(Uuid::from_u128(u128::from(version))),
        dedup: dedup(version),
        name: "deposit".into(),
        key: Some(format!("key {version}")),
        payload_hash: version,
        outcome: Outcome { kind: OutcomeKind::Replied, version, codec: 1, body },
        correlation_id: None,
        causation_id: None,
    };
    let payload = [format!("{id} {version} ").into_bytes(), vec![7; payload]].concat();
    let event = EventData { version, name: "deposited".into(), schema_version: 1, codec: 1, payload };
    let (slice, command) = (Slice(5), Some(Box::new(command)));
    Record { stream: stream(id), slice, sequence, time_micros: 0, event: Some(event), command }
}

/// Everything that reads through a store find of its events.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    streams: Vec<Vec<StoredEvent>>,
    all: Vec<StoredEvent>,
    loaded: Vec<Loaded>,
    outcomes: Vec<Option<StoredOutcome>>,
}

pub(crate) async fn seen(store: &dyn EventStore) -> Result<Seen, StoreError> {
    let mut streams = Vec::new();
    for id in ["a", "b", "c"] {
        streams.push(store.read_stream(stream(id), 1, usize::MAX).await?);
    }
    let load = |id, fingerprint| Load { stream: stream(id), fingerprint, keys: 10, events: 5000 };
    Ok(Seen {
        streams,
        all: store.read_all(Position::default(), usize::MAX).await?.0,
        loaded: store.load(vec![load("a", None), load("c", None), load("b", Some(7))]).await?,
        outcomes: store.outcomes((1..40).map(|n| (stream("a"), dedup(n))).collect()).await?,
    })
}

/// An archive that counts what it is asked for, and fails as it is told.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Archive>,
    pub(crate) asked: AtomicU64,
    /// How many calls of `put` fail, and put nothing.
    pub(crate) failing_puts: AtomicU64,
    /// How many calls of `put` put their block, and fail as if the process had been killed right after.
    pub(crate) killed_puts: AtomicU64,
    /// Who restores "a" right after a block was read, once.
    pub(crate) after_get: Mutex<Option<Archived>>,
}

impl Faulty {
    pub(crate) fn over(inner: &Arc<dyn Archive>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            asked: AtomicU64::new(0),
            failing_puts: AtomicU64::new(0),
            killed_puts: AtomicU64::new(0),
            after_get: Mutex::new(None),
        })
    }
}

impl Archive for Faulty {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn place(&self, stream: &StreamId, block: BlockInfo) -> String {
        self.inner.place(stream, block)
    }

    fn put(&self, stream: StreamId, block: BlockInfo, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let happens = |counted: &AtomicU64| {
            counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        };
        let (fails, killed) = (happens(&self.failing_puts), happens(&self.killed_puts));
        let failed = |what: &str| Err(StoreError::Unavailable(what.to_owned()));
        Box::pin(async move {
            if fails {
                return failed("the disk is full");
            }
            self.inner.put(stream, block, bytes).await?;
            if killed { failed("killed") } else { Ok(()) }
        })
    }

    fn get(&self, stream: StreamId, block: BlockInfo) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let found = self.inner.get(stream.clone(), block).await?;
            let other = self.after_get.lock().unwrap().take();
            if let Some(other) = other {
                other.restore(stream).await?;
            }
            Ok(found)
        })
    }

    fn blocks(&self, stream: StreamId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockInfo>, StoreError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.blocks(stream, from, limit)
    }
}
