//! What an operator asks about the archive, and what the configuration makes of it.

use std::sync::Arc;

use phoenix_runtime::domain::id::AggregateId;
use phoenix_runtime::event_store::port::{EventStore, StreamId};
use phoenix_runtime::event_store::{MemoryStore, OpenError};
use phoenix_runtime::node::config::{ArchiveUrl, StoreUrl};
use phoenix_runtime::node::inspect::{Inspector, Until};
use phoenix_runtime::node::{History, Node, NodeError, open_store};
use serde_json::json;

use crate::account::{Account, Gate};
use crate::call::{Under, config, request, start_with};

fn stream() -> StreamId {
    StreamId { aggregate: "account".into(), id: AggregateId::new("a/b").expect("short") }
}

/// A node over a file of SQLite with four deposits, and a snapshot at the fourth.
async fn deposits(archive: ArchiveUrl, folder: &std::path::Path) -> (phoenix_runtime::node::NodeConfig, Under) {
    let mut config = config();
    config.store = StoreUrl::Sqlite(folder.join("bank.db"));
    config.archive = archive;
    let gate = Gate::closed();
    let builder = Node::builder().aggregate::<Account>().resource(gate.clone());
    let node = builder.config(config.clone()).start().await.expect("the node starts");
    let address = node.http_address().expect("it listens");
    let under = Under { node, address, gate };
    for amount in 1..=4 {
        under.post("/commands/account/deposit", &format!(r#"{{"account":"a/b","amount":{amount}}}"#)).await;
    }
    assert_eq!(under.post("/snapshots/account/a%2Fb", "").await.status, 200);
    (config, under)
}

#[tokio::test]
async fn an_operator_moves_events_to_the_archive_and_back() {
    let folder = tempfile::tempdir().expect("a folder");
    for archive in [ArchiveUrl::Table, ArchiveUrl::Folder(folder.path().join("old"))] {
        let place = folder.path().join(archive.to_string().len().to_string());
        let (config, under) = deposits(archive, &place).await;
        let whose = json!({"type": "account", "id": "a/b"});
        let empty = under.get("/archive/account/a%2Fb").await.json();
        assert_eq!(empty["blocks"], json!([]), "{empty}");
        assert_eq!((&empty["aggregate"]["type"], &empty["aggregate"]["id"]), (&whose["type"], &whose["id"]));
        let some = under.post("/archive/account/a%2Fb?up_to=2", "").await.json();
        assert_eq!(some["archived"], json!({"events": 2, "blocks": 1, "up_to": 2}), "{some}");
        let rest = under.post("/archive/account/a%2Fb", "").await.json();
        assert_eq!(rest["archived"], json!({"events": 1, "blocks": 1, "up_to": 3}), "{rest}");
        let blocks = under.get("/archive/account/a%2Fb").await.json();
        assert_eq!(blocks["blocks"], json!([{"from": 1, "to": 2}, {"from": 3, "to": 3}]));

        // whoever looks from outside reads through it
        let history = History::open(&config).await.expect("a running node does not mind");
        let state = Inspector::of::<Account>().state(history, stream().id, Until::Version(3)).await.expect("shown");
        assert_eq!(state.state, json!({"balance": 6}));

        let back = under.post("/archive/account/a%2Fb/restore", "").await.json();
        assert_eq!(back["restored"], json!({"blocks": 2, "up_to": 3}), "{back}");
        assert_eq!(under.get("/archive/account/a%2Fb").await.json()["blocks"], blocks["blocks"], "they stay");

        for path in ["/archive/account/a?up_to=x", "/archive/account/a?upto=3"] {
            let refused = under.post(path, "").await;
            assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-message"), "{path}");
        }
        assert_eq!(under.get("/archive/account/a/restore").await.code(), "method-not-allowed");
        under.node.stop().await;
        let store = open_store(&config).await.expect("the node has let it go");
        assert_eq!(store.read_stream(stream(), 1, 9).await.expect("read").len(), 4);
    }
}

#[tokio::test]
async fn a_node_without_an_archive_says_so() {
    let under = start_with(config(), Arc::new(MemoryStore::new())).await;
    assert_eq!(under.get("/archive/account/a").await.json()["blocks"], json!([]));
    let refused = under.post("/archive/account/a", "").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "store-failed"));
    assert!(refused.text.contains("set `archive = "), "{}", refused.text);
    for (method, path) in
        [("GET", "/archive/acount/a"), ("POST", "/archive/acount/a"), ("POST", "/archive/acount/a/restore")]
    {
        let unknown = request(under.address, method, path, &[], "").await;
        assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown-name"), "{method} {path}");
    }
    under.node.stop().await;
}

#[tokio::test]
async fn an_archive_that_can_not_be_is_refused_at_the_start() {
    let mut config = config();
    config.archive = ArchiveUrl::Table;
    let builder = Node::builder().config(config.clone()).store(Arc::new(MemoryStore::new()));
    let error = builder.start().await.expect_err("a given store has no table that the node knows of");
    assert!(matches!(&error, NodeError::Store(OpenError::NoTable(_))), "{error}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    config.archive = ArchiveUrl::Folder(file.path().join("old"));
    let error = Node::builder().config(config).store(Arc::new(MemoryStore::new())).start().await;
    assert!(matches!(&error, Err(NodeError::Store(OpenError::Archive(_)))), "{error:?}");
}

#[tokio::test]
async fn an_archive_that_is_off_or_elsewhere_is_noticed_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = ArchiveUrl::Folder(folder.path().join("old"));
    let (mut config, under) = deposits(there.clone(), folder.path()).await;
    let moved = under.post("/archive/account/a%2Fb", "").await;
    assert_eq!(moved.status, 200, "{}", moved.text);
    under.node.stop().await;
    let start = async |config: &phoenix_runtime::node::NodeConfig| {
        let builder = Node::builder().aggregate::<Account>().resource(Gate::closed());
        builder.config(config.clone()).start().await
    };
    for (archive, why) in [
        (ArchiveUrl::Off, "`archive` is off"),
        (ArchiveUrl::Table, "has none of their blocks"),
        (ArchiveUrl::Folder(folder.path().join("new")), "new` has none of their blocks"),
    ] {
        config.archive = archive;
        let error = start(&config).await.expect_err("it could not bring the account into memory");
        assert!(matches!(&error, NodeError::Store(OpenError::ArchiveAstray { .. })), "{error}");
        let text = error.to_string();
        assert!(text.contains("account/a/b") && text.contains(why), "{text}");
        // where the archive is lost, others go on
        config.node.without_archived = true;
        start(&config).await.expect("it was asked to").stop().await;
        config.node.without_archived = false;
    }
    config.archive = there;
    start(&config).await.expect("there they are").stop().await;
}
