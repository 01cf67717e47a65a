//! The store that keeps everything in memory: nothing is below it.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::{EventStore, MemoryStore};

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
