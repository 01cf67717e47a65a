//! What operators and load balancers ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phoenix_runtime::domain::id::{AggregateId, Dedup, Slice};
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::letters::Letters;
use phoenix_runtime::event_store::port::{
    Batch, Epoch, KnownKeys, Partition, Position, Snapshot, SnapshotInfo, StoredEvent, StoredOutcome, StreamId,
};
use phoenix_runtime::event_store::{EventStore, MemoryStore, StoreError};
use phoenix_runtime::http::{Gateway, HttpOptions, Readiness, Server};
use phoenix_runtime::telemetry::Metrics;
use phoenix_runtime::testkit::clock::VirtualClock;

use crate::call::{config, request, start, start_with};

#[tokio::test]
async fn a_node_is_ready_when_it_takes_commands() {
    let mut options = HttpOptions::default();
    options.port = 0;
    let clock = Arc::new(VirtualClock::default());
    let gateway = Arc::new(Gateway::new(options.clone(), Arc::new(Readiness::new()), Metrics::install(), clock));
    let server = Server::start(&options, gateway).await.expect("a free port");
    let starting = request(server.address(), "GET", "/health/ready", &[], "").await;
    assert_eq!((starting.status, starting.code().as_str()), (503, "starting"));
    let early = request(server.address(), "POST", "/commands/account/deposit", &[], "{}").await;
    assert_eq!((early.status, early.code().as_str()), (503, "starting"));
    assert_eq!(request(server.address(), "GET", "/health/live", &[], "").await.status, 200);
    server.stop(std::time::Duration::from_secs(5)).await;

    let under = start().await;
    assert_eq!(under.get("/health/ready").await.text, "ready\n");
    assert_eq!(under.get("/health/live").await.text, "live\n");
    under.node.stop().await;
}

#[tokio::test]
async fn a_snapshot_can_be_asked_for() {
    let under = start().await;
    let nothing = under.post("/snapshots/account/a", "").await;
    assert_eq!((nothing.status, nothing.code().as_str()), (404, "not-found"));
    under.post("/commands/account/deposit", r#"{"account":"a","amount":1}"#).await;
    let taken = under.post("/snapshots/account/a", "").await;
    assert_eq!(taken.status, 200, "{}", taken.text);
    assert_eq!(taken.json(), serde_json::json!({"aggregate": {"type": "account", "id": "a", "version": 1}}));
    let unknown = under.post("/snapshots/ledger/a", "").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown-name"));
    let get = under.get("/snapshots/account/a").await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    let foreign = under.post_with("/snapshots/account/a", &[("origin", "https://elsewhere.example")], "").await;
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "cross-origin"));
    under.node.stop().await;
}

#[tokio::test]
async fn whoever_changes_what_is_stored_is_served_where_the_configuration_says_so() {
    for (expose, operator, served) in [
        (false, None, true),
        (false, Some(false), false),
        (true, None, false),
        (true, Some(false), false),
        (true, Some(true), true),
    ] {
        let mut config = config();
        (config.http.expose, config.http.operator) = (expose, operator);
        let under = start_with(config, Arc::new(MemoryStore::new())).await;
        under.post("/commands/account/deposit", r#"{"account":"a","amount":1}"#).await;
        for (method, path, status) in [
            ("POST", "/snapshots/account/a", 200),
            ("GET", "/archive/account/a", 200),
            // there is no archive
            ("POST", "/archive/account/a", 503),
            ("POST", "/archive/account/a/restore", 503),
        ] {
            let answer = request(under.address, method, path, &[], "").await;
            let expected = if served { (status, Some("volatile")) } else { (403, None) };
            assert_eq!((answer.status, answer.header("phoenix-durability")), expected, "{method} {path} {operator:?}");
            assert!(served || answer.code() == "operator-off", "{}", answer.text);
        }
        for path in ["/health/ready", "/metrics", "/docs/errors"] {
            assert_eq!(under.get(path).await.status, 200, "{path}");
        }
        under.node.stop().await;
    }
}

#[tokio::test]
async fn what_a_path_takes_is_said() {
    #[track_caller]
    fn check(answer: &crate::call::Response, allow: &[&str], use_instead: &str) {
        let mut allowed: Vec<&str> = answer.header("allow").unwrap_or_default().split(',').collect();
        allowed.sort_unstable();
        assert_eq!((answer.status, allowed.as_slice()), (405, allow));
        assert!(answer.text.contains(use_instead), "{}", answer.text);
    }
    let under = start().await;
    let put = async |path: &str| request(under.address, "PUT", path, &[], "").await;
    check(
        &put("/archive/account/a").await,
        &["GET", "HEAD", "POST"],
        "use GET, which lists the blocks, or POST, which",
    );
    check(&put("/archive/account/restore").await, &["GET", "HEAD", "POST"], "use GET, which lists the blocks, or POST");
    check(&put("/archive/account/a/restore").await, &["POST"], "use POST instead of PUT");
    check(&put("/snapshots/account/a").await, &["POST"], "use POST instead of PUT");
    check(&put("/metrics").await, &["GET", "HEAD"], "use GET instead of PUT");
    under.node.stop().await;
}

#[tokio::test]
async fn metrics_and_errors_are_served() {
    let under = start().await;
    under.post("/commands/account/deposit", r#"{"account":"a","amount":1}"#).await;
    let metrics = under.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let counted = r#"phoenix_http_requests_total{route="/commands/{first}/{second}",status="200"}"#;
    assert!(metrics.text.contains(counted), "{}", metrics.text);
    assert!(metrics.text.contains("phoenix_http_request_seconds_bucket"), "{}", metrics.text);
    assert!(metrics.text.contains("phoenix_append_seconds_bucket"), "{}", metrics.text);
    assert!(metrics.text.contains("\nphoenix_aggregates_resident 1\n"), "{}", metrics.text);
    let errors = under.get("/docs/errors").await;
    assert!(errors.text.contains("\n## mailbox-full\n"));
    under.node.stop().await;
}

#[tokio::test]
async fn a_node_whose_store_fails_is_not_ready_until_it_works_again() {
    let store = Arc::new(Failing { inner: MemoryStore::new(), fails: AtomicBool::new(false) });
    let under = Arc::new(start_with(config(), Arc::<Failing>::clone(&store)).await);
    store.fails.store(true, Ordering::Relaxed);
    let waiting = Arc::clone(&under);
    let body = r#"{"account":"a","amount":1}"#;
    let deposit = tokio::spawn(async move { waiting.post("/commands/account/deposit", body).await });
    let mut ready = under.get("/health/ready").await;
    while ready.status == 200 {
        ready = under.get("/health/ready").await;
    }
    assert_eq!((ready.status, ready.code().as_str()), (503, "store-failed"));
    store.fails.store(false, Ordering::Relaxed);
    assert_eq!(deposit.await.expect("no panic").status, 200);
    assert_eq!(under.get("/health/ready").await.status, 200);
}

/// A store whose appends can be made to fail.
#[derive(Debug)]
struct Failing {
    inner: MemoryStore,
    fails: AtomicBool,
}

impl EventStore for Failing {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>> {
        self.inner.partitions(wanted)
    }

    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>> {
        self.inner.acquire(partitions)
    }

    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.fails.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Unavailable("pulled".to_owned())) });
        }
        self.inner.append(batch)
    }

    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>> {
        self.inner.last_sequences(slices)
    }

    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.inner.read_stream(stream, from, limit)
    }

    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>> {
        self.inner.read_all(position, limit)
    }

    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>> {
        self.inner.outcomes(commands)
    }

    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>> {
        self.inner.known_keys(stream, limit)
    }

    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.put_snapshot(snapshot)
    }

    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>> {
        self.inner.snapshot(stream, at_most)
    }

    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>> {
        self.inner.ids(aggregate, after, limit)
    }

    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>> {
        self.inner.snapshots(stream)
    }

    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.drop_snapshots(stream, below)
    }

    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.strip(stream, up_to)
    }

    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.refill(events)
    }

    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        self.inner.event_names(aggregate)
    }

    fn letters(&self) -> Option<&dyn Letters> {
        self.inner.letters()
    }
}
