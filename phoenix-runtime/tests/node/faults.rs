//! Faults over HTTP: each by what causes it, with the status of its code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phoenix_runtime::domain::id::{AggregateId, Slice};
use phoenix_runtime::event_store::port::{Batch, EventData, Partition, Record, StreamId};
use phoenix_runtime::event_store::{EventStore, MemoryStore};

use crate::call::{Under, config, start, start_with};

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

#[track_caller]
fn is(response: &crate::call::Response, status: u16, code: &str) {
    assert_eq!((response.status, response.code().as_str()), (status, code), "{response:?}");
}

#[tokio::test]
async fn a_panic_harms_its_command_only() {
    let under = start().await;
    is(&under.post("/commands/account/explode", r#"{"account":"a"}"#).await, 500, "panicked");
    assert_eq!(under.post("/commands/account/deposit", r#"{"account":"a","amount":1}"#).await.status, 200);
    under.node.stop().await;
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_it_says() {
    let under = start().await;
    let linger = under.post_with("/commands/account/linger", &[("Request-Timeout", "20ms")], r#"{"account":"a"}"#);
    is(&linger.await, 504, "timed-out");
    let query = under.post_with("/queries/account/balance", &[("Request-Timeout", "20ms")], r#"{"account":"a"}"#);
    let query = query.await;
    assert!([404, 504].contains(&query.status), "{query:?}");
    under.node.stop().await;
}

#[tokio::test]
async fn an_async_handler_has_a_deadline() {
    let mut config = config();
    config.engine.handler_deadline = Duration::from_millis(20);
    let under = start_with(config, memory()).await;
    is(&under.post("/commands/account/linger", r#"{"account":"a"}"#).await, 504, "deadline-passed");
    under.node.stop().await;
}

#[tokio::test]
async fn an_ask_that_would_wait_for_itself_is_refused() {
    let under = start().await;
    let asked = under.post("/commands/account/ask-itself", r#"{"account":"a"}"#).await;
    assert_eq!(asked.json()["reply"], "would-deadlock");
    under.node.stop().await;
}

#[tokio::test]
async fn a_full_mailbox_pushes_back() {
    let mut config = config();
    config.engine.aggregate_queue = 1;
    config.engine.overflow = phoenix_runtime::engine::Overflow::Fail;
    let under = Arc::new(start_with(config, memory()).await);
    // in memory already: otherwise they would wait for that, and one of them only
    under.post("/commands/account/open", r#"{"account":"a"}"#).await;
    let linger = |under: Arc<Under>| {
        tokio::spawn(async move { under.post("/commands/account/linger", r#"{"account":"a"}"#).await })
    };
    // one lingers and one waits for it: whichever comes third finds no room, and its answer comes first
    let mut calls = futures_util::stream::FuturesUnordered::new();
    calls.extend((0..3).map(|_| linger(Arc::clone(&under))));
    let refused = futures_util::StreamExt::next(&mut calls).await.expect("three").expect("no panic");
    is(&refused, 503, "mailbox-full");
    under.gate.open();
    while let Some(done) = futures_util::StreamExt::next(&mut calls).await {
        assert_eq!(done.expect("no panic").status, 200);
    }
}

#[tokio::test]
async fn a_message_is_bounded_by_the_engine_as_well() {
    let mut config = config();
    config.engine.max_message_bytes = 8;
    let under = start_with(config, memory()).await;
    is(&under.post("/commands/account/deposit", r#"{"account":"a","amount":1}"#).await, 413, "too-large");
    under.node.stop().await;
}

#[tokio::test]
async fn an_aggregate_that_can_not_be_replayed_is_parked_alone() {
    let store = memory();
    let partition = Partition(Slice::of("account", "old").0 % 16);
    let epochs = store.acquire(vec![partition]).await.expect("an owner");
    let event =
        EventData { version: 1, name: "changed".into(), schema_version: 1, codec: 1, payload: b"torn".to_vec() };
    let record = Record {
        stream: StreamId { aggregate: "account".into(), id: AggregateId::new("old").expect("short") },
        slice: Slice::of("account", "old"),
        sequence: 1,
        time_micros: 0,
        event: Some(event),
        command: None,
    };
    store.append(Arc::new(Batch { epochs, records: vec![record] })).await.expect("stored");
    let under = start_with(config(), store).await;
    is(&under.post("/commands/account/deposit", r#"{"account":"old","amount":1}"#).await, 500, "parked");
    assert_eq!(under.post("/commands/account/deposit", r#"{"account":"new","amount":1}"#).await.status, 200);
    under.node.stop().await;
}

#[tokio::test]
async fn a_lost_partition_is_told_to_callers_and_operators() {
    let store = memory();
    let under = start_with(config(), Arc::<MemoryStore>::clone(&store)).await;
    assert_eq!(under.get("/health/ready").await.status, 200);
    store.acquire((0..16).map(Partition).collect()).await.expect("another owner");
    is(&under.post("/commands/account/deposit", r#"{"account":"a","amount":1}"#).await, 503, "ownership-lost");
    is(&under.get("/health/ready").await, 503, "ownership-lost");
    under.node.stop().await;
}

#[tokio::test]
async fn a_lost_partition_is_noticed_without_a_call() {
    let store = memory();
    let mut config = config();
    config.engine.idle_check = Duration::from_millis(20);
    let under = start_with(config, Arc::<MemoryStore>::clone(&store)).await;
    store.acquire((0..16).map(Partition).collect()).await.expect("another owner");
    let begun = Instant::now();
    while under.get("/health/ready").await.status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it stays ready");
    }
    is(&under.get("/health/ready").await, 503, "ownership-lost");
    under.node.stop().await;
}
