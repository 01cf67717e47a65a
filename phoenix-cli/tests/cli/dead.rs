//! `phoenix-cli dead`, over a running node and straight from a store.

use std::path::Path;

use phoenix_runtime::bus::Record;
use phoenix_runtime::bus::envelope::{Call, Message};
use phoenix_runtime::bus::port::Traits;
use phoenix_runtime::delivery::settle::encode;
use phoenix_runtime::domain::id::MessageId;
use phoenix_runtime::event_store::EventStore as _;
use phoenix_runtime::event_store::letters::{DeadLetter, Standing};
use phoenix_runtime::event_store::sqlite::{SqliteOptions, SqliteStore};
use phoenix_runtime::node::config::{BusUrl, StoreUrl};
use phoenix_runtime::node::{Node, NodeConfig};
use serde_json::{Value, json};

use super::{Ran, phoenix_cli, refused};

fn record(id: MessageId, account: &str) -> Record {
    let call = Call::command(id, "bank-account", account, "deposit", br#"{"amount":18446744073709551615}"#);
    Message::Call(call).into_record(None, Traits { headers: true, rebalances: true, max_record_bytes: 1 << 20 })
}

/// A store with three letters of two accounts.
async fn store(path: &Path) {
    let store = SqliteStore::open(SqliteOptions::at(path)).await.expect("a store");
    let letter = |offset: u64, account: &str| DeadLetter {
        number: 0,
        topic: "old.commands".into(),
        partition: 2,
        offset,
        aggregate: Some("bank-account".into()),
        id: Some(account.into()),
        name: Some("deposit".into()),
        message_id: None,
        slice: None,
        code: "panicked".into(),
        reason: "overflow\nin two lines".to_owned(),
        tries: 5,
        time_micros: 1_000_000,
        standing: Standing::Waiting,
        settled_micros: None,
        codec: 1,
        body: encode(&record(MessageId::generate(offset, [1; 10]), account)),
        original: None,
    };
    let letters = vec![letter(0, "al/ice"), letter(1, "bob"), letter(2, "al/ice")];
    store.letters().expect("it keeps letters").bury(letters, Vec::new()).await.expect("kept");
}

const ALICE: &str =
    "1  waiting  1970-01-01T00:00:01Z  bank-account/al/ice  deposit  panicked after 5 tries: overflow in two lines";

#[track_caller]
fn numbers(ran: &Ran) -> Vec<&str> {
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    ran.out.lines().filter_map(|line| line.split(' ').next()).collect()
}

#[tokio::test]
async fn letters_are_read_where_no_node_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    store(&folder.path().join("phoenix.db")).await;
    let run = |line: &[&str]| phoenix_cli(folder.path(), &[&["dead"], line, &["--store", "phoenix.db"]].concat());
    let all = run(&["list"]);
    assert_eq!(numbers(&all), ["1", "2", "3"]);
    assert_eq!(all.out.lines().next(), Some(ALICE));
    assert_eq!(numbers(&run(&["list", "--id", "al/ice", "--code", "panicked"])), ["1", "3"]);
    assert_eq!(numbers(&run(&["list", "--after", "1", "--limit", "1"])), ["2"]);
    assert_eq!(numbers(&run(&["list", "--standing", "replayed"])), [""; 0]);
    let json: Value = run(&["list", "--json", "--id", "bob"]).out.parse().expect("an object");
    assert_eq!((&json["number"], &json["type"], &json["record"]), (&json!(2), &json!("bank-account"), &json!(null)));
    let shown = run(&["show", "2"]);
    assert!(shown.out.contains(r#"{"amount":18446744073709551615}"#), "{shown:?}");

    let at = ["--store", "phoenix.db"];
    refused(folder.path(), &[&["dead", "show", "9"], &at[..]].concat(), 1, &["there is no dead letter 9", "dead list"]);
    refused(folder.path(), &["dead", "list", "--store", "other.db"], 1, &["other.db", "help: the store is the one"]);
    refused(folder.path(), &["dead", "list", "--store", "memory"], 1, &["found by another process"]);
    refused(folder.path(), &[&["dead", "discard", "1"], &at[..]].concat(), 2, &["unexpected argument '--store'"]);
    refused(folder.path(), &["dead", "replay"], 2, &["required"]);
    refused(folder.path(), &["dead", "replay", "1", "--all"], 2, &["cannot be used with"]);
    let help = phoenix_cli(folder.path(), &["dead", "--help"]);
    assert!(help.out.contains("Examples:\n  phoenix-cli dead list --code panicked"), "{help:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_mends_letters_and_sends_them_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("phoenix.db");
    store(&path).await;
    let mut config = NodeConfig::default();
    config.store = StoreUrl::Sqlite(path);
    config.bus = BusUrl::Memory;
    config.http.port = 0;
    let node = Node::builder().config(config).start().await.expect("the node starts");
    let at = format!("http://{}", node.http_address().expect("it listens"));
    let run = |line: &[&str]| phoenix_cli(folder.path(), &[&["dead"], line, &["--node", &at]].concat());
    let listed = run(&["list", "--standing", "waiting"]);
    assert_eq!(numbers(&listed), ["1", "2", "3"]);
    assert_eq!(listed.out.lines().next(), Some(ALICE));
    assert_eq!(numbers(&run(&["list", "--id", "al/ice"])), ["1", "3"]);
    assert_eq!(numbers(&run(&["list", "--limit", "2"])), ["1", "2"]);

    std::fs::write(folder.path().join("payload.json"), r#"{"amount":5}"#).expect("a file");
    assert_eq!(run(&["amend", "3", "payload.json"]).out, "amended 3; send it with `phoenix-cli dead replay 3`\n");
    let shown: Value = run(&["show", "3"]).out.parse().expect("JSON");
    assert_eq!((&shown["payload"], &shown["amended"]), (&json!({"amount": 5}), &json!(true)));
    std::fs::write(folder.path().join("record.json"), shown["original"].to_string()).expect("a file");
    assert_eq!(run(&["amend", "3", "record.json", "--record"]).code, Some(0));
    assert_eq!(run(&["discard", "2"]).out, "discarded 2\n");
    assert_eq!(run(&["replay", "1"]).out, "sent 1 again\n");
    assert_eq!(run(&["replay", "--type", "bank-account", "--code", "panicked"]).out, "sent 1 letters again\n");
    assert_eq!(numbers(&run(&["list", "--standing", "replayed"])), ["1", "3"]);
    assert_eq!(numbers(&run(&["list", "--standing", "discarded"])), ["2"]);

    let no = |line: &[&str], messages: &[&str]| {
        refused(folder.path(), &[&["dead"], line, &["--node", &at]].concat(), 1, messages);
    };
    no(&["show", "99"], &["the node says no: there is no dead letter 99", "/docs/errors#no-dead-letter"]);
    no(&["upcast", "2", "3"], &["it is discarded", "/docs/errors#not-waiting"]);
    no(&["discard", "2"], &["it is discarded", "/docs/errors#not-waiting"]);
    no(&["amend", "3", "nothing.json"], &["failed to read `nothing.json`", "`-` for standard input"]);
    node.stop().await;
    no(&["list"], &["no node answers at 127.0.0.1", "--store STORE"]);
    let https = ["dead", "list", "--node", "https://bank.example"];
    refused(folder.path(), &https, 1, &["`https://bank.example` is no address of a node", "http://host:port"]);
    std::fs::write(folder.path().join("phoenix.toml"), "[http]\nenabled = false\n").expect("a file");
    refused(folder.path(), &["dead", "list"], 1, &["has no gateway", "http.enabled"]);
}
