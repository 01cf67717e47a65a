//! Every event store of this crate against the one suite.

use std::sync::Arc;

use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::{EventStore, MemoryStore, SqliteOptions, SqliteStore, StoreError};
use phoenix_runtime::testkit::conformance::{Failures, StoreFactory, run_all};
use tempfile::TempDir;

struct Memory;

impl StoreFactory for Memory {
    fn open<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Arc<dyn EventStore>, StoreError>> {
        Box::pin(async { Ok(Arc::new(MemoryStore::new()) as Arc<dyn EventStore>) })
    }
}

struct Sqlite(TempDir);

impl StoreFactory for Sqlite {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn EventStore>, StoreError>> {
        let options = SqliteOptions::at(self.0.path().join(name));
        Box::pin(async {
            let store = SqliteStore::open(options).await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
            Ok(Arc::new(store) as Arc<dyn EventStore>)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_an_event_store() -> Result<(), Failures> {
    run_all(&Memory).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_an_event_store() -> Result<(), Box<dyn std::error::Error>> {
    let sqlite = Sqlite(TempDir::new()?);
    run_all(&sqlite).await?;
    Ok(())
}
