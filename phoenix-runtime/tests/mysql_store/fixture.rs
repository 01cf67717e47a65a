//! A database of a test's own, an administrator's eye on it, and rows to append.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::event_store::port::{Batch, CommandData, Epoch, EventData, Partition, Record, StreamId};
use phoenix_runtime::event_store::sql::{StoreWithTable, mysql};
use phoenix_runtime::event_store::{DatabaseOpenError, DatabaseOptions, DatabaseUrl, EventStore, StoreError};
use phoenix_test_servers::Server;
use sea_orm::sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, query_scalar, raw_sql};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

pub(crate) type Checked = Result<(), Failed>;

/// The longest that anything may take.
const LIMIT: Duration = Duration::from_mins(1);

/// The server's list of transactions is made anew only when nobody has read it for a tenth of a second: so tests that
/// run at the same time ask one by one, each after this.
const STALE: Duration = Duration::from_millis(150);
static ASKING: Mutex<()> = Mutex::const_new(());

/// A database of its own.
pub(crate) struct Database {
    pub(crate) url: String,
}

impl Database {
    pub(crate) fn new(server: &Server, name: &str) -> Result<Self, Failed> {
        Ok(Self { url: server.database(name)? })
    }

    pub(crate) async fn open(&self) -> Result<Arc<dyn StoreWithTable>, DatabaseOpenError> {
        self.open_with(DatabaseOptions::default()).await
    }

    pub(crate) async fn open_with(
        &self,
        options: DatabaseOptions,
    ) -> Result<Arc<dyn StoreWithTable>, DatabaseOpenError> {
        mysql::open(&DatabaseUrl::new(&self.url), &options).await
    }

    pub(crate) async fn open_at(
        url: String,
        options: &DatabaseOptions,
    ) -> Result<Arc<dyn StoreWithTable>, DatabaseOpenError> {
        mysql::open(&DatabaseUrl::new(url), options).await
    }

    /// A connection beside the store's.
    pub(crate) async fn administrator(&self) -> Result<MySqlConnection, Failed> {
        Ok(MySqlConnection::connect(&self.url).await?)
    }

    pub(crate) async fn execute(&self, sql: &str) -> Checked {
        execute(&mut self.administrator().await?, sql).await
    }

    pub(crate) async fn count(&self, sql: &str) -> Result<i64, Failed> {
        Ok(query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.administrator().await?).await?)
    }

    /// Waits until as many statements wait for a lock.
    pub(crate) async fn waiting(&self, statements: i64) -> Checked {
        let asked = "SELECT COUNT(*) FROM information_schema.innodb_trx AS t \
                     JOIN information_schema.processlist AS p ON p.id = t.trx_mysql_thread_id \
                     WHERE p.db = DATABASE() AND t.trx_state = 'LOCK WAIT'";
        until("statements wait for a lock", async || {
            let _alone = ASKING.lock().await;
            sleep(STALE).await;
            Ok(self.count(asked).await? == statements)
        })
        .await
    }
}

pub(crate) async fn execute(connection: &mut MySqlConnection, sql: &str) -> Checked {
    raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> Result<bool, Failed>) -> Checked {
    let wait = async {
        while !holds().await? {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    timeout(LIMIT, wait).await.map_err(|_| format!("in {LIMIT:?} it did not come that {what}"))?
}

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "what is compared is made for it")]
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

pub(crate) fn stream() -> StreamId {
    StreamId { aggregate: "a".into(), id: AggregateId::new("1").unwrap() }
}

/// An event of the one stream, alone in its slice: its sequence number is its version.
pub(crate) fn event(version: u64) -> Record {
    let dedup = u128::from(version).to_be_bytes();
    Record {
        stream: stream(),
        slice: Slice(7),
        sequence: version,
        time_micros: 0,
        event: Some(EventData { version, name: "e".into(), schema_version: 1, codec: 1, payload: vec![1] }),
        command: Some(Box::new(CommandData {
            id: MessageId(uuid::Uuid::from_bytes(dedup)),
            dedup: Dedup(dedup),
            name: "c".into(),
            key: None,
            payload_hash: 1,
            outcome: Outcome { kind: OutcomeKind::Replied, version: 1, codec: 1, body: vec![2] },
            correlation_id: None,
            causation_id: None,
        })),
    }
}

pub(crate) fn batch(epoch: u64, versions: RangeInclusive<u64>) -> Arc<Batch> {
    batch_of(epoch, versions.map(event).collect())
}

pub(crate) fn batch_of(epoch: u64, records: Vec<Record>) -> Arc<Batch> {
    Arc::new(Batch { epochs: vec![(Partition(0), Epoch(epoch))], records })
}

/// What an owner is told that has a successor.
pub(crate) fn fenced(current: u64, given: u64) -> Result<(), StoreError> {
    Err(StoreError::Fenced { partition: Partition(0), current: Epoch(current), given: Epoch(given) })
}

/// Takes the one partition.
pub(crate) async fn own(store: &dyn EventStore) -> Result<u64, Failed> {
    Ok(store.acquire(vec![Partition(0)]).await?.first().map_or(0, |(_, epoch)| epoch.0))
}

pub(crate) async fn versions(store: &dyn EventStore) -> Result<Vec<u64>, Failed> {
    let events = store.read_stream(stream(), 1, 1000).await?;
    Ok(events.iter().map(|stored| stored.event.version).collect())
}
