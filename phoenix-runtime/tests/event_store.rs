//! Every event store of this crate against the one suite: a test for each store and promise.

use std::collections::BTreeMap;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::port::{Batch, EventData, Partition, Record, StreamId};
use phoenix_runtime::event_store::sql::{StoreWithTable, mysql, postgres};
use phoenix_runtime::event_store::{
    Archive, DatabaseOptions, DatabaseUrl, EventStore, LogStore, LogStoreOptions, MemoryStore, SqliteOptions,
    SqliteStore, StoreError,
};
use phoenix_runtime::testkit::conformance::archives::{self, ArchiveFactory, run_archive};
use phoenix_runtime::testkit::conformance::{Case, StoreFactory, cases};
use phoenix_test_servers::{Kind, Server, trial};
use tempfile::TempDir;

fn main() {
    let arguments = Arguments::from_args();
    let stores = [
        suite("memory", |_| Ok(Memory)), //
        suite("sqlite", |_| Ok(Sqlite(TempDir::new()?))),
        suite("log", |_| Ok(Log(TempDir::new()?))),
        suite_on(Kind::Postgres, "postgres"),
        suite_on(Kind::MySql, "mysql"),
    ];
    let table = |(kind, store)| {
        trial(kind, format!("{store}::its_table_is_an_archive"), |server| {
            let tables = Tables::on(server)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            Ok(runtime.block_on(run_archive(&tables))?)
        })
    };
    let tables = [(Kind::Postgres, "postgres"), (Kind::MySql, "mysql")].map(table);
    libtest_mimic::run(&arguments, stores.into_iter().flatten().chain(tables).collect()).exit();
}

/// A test for each promise, on a store that needs no server.
fn suite<F: StoreFactory + 'static>(store: &'static str, factory: fn(&str) -> Result<F, Failed>) -> Vec<Trial> {
    let case = |case: Case| Trial::test(name(store, case), move || run(case, &factory(case.name())?));
    cases().into_iter().map(case).collect()
}

/// A test for each promise, on a store that needs a server.
fn suite_on(kind: Kind, store: &'static str) -> Vec<Trial> {
    let case = |case: Case| {
        trial(kind, name(store, case), move |server| {
            run(case, &Sql(server.kind(), DatabaseUrl::new(server.database(case.name())?)))
        })
    };
    cases().into_iter().map(case).collect()
}

fn name(store: &str, case: Case) -> String {
    format!("{store}::{}", case.name())
}

fn run(case: Case, factory: &dyn StoreFactory) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(runtime.block_on(case.run(factory))?)
}

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

struct Log(TempDir);

impl StoreFactory for Log {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn EventStore>, StoreError>> {
        // so small that a case fills several segments, and the index does not fit into memory
        let path = self.0.path().join(name);
        let options = LogStoreOptions { segment_size: 1 << 20, index_memory: 16 << 10, ..LogStoreOptions::at(path) };
        Box::pin(async {
            let store = LogStore::open(options).await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
            Ok(Arc::new(store) as Arc<dyn EventStore>)
        })
    }
}

struct Sql(Kind, DatabaseUrl);

impl Sql {
    async fn store(&self) -> Result<Arc<dyn StoreWithTable>, StoreError> {
        let Self(kind, url) = self;
        let store = match kind {
            Kind::Postgres => postgres::open(url, &DatabaseOptions::default()).await,
            Kind::MySql => mysql::open(url, &DatabaseOptions::default()).await,
            Kind::Kafka | Kind::Kafka4 => return Err(StoreError::Unavailable("a bus is no store".to_owned())),
        };
        store.map_err(|e| StoreError::Unavailable(e.to_string()))
    }
}

impl StoreFactory for Sql {
    fn open<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Arc<dyn EventStore>, StoreError>> {
        Box::pin(async { Ok(self.store().await? as Arc<dyn EventStore>) })
    }
}

/// Tables `archive`, each in a database of its own.
struct Tables(BTreeMap<&'static str, Sql>);

impl Tables {
    fn on(server: &Server) -> Result<Self, Failed> {
        let url = |name| server.database(&format!("archive_{name}"));
        let named = |name| Ok((name, Sql(server.kind(), DatabaseUrl::new(url(name)?))));
        archives::NAMES.into_iter().map(named).collect::<Result<_, Failed>>().map(Self)
    }

    async fn table(&self, name: &str) -> Result<Arc<dyn StoreWithTable>, StoreError> {
        self.0[name].store().await
    }
}

impl ArchiveFactory for Tables {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Archive>, StoreError>> {
        Box::pin(async move { Ok(self.table(name).await? as Arc<dyn Archive>) })
    }

    fn expect<'a>(&'a self, name: &'a str, streams: Vec<StreamId>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let store = self.table(name).await?;
            let epochs = store.acquire(vec![Partition(0)]).await?;
            let first = |(stream, sequence): (StreamId, u64)| Record {
                stream,
                slice: Slice(3),
                sequence,
                time_micros: 0,
                event: Some(EventData {
                    version: 1,
                    name: "opened".into(),
                    schema_version: 1,
                    codec: 1,
                    payload: vec![1],
                }),
                command: None,
            };
            let records = streams.into_iter().zip(1..).map(first).collect();
            store.append(Arc::new(Batch { epochs, records })).await
        })
    }
}
