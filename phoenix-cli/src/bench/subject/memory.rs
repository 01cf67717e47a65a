//! The stores of this process: one keeps everything in memory, one nothing. Nothing is below them.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::{EventStore, MemoryStore, NoStore};

use super::{BenchError, Kind, Place, Subject};

/// Stores in memory, by their place.
#[derive(Default)]
pub(super) struct Memory(Mutex<BTreeMap<Place, MemoryStore>>);

impl Subject for Memory {
    fn kind(&self) -> Kind {
        Kind::Memory
    }

    fn open(&self, place: Place) -> BoxFuture<'_, Result<Arc<dyn EventStore>, BenchError>> {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // a clone has the same contents
        let store: Arc<dyn EventStore> = Arc::new(stores.entry(place).or_default().clone());
        Box::pin(ready(Ok(store)))
    }

    fn remove(&self, place: Place) -> BoxFuture<'_, Result<(), BenchError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
        Box::pin(ready(Ok(())))
    }
}

/// A store that keeps nothing.
pub(super) struct Nothing;

impl Subject for Nothing {
    fn kind(&self) -> Kind {
        Kind::Nothing
    }

    fn open(&self, _: Place) -> BoxFuture<'_, Result<Arc<dyn EventStore>, BenchError>> {
        let store: Arc<dyn EventStore> = Arc::new(NoStore::new());
        Box::pin(ready(Ok(store)))
    }

    fn remove(&self, _: Place) -> BoxFuture<'_, Result<(), BenchError>> {
        Box::pin(ready(Ok(())))
    }
}
