//! Every event store of this crate against the one suite.

use std::sync::Arc;

use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::{EventStore, MemoryStore, StoreError};
use phoenix_runtime::testkit::conformance::{Failures, StoreFactory, run_all};

struct Memory;

impl StoreFactory for Memory {
    fn open<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Arc<dyn EventStore>, StoreError>> {
        Box::pin(async { Ok(Arc::new(MemoryStore::new()) as Arc<dyn EventStore>) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_an_event_store() -> Result<(), Failures> {
    run_all(&Memory).await.map(drop)
}
