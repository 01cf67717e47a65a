//! State and schemas, read beside a running node.

use std::sync::Arc;

use phoenix_runtime::domain::id::AggregateId;
use phoenix_runtime::event_store::letters::{DeadFilter, DeadLetter, Standing};
use phoenix_runtime::event_store::{
    Archived, EventStore, LogStore, LogStoreOptions, MemoryArchive, SqliteOptions, SqliteStore,
};
use phoenix_runtime::node::config::StoreUrl;
use phoenix_runtime::node::inspect::{InspectError, Inspector, Until};
use phoenix_runtime::node::{History, NodeConfig};
use serde_json::json;

use crate::account::Account;
use crate::call::{self, start_with};

#[tokio::test]
async fn a_state_is_shown_at_a_version_and_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank.db");
    let store = SqliteStore::open(SqliteOptions::at(&path)).await.expect("opens");
    let under = start_with(call::config(), Arc::new(store)).await;
    for amount in 1..=3 {
        under.post("/commands/account/deposit", &format!(r#"{{"account":"a","amount":{amount}}}"#)).await;
    }
    let mut config = NodeConfig::default();
    config.store = StoreUrl::Sqlite(path);
    let history = History::open(&config).await.expect("a running node does not mind");
    let state = async |id: &str, until| {
        Inspector::of::<Account>().state(history.clone(), AggregateId::new(id).expect("short"), until).await
    };

    let last = state("a", Until::End).await.expect("shown");
    assert_eq!((last.version, last.state), (3, json!({"balance": 6})));
    let second = state("a", Until::Version(2)).await.expect("shown");
    assert_eq!((second.version, second.state), (2, json!({"balance": 3})));
    let time: jiff::Timestamp = second.time.parse().expect("RFC 3339");
    let then = state("a", Until::Time(time.as_microsecond())).await.expect("shown");
    assert!(then.version >= 2, "two events may have one time");

    let none = state("b", Until::End).await;
    assert!(matches!(&none, Err(InspectError::NoEvents(..))), "{none:?}");
    let early = state("a", Until::Time(0)).await.map_err(|e| e.to_string());
    assert_eq!(early.err().as_deref(), Some("account/a has no events at or before that time"));
    let late = state("a", Until::Version(4)).await.map_err(|e| e.to_string());
    assert_eq!(late.err().as_deref(), Some("account/a has 3 events, there is no version 4"));
    under.node.stop().await;
}

#[test]
fn a_schema_has_every_message() {
    let schema = serde_json::to_value(Inspector::of::<Account>().schema()).expect("JSON");
    let names = |kind: &str| -> Vec<String> {
        let all = schema[kind].as_array().into_iter().flatten();
        all.filter_map(|entry| entry["name"].as_str()).map(str::to_owned).collect()
    };
    assert_eq!(names("commands"), ["open", "deposit", "withdraw", "linger", "ask-itself", "explode"]);
    assert_eq!(names("events"), ["opened", "changed"]);
    assert_eq!(names("queries"), ["balance"]);
    assert_eq!(schema["commands"][2]["creates"], false);
}

fn dead_letter() -> DeadLetter {
    DeadLetter {
        number: 1,
        topic: "account.commands".into(),
        partition: 3,
        offset: 12,
        aggregate: Some("account".into()),
        id: Some("a".into()),
        name: Some("explode".into()),
        message_id: None,
        slice: None,
        code: "panicked".into(),
        reason: "it exploded three times".to_owned(),
        tries: 3,
        time_micros: 5,
        standing: Standing::Waiting,
        settled_micros: None,
        codec: 1,
        body: b"{}".to_vec(),
        original: None,
    }
}

/// Dead letters are seen while their owner has the store open, also behind an archive.
async fn check_letters(store: Arc<dyn EventStore>, url: StoreUrl) {
    let mut config = NodeConfig::default();
    config.store = url;
    let owner = Archived::new(store, Arc::new(MemoryArchive::new()));
    let letters = owner.letters().expect("the store has letters");
    let history = History::open(&config).await.expect("an owner does not mind");
    let seen = history.letters().expect("the store has letters");
    assert_eq!(seen.dead(DeadFilter::default(), 0, 10).await, Ok(vec![]));
    letters.bury(vec![dead_letter()], Vec::new()).await.expect("buried");
    assert_eq!(seen.dead(DeadFilter::default(), 0, 10).await, Ok(vec![dead_letter()]));
    assert_eq!(seen.dead_counts().await, Ok([("panicked".to_owned(), 1)].into()));
    letters.settle(vec![1], Standing::Discarded, 9).await.expect("discarded");
    let standing = seen.dead_letter(1).await.expect("read").map(|letter| letter.standing);
    assert_eq!(standing, Some(Standing::Discarded));
    assert_eq!(seen.dead_counts().await, Ok([].into()));
}

#[tokio::test]
async fn dead_letters_are_seen_beside_an_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank.db");
    let store = SqliteStore::open(SqliteOptions::at(&path)).await.expect("opens");
    check_letters(Arc::new(store), StoreUrl::Sqlite(path)).await;
    let path = folder.path().join("log");
    let store = LogStore::open(LogStoreOptions::at(&path)).await.expect("opens");
    check_letters(Arc::new(store), StoreUrl::Log(path)).await;
    let mut config = NodeConfig::default();
    config.store = StoreUrl::None;
    assert!(History::open(&config).await.expect("opens").letters().is_none());
}
