//! A database of a test's own, an administrator's eye on it, and rows to append.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::event_store::port::{Batch, CommandData, Epoch, EventData, Partition, Record, StreamId};
use phoenix_runtime::event_store::sql::{StoreWithTable, postgres};
use phoenix_runtime::event_store::{DatabaseOpenError, DatabaseOptions, DatabaseUrl, EventStore};
use phoenix_test_servers::Server;
use sea_orm::sqlx::{AssertSqlSafe, Connection as _, PgConnection, query, query_scalar};
use tokio::time::{sleep, timeout};

pub(crate) type Checked = Result<(), Failed>;

/// The longest that anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A database of its own.
pub(crate) struct Database {
    pub(crate) url: String,
}

impl Database {
    pub(crate) fn new(server: &Server, name: &str) -> Result<Self, Failed> {
        Ok(Self { url: server.database(name)? })
    }

    pub(crate) async fn open(&self) -> Result<Arc<dyn EventStore>, DatabaseOpenError> {
        self.open_with(DatabaseOptions::default()).await
    }

    pub(crate) async fn open_with(&self, options: DatabaseOptions) -> Result<Arc<dyn EventStore>, DatabaseOpenError> {
        Ok(postgres::open(&DatabaseUrl::new(&self.url), &options).await?)
    }

    pub(crate) async fn open_at(
        url: String,
        options: &DatabaseOptions,
    ) -> Result<Arc<dyn StoreWithTable>, DatabaseOpenError> {
        postgres::open(&DatabaseUrl::new(url), options).await
    }

    /// A connection beside the store's.
    pub(crate) async fn administrator(&self) -> Result<PgConnection, Failed> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    pub(crate) async fn execute(&self, sql: &str) -> Checked {
        execute(&mut self.administrator().await?, sql).await
    }

    pub(crate) async fn count(&self, sql: &str) -> Result<i64, Failed> {
        Ok(query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.administrator().await?).await?)
    }

    /// Waits until as many statements wait for a lock.
    pub(crate) async fn waiting(&self, statements: i64) -> Checked {
        let asked = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until("statements wait for a lock", async || Ok(self.count(asked).await? == statements)).await
    }
}

pub(crate) async fn execute(connection: &mut PgConnection, sql: &str) -> Checked {
    query(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> Result<bool, Failed>) -> Checked {
    let wait = async {
        while !holds().await? {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    timeout(LIMIT, wait).await.map_err(|_| format!("in {LIMIT:?} it did not come that {what}"))?
}

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "what is compared is mostly made in the call")]
pub(crate) fn equal<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Checked {
    if found == expected {
        return Ok(());
    }
    let at = std::panic::Location::caller();
    Err(format!("{at}: {what}: expected {expected:?}, found {found:?}").into())
}

/// The error's text has all of these parts.
#[track_caller]
pub(crate) fn says<T, E: ToString>(result: Result<T, E>, parts: &[&str]) -> Checked {
    let at = std::panic::Location::caller();
    let Err(error) = result else { return Err(format!("{at}: no error").into()) };
    let text = error.to_string();
    let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{at}: {missing:?} is missing in: {text}").into()) }
}

pub(crate) const SLICE: Slice = Slice(7);

pub(crate) fn stream() -> StreamId {
    StreamId { aggregate: "a".into(), id: AggregateId::new("1").unwrap() }
}

pub(crate) fn command(dedup: [u8; 16]) -> Box<CommandData> {
    Box::new(CommandData {
        id: MessageId(uuid::Uuid::from_bytes(dedup)),
        dedup: Dedup(dedup),
        name: "c".into(),
        key: None,
        payload_hash: 1,
        outcome: Outcome { kind: OutcomeKind::Replied, version: 1, codec: 1, body: vec![2] },
        correlation_id: None,
        causation_id: None,
    })
}

/// An event of the one stream, alone in its slice: its sequence number is its version.
pub(crate) fn event(version: u64) -> Record {
    Record {
        stream: stream(),
        slice: SLICE,
        sequence: version,
        time_micros: 0,
        event: Some(EventData { version, name: "e".into(), schema_version: 1, codec: 1, payload: vec![1] }),
        command: Some(command(u128::from(version).to_be_bytes())),
    }
}

pub(crate) fn batch(epoch: u64, versions: RangeInclusive<u64>) -> Arc<Batch> {
    batch_of(epoch, versions.map(event).collect())
}

pub(crate) fn batch_of(epoch: u64, records: Vec<Record>) -> Arc<Batch> {
    Arc::new(Batch { epochs: vec![(Partition(0), Epoch(epoch))], records })
}

/// Takes the one partition.
pub(crate) async fn own(store: &dyn EventStore) -> Result<u64, Failed> {
    Ok(store.acquire(vec![Partition(0)]).await?.first().map_or(0, |(_, epoch)| epoch.0))
}

pub(crate) async fn versions(store: &dyn EventStore) -> Result<Vec<u64>, Failed> {
    let events = store.read_stream(stream(), 1, 1000).await?;
    Ok(events.iter().map(|stored| stored.event.version).collect())
}
