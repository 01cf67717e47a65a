//! `phoenix-cli events`.

use std::path::Path;
use std::sync::Arc;

use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::event_store::EventStore;
use phoenix_runtime::event_store::port::{Batch, CommandData, EventData, Partition, Record, StreamId};
use phoenix_runtime::event_store::sqlite::{SqliteOptions, SqliteStore};
use serde_json::Value;

use super::{phoenix_cli, refused};

/// A store with three events of one account, which stays open as a running service has it.
async fn store(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(SqliteOptions::at(path)).await.expect("a store");
    let epochs = store.acquire(vec![Partition(0)]).await.expect("an epoch");
    let stream = StreamId { aggregate: "bank-account".into(), id: AggregateId::new("alice").expect("an id") };
    let record = |version: u64, codec: u8, name: &str, payload: &[u8], command: Option<CommandData>| Record {
        stream: stream.clone(),
        slice: Slice::of("bank-account", "alice"),
        sequence: version,
        time_micros: 1_767_225_600_000_000 + i64::try_from(version).unwrap_or_default(),
        event: Some(EventData { version, name: name.into(), schema_version: 1, codec, payload: payload.to_vec() }),
        command: command.map(Box::new),
    };
    let command = |number: u8, name: &str, key: Option<&str>| {
        let id = MessageId::generate(0, [number; 10]);
        CommandData {
            id,
            dedup: key.map_or_else(|| Dedup::of_id(id), |key| Dedup::of_key(name, key)),
            name: name.into(),
            key: key.map(str::to_owned),
            payload_hash: 0,
            outcome: Outcome { kind: OutcomeKind::Replied, version: 1, codec: 1, body: br#"{"balance":5}"#.to_vec() },
            correlation_id: Some("c-1".to_owned()),
            causation_id: None,
        }
    };
    let records = vec![
        record(1, 1, "account-opened", br#"{"owner":"Alice","by":1}"#, Some(command(1, "open-account", None))),
        record(2, 1, "deposited", br#"{"amount":5}"#, Some(command(2, "deposit", Some("k-1")))),
        record(3, 2, "packed", &[0, 255], None),
    ];
    store.append(Arc::new(Batch { epochs, records })).await.expect("an append");
    store
}

#[tokio::test]
async fn a_stream_is_listed_while_its_owner_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let owner = store(&folder.path().join("phoenix.db")).await;
    let list = |more: &[&str]| {
        let ran = phoenix_cli(folder.path(), &[&["events", "phoenix.db", "bank-account", "alice"], more].concat());
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
        ran.out
    };
    let first =
        "     1  2026-01-01T00:00:00.000001Z  account-opened  {\"owner\":\"Alice\",\"by\":1}  <- open-account\n";
    let second = "     2  2026-01-01T00:00:00.000002Z  deposited  {\"amount\":5}  <- deposit (key k-1)\n";
    let third = "     3  2026-01-01T00:00:00.000003Z  packed  00ff\n";
    assert_eq!(list(&[]), [first, second, third].concat());
    assert_eq!(list(&["--from", "2"]), [second, third].concat());
    assert_eq!(list(&["--from", "2", "--limit", "1"]), second);
    assert_eq!(list(&["--limit", "0"]), "");
    let named = phoenix_cli(folder.path(), &["events", "sqlite:phoenix.db", "bank-account", "alice", "--limit", "1"]);
    assert_eq!(named.out, first, "{named:?}");

    let lines: Vec<Value> = list(&["--json"]).lines().map(|line| line.parse().expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["payload"]["amount"], 5);
    assert_eq!(lines[1]["command"]["key"], "k-1");
    assert_eq!(lines[1]["command"]["outcome"]["kind"], "replied");
    assert_eq!(lines[1]["command"]["outcome"]["body"]["balance"], 5);
    assert_eq!(lines[2]["payload"], "00ff");
    assert!(lines[2]["command"].is_null());
    drop(owner);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let owner = store(&folder.path().join("phoenix.db")).await;
    let check = |arguments: &[&str], messages: &[&str]| {
        refused(folder.path(), &[&["events"], arguments].concat(), 1, messages);
    };
    check(&["other.db", "bank-account", "alice"], &["other.db", "no such file", "`sqlite:<file>`", "`mysql://...`"]);
    check(&["sqlite:other.db", "bank-account", "alice"], &["other.db", "no such file"]);
    check(&["log:other", "bank-account", "alice"], &["other", "no such f"]);
    for inside in ["memory", "none"] {
        check(&[inside, "bank-account", "alice"], &[&format!("nothing of `{inside}` is found by another process")]);
    }
    check(&["oracle://a:secret@b/c", "bank-account", "alice"], &["there is no store `oracle`"]);
    check(
        &["phoenix.db", "bank-account", "bob"],
        &["no events of `bank-account/bob`", "first ids of this type are: alice"],
    );
    check(&["phoenix.db", "account", "alice"], &["no aggregate of the type `account`"]);
    check(&["phoenix.db", "bank-account", "alice", "--from", "4"], &["has no version 4", "lower `--from`"]);
    check(&["phoenix.db", "bank-account", ""], &["`` is no id", "can't be empty"]);
    drop(owner);
    assert!(!folder.path().join("other.db").exists(), "reading creates nothing");
}
