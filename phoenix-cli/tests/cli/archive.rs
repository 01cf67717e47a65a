//! `phoenix-cli archive`, `restore` and `archived`.

use std::path::Path;
use std::sync::Arc;

use phoenix_runtime::domain::id::{AggregateId, Slice};
use phoenix_runtime::event_store::EventStore;
use phoenix_runtime::event_store::port::{Batch, EventData, Partition, Record, Snapshot, StreamId};
use phoenix_runtime::event_store::sqlite::{SqliteOptions, SqliteStore};

use super::{phoenix_cli, refused};

/// A store with four events of one account, and a snapshot at the fourth.
async fn store(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(SqliteOptions::at(path)).await.expect("a store");
    let epochs = store.acquire(vec![Partition(0)]).await.expect("an epoch");
    let stream = StreamId { aggregate: "bank-account".into(), id: AggregateId::new("alice").expect("an id") };
    let record = |version: u64| Record {
        stream: stream.clone(),
        slice: Slice(9),
        sequence: version,
        time_micros: 0,
        event: Some(EventData {
            version,
            name: "deposited".into(),
            schema_version: 1,
            codec: 1,
            payload: format!("{{\"amount\":{version}}}").into_bytes(),
        }),
        command: None,
    };
    store.append(Arc::new(Batch { epochs, records: (1..=4).map(record).collect() })).await.expect("an append");
    let snapshot = Snapshot { stream, version: 4, time_micros: 0, fingerprint: 1, codec: 1, payload: vec![1] };
    store.put_snapshot(snapshot).await.expect("a snapshot");
    store
}

#[tokio::test]
async fn events_go_to_the_archive_and_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(store(&folder.path().join("phoenix.db")).await);
    for archive in [["--archive", "table"], ["--archive", "folder:old"]] {
        let run = |command: &str, more: &[&str]| {
            let line = [&[command, "phoenix.db", "bank-account", "alice"], &archive[..], more].concat();
            let ran = phoenix_cli(folder.path(), &line);
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
            ran.out
        };
        let before = run("events", &["--json"]);
        assert_eq!(run("archived", &[]), "the archive has nothing of bank-account/alice\n");
        assert_eq!(
            run("archive", &["--up-to", "2"]),
            "moved 2 events of bank-account/alice (new blocks: 1); it is in the archive up to version 2\n"
        );
        assert_eq!(
            run("archive", &[]),
            "moved 1 events of bank-account/alice (new blocks: 1); it is in the archive up to version 3\n"
        );
        assert_eq!(run("archive", &[]), "nothing to move: bank-account/alice is in the archive up to version 3\n");
        let listed = run("archived", &[]);
        let first: Vec<_> = listed.lines().filter_map(|line| line.split_once("  ")).map(|(block, _)| block).collect();
        assert_eq!(first, ["1-2", "3-3"], "{listed}");
        assert_eq!(run("events", &["--json"]), before);
        assert_eq!(
            run("restore", &[]),
            "bank-account/alice is whole up to version 3; its blocks stay in the archive\n"
        );
        assert_eq!(run("archived", &[]), listed);
    }
    let line = ["archive", "phoenix.db", "bank-account", "bob", "--archive", "table"];
    assert!(phoenix_cli(folder.path(), &line).out.starts_with("nothing of bank-account/bob may move"));
}

#[tokio::test]
async fn what_can_not_be_moved_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let owner = store(&folder.path().join("phoenix.db")).await;
    let line = |command| [command, "phoenix.db", "bank-account", "alice", "--archive", "table"];
    refused(folder.path(), &line("archive"), 1, &["owns it", "help: where its service runs", "POST /archive/TYPE/ID"]);
    drop(owner);
    refused(
        folder.path(),
        &["archive", "other.db", "a", "b", "--archive", "table"],
        1,
        &["there is no such file: `other.db`"],
    );
    assert!(!folder.path().join("other.db").exists());
    refused(folder.path(), &["restore", "phoenix.db", "a", ""], 1, &["`` is no id"]);
    for command in ["archive", "restore", "archived"] {
        let line = [command, "phoenix.db", "account", "alice", "--archive", "table"];
        refused(folder.path(), &line, 1, &["no aggregate of the type `account`", "wire name"]);
    }
    let line = ["archive", "phoenix.db", "bank-account", "alice", "--archive", "cupboard"];
    refused(folder.path(), &line, 2, &["there is no archive `cupboard`", "`table`, `folder:<path>`"]);
    // what was moved to a folder, and is looked for in the table
    let line = ["archive", "phoenix.db", "bank-account", "alice", "--archive", "folder:old"];
    assert_eq!(phoenix_cli(folder.path(), &line).code, Some(0));
    let error = ["version 1 of bank-account/alice was moved to the archive", "has no block that holds it"];
    refused(folder.path(), &["events", "phoenix.db", "bank-account", "alice"], 1, &error);
}

#[tokio::test]
async fn the_archive_is_the_one_of_the_service() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(store(&folder.path().join("phoenix.db")).await);
    let configure = |text: &str| std::fs::write(folder.path().join("phoenix.toml"), text).expect("a file");
    let line = |command| [command, "phoenix.db", "bank-account", "alice"];
    let unknown = ["it is not said where the archive of `sqlite:phoenix.db` is", "`--archive folder:<path>`"];
    let nothing_is_said = || {
        for command in ["archive", "restore", "archived"] {
            refused(folder.path(), &line(command), 1, &unknown);
        }
    };
    nothing_is_said();
    configure("store = \"sqlite:other.db\"\narchive = \"folder:old\"\n");
    nothing_is_said();
    configure("store = \"sqlite:./phoenix.db\"\n");
    nothing_is_said();
    configure("store = \"sqlite:./phoenix.db\"\narchive = \"folder:old\"\n");
    let ran = phoenix_cli(folder.path(), &line("archive"));
    assert!(ran.out.starts_with("moved 3 events"), "{ran:?}");
    let ran = phoenix_cli(folder.path(), &line("archived"));
    assert!(ran.out.contains("old"), "{ran:?}");
    let ran = phoenix_cli(folder.path(), &line("events"));
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 4), "{ran:?}");
    configure("stoer = \"memory\"\n");
    refused(folder.path(), &line("archive"), 1, &["phoenix.toml:1:1: `stoer`: no such key"]);
}
