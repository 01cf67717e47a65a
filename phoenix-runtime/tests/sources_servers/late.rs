//! Nodes that were started without `[sources]`, on a home that gets sources: whichever is first, the node's taking over
//! or the source's coming in, such a node answers nothing afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::domain::error::Code;
use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::event_store::sources::{Members, MembersError, Mover};
use phoenix_runtime::event_store::sql::postgres;
use phoenix_runtime::event_store::{DatabaseOptions, DatabaseUrl, OpenError};
use phoenix_runtime::node::config::StoreUrl;
use phoenix_runtime::node::{Node, NodeConfig, NodeError};
use phoenix_test_servers::{Kind, trial};
use sea_orm::sqlx::{AssertSqlSafe, Connection as _, PgConnection, query, query_scalar};
use tokio::time::{sleep, timeout};

use crate::load::{Count, Counter, Total};

/// The longest that anything may take.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) fn trials() -> Vec<Trial> {
    let home = |name: &'static str, test: fn(Home) -> tokio::task::JoinHandle<()>| {
        trial(Kind::Postgres, format!("postgres::{name}"), move |server| {
            let home = Home { home: server.database("alone")?, b: server.database("joins")? };
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(async { timeout(LIMIT, test(home)).await })??;
            Ok::<_, Failed>(())
        })
    };
    vec![
        home("a_node_without_sources_is_fenced_when_one_comes_in", |home| tokio::spawn(home.joined_later())),
        home("a_node_without_sources_is_refused_where_one_came_in_meanwhile", |home| {
            tokio::spawn(home.joined_before())
        }),
    ]
}

/// A home that is about to get its first source.
struct Home {
    home: String,
    b: String,
}

impl Home {
    async fn node(&self) -> Result<Node, NodeError> {
        let mut config = NodeConfig::default();
        config.store = StoreUrl::Postgres(DatabaseUrl::new(&self.home));
        config.http.enabled = false;
        Node::builder().config(config).aggregate::<Counter>().start().await
    }

    async fn members(&self) -> Members {
        let open = async |url: &str| postgres::open(&DatabaseUrl::new(url), &DatabaseOptions::default()).await.unwrap();
        let others = BTreeMap::from([("b".to_owned(), open(&self.b).await as Arc<_>)]);
        Members::open(open(&self.home).await, others).await.unwrap()
    }

    async fn joined_later(self) {
        let node = self.node().await.unwrap();
        let counter = "c1".to_owned();
        let of = node.client().of::<Counter>();
        assert_eq!(of.ask(Count { counter: counter.clone() }).await.unwrap(), 1);

        let mover = Mover::new(self.members().await);
        let slice = Slice::of("counter", &counter);
        mover.move_slice(slice, "b", |_| {}).await.unwrap();
        mover.purge(slice, |_| {}).await.unwrap();
        // one of the slice that was not in memory would be read from what is left at home
        let cold = (2..1_000_000).map(|n| format!("c{n}")).find(|id| Slice::of("counter", id) == slice).unwrap();
        for id in [cold, counter] {
            let error = of.query(Total { counter: id }).await.unwrap_err();
            assert_eq!(error.code(), Code::OwnershipLost, "{error}");
        }
        node.stop().await;
    }

    async fn joined_before(self) {
        // with the schema, and without an owner
        drop(postgres::open(&DatabaseUrl::new(&self.home), &DatabaseOptions::default()).await.unwrap());
        let mut blocker = PgConnection::connect(&self.home).await.unwrap();
        for statement in ["BEGIN", "SELECT epoch FROM partitions FOR UPDATE"] {
            query(AssertSqlSafe(statement)).execute(&mut blocker).await.unwrap();
        }
        let home = Self { home: self.home.clone(), b: self.b.clone() };
        let starting = tokio::spawn(async move { home.node().await.map(drop) });
        let mut watcher = PgConnection::connect(&self.home).await.unwrap();
        let waits = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while query_scalar::<_, i64>(waits).fetch_one(&mut watcher).await.unwrap() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        self.members().await;
        query("ROLLBACK").execute(&mut blocker).await.unwrap();
        let refused = starting.await.unwrap();
        let missing = |name: &str| name == "b";
        assert!(
            matches!(
                &refused,
                Err(NodeError::Store(OpenError::Sources(MembersError::Missing { name, .. }))) if missing(name)
            ),
            "{refused:?}"
        );
    }
}
