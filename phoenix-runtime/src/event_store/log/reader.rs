//! Reading a log that perhaps another process writes.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::blocking;
use super::files::{Files, Folder};
use super::options::LogStoreOptions;
use super::recover::{Role, catch_up, open};
use super::shared::Shared;
use crate::domain::id::AggregateId;
use crate::event_store::port::{Position, StoreError, StoredEvent, StreamId};
use crate::event_store::sqlite::OpenError;

/// A log that is only looked at: its owner may have it open. Every answer has what was durable before the question.
#[derive(Debug, Clone)]
pub struct LogReader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Shared,
    // one of all who ask takes in what is new
    turn: Mutex<()>,
}

impl LogReader {
    /// Opens a log. What was written since its owner last saved the index is read once.
    ///
    /// # Errors
    /// A folder that is missing or no log of this release, and one that is damaged.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        Self::open_on(Arc::new(Folder::at(path)), path).await
    }

    /// Opens a log on another disk than the operating system's; errors name it by the path.
    ///
    /// # Errors
    /// No log of this release, and one that is damaged.
    pub async fn open_on(files: Arc<dyn Files>, path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref().to_owned();
        let options = LogStoreOptions::at(&path);
        let opened = blocking(move || open(files, &options, Role::Reader)).await;
        let shared = opened.map_err(|e| OpenError::database(&path, &e))?;
        Ok(Self(Arc::new(Inner { shared, turn: Mutex::default() })))
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let turn = inner.turn.lock().unwrap_or_else(PoisonError::into_inner);
            catch_up(&inner.shared)?;
            drop(turn);
            read(&inner.shared)
        })
        .await
    }

    /// At most `limit` events of a stream, from version `from` on, in order.
    ///
    /// # Errors
    /// A log that can't be read or is damaged.
    pub async fn read_stream(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |shared| shared.read_stream(&stream, from, limit)).await
    }

    /// At most `limit` events that come after `position`, in the order of each slice, and the position behind them.
    ///
    /// # Errors
    /// A log that can't be read or is damaged.
    pub async fn read_all(&self, position: Position, limit: usize) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        self.read(move |shared| shared.read_all(position, limit)).await
    }

    /// Ids of aggregates of a type in their order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// A log that can't be read or is damaged.
    pub async fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> Result<Vec<AggregateId>, StoreError> {
        self.read(move |shared| shared.ids_after(&aggregate, after.as_ref(), limit)).await
    }
}
