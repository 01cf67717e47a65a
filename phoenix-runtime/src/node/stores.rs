//! Opens what the configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::id::AggregateId;
use crate::event_store::port::{Position, StoredEvent, StreamId};
use crate::event_store::{
    EventStore, LogReader, LogStore, LogStoreOptions, MemoryStore, OpenError, SqliteOptions, SqliteReader, SqliteStore,
    StoreError, sql,
};
use crate::node::config::{NodeConfig, StoreUrl};

/// Opens the store that the configuration names for a node, to which it belongs from now on.
///
/// # Errors
/// A store that has another owner, was written by a newer release, or can't be reached.
pub async fn open_store(config: &NodeConfig) -> Result<Arc<dyn EventStore>, OpenError> {
    match &config.store {
        StoreUrl::Memory => Ok(Arc::new(MemoryStore::new())),
        StoreUrl::Sqlite(path) => {
            let options = SqliteOptions { path: path.clone(), ..config.sqlite.clone() };
            Ok(Arc::new(SqliteStore::open(options).await?))
        }
        StoreUrl::Log(path) => {
            let options = LogStoreOptions { path: path.clone(), ..config.log_store.clone() };
            Ok(Arc::new(LogStore::open(options).await?))
        }
        StoreUrl::Postgres(url) => Ok(sql::postgres::open(url, &config.database).await?),
    }
}

/// A store that is only looked at: a node may have it open.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum History {
    /// Any store of this process.
    Store(Arc<dyn EventStore>),
    /// A file that perhaps another process writes.
    Sqlite(SqliteReader),
    /// A folder that perhaps another process writes.
    Log(LogReader),
}

impl History {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// A file that is missing, a database that can't be reached, or no event store of this release.
    pub async fn open(config: &NodeConfig) -> Result<Self, OpenError> {
        match &config.store {
            // nothing of it outlives its process, so another one sees it empty
            StoreUrl::Memory => Ok(Self::Store(Arc::new(MemoryStore::new()))),
            StoreUrl::Log(path) => Ok(Self::Log(LogReader::open(path).await?)),
            StoreUrl::Sqlite(path) => Ok(Self::Sqlite(SqliteReader::open(PathBuf::clone(path)).await?)),
            StoreUrl::Postgres(url) => Ok(Self::Store(sql::postgres::open_to_read(url, &config.database).await?)),
        }
    }

    /// As [`EventStore::read_stream`], while perhaps another process appends.
    ///
    /// # Errors
    /// A store that does not answer, or is damaged.
    pub async fn read_stream(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        match self {
            Self::Store(store) => store.read_stream(stream, from, limit).await,
            Self::Sqlite(reader) => reader.read_stream(stream, from, limit).await,
            Self::Log(reader) => reader.read_stream(stream, from, limit).await,
        }
    }

    /// As [`EventStore::read_all`], while perhaps another process appends.
    ///
    /// # Errors
    /// A store that does not answer, or is damaged.
    pub async fn read_all(&self, position: Position, limit: usize) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        match self {
            Self::Store(store) => store.read_all(position, limit).await,
            Self::Sqlite(reader) => reader.read_all(position, limit).await,
            Self::Log(reader) => reader.read_all(position, limit).await,
        }
    }

    /// As [`EventStore::ids`], while perhaps another process appends.
    ///
    /// # Errors
    /// A store that does not answer, or is damaged.
    pub async fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> Result<Vec<AggregateId>, StoreError> {
        match self {
            Self::Store(store) => store.ids(aggregate, after, limit).await,
            Self::Sqlite(reader) => reader.ids(aggregate, after, limit).await,
            Self::Log(reader) => reader.ids(aggregate, after, limit).await,
        }
    }
}
