//! What a `SQLite` store adds to the promises of every event store: one owner a file, readers beside it, errors that
//! say what to do.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use phoenix_runtime::domain::id::{AggregateId, Slice};
use phoenix_runtime::event_store::port::{Batch, Epoch, EventData, Partition, Position, Record, StoreError, StreamId};
use phoenix_runtime::event_store::sqlite::{OpenError, Synchronous};
use phoenix_runtime::event_store::{EventStore, SqliteOptions, SqliteReader, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

/// A folder that lives as long as the test, and the store's path in it.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("odd name?#%20 é/events.db");
    (folder, path)
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::at(path)).await.unwrap()
}

fn stream() -> StreamId {
    StreamId { aggregate: "a".into(), id: AggregateId::new("1").unwrap() }
}

fn batch(epoch: Epoch, versions: std::ops::RangeInclusive<u64>) -> Arc<Batch> {
    let record = |version| Record {
        stream: stream(),
        slice: Slice(7),
        sequence: version,
        time_micros: 0,
        event: Some(EventData { version, name: "e".into(), schema_version: 1, codec: 1, payload: vec![1] }),
        command: None,
    };
    Arc::new(Batch { epochs: vec![(Partition(0), epoch)], records: versions.map(record).collect() })
}

/// A store with five events, as a file without an owner.
async fn filled(path: &Path) -> SqliteStore {
    let store = open(path).await;
    let epochs = store.acquire(vec![Partition(0)]).await.unwrap();
    store.append(batch(epochs[0].1, 1..=5)).await.unwrap();
    store
}

/// The error's text: it names the file, and says all of `parts`.
#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, OpenError>, path: &Path, parts: &[&str]) {
    let text = result.unwrap_err().to_string();
    for part in [path.display().to_string().as_str()].iter().chain(parts) {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_file_has_one_owner() {
    let (_folder, path) = place();
    let store = filled(&path).await;
    let process = format!("process {}", std::process::id());
    let second = SqliteStore::open(SqliteOptions::at(&path)).await;
    says(second, &path, &["events.db.lock", &process, "stop that one first"]);
    store.append(batch(Epoch(1), 6..=6)).await.unwrap();
    drop(store);
    let store = open(&path).await;
    assert_eq!(store.read_stream(stream(), 1, 10).await.unwrap().len(), 6);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_has_one_owner_by_whatever_path() {
    let (folder, path) = place();
    let link = folder.path().join("link.db");
    // also before the file is there
    std::os::unix::fs::symlink(&path, &link).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    for (first, second) in [(&link, &path), (&path, &link)] {
        let store = open(first).await;
        says(SqliteStore::open(SqliteOptions::at(second)).await, second, &["events.db.lock", "stop that one first"]);
        drop(store);
    }
}

#[tokio::test]
async fn readers_need_no_lock_and_see_what_is_appended() {
    let (_folder, path) = place();
    let store = filled(&path).await;
    let reader = SqliteReader::open(&path).await.unwrap();
    let (events, position) = reader.read_all(Position::default(), 10).await.unwrap();
    assert_eq!(events, store.read_stream(stream(), 1, 10).await.unwrap());
    store.append(batch(Epoch(1), 6..=6)).await.unwrap();
    let (events, _) = reader.read_all(position, 10).await.unwrap();
    assert_eq!(events.iter().map(|stored| stored.event.version).collect::<Vec<_>>(), [6]);
    drop(store);
    assert_eq!(reader.read_stream(stream(), 1, 10).await.unwrap().len(), 6);
    assert_eq!(reader.ids("a".into(), None, 10).await.unwrap(), [stream().id]);
}

#[tokio::test]
async fn what_only_the_log_has_is_read_and_recovered() {
    let (folder, path) = place();
    let store = filled(&path).await;
    // as after a crash: the database without its newest pages, and the log that has them
    let crashed = folder.path().join("crashed.db");
    std::fs::copy(&path, &crashed).unwrap();
    std::fs::copy(path.with_extension("db-wal"), crashed.with_extension("db-wal")).unwrap();
    drop(store);
    let reader = SqliteReader::open(&crashed).await.unwrap();
    assert_eq!(reader.read_stream(stream(), 1, 10).await.unwrap().len(), 5);
    assert_eq!(open(&crashed).await.read_stream(stream(), 1, 10).await.unwrap().len(), 5);
}

#[tokio::test]
async fn files_that_are_no_store_of_this_release_are_refused() {
    let (folder, path) = place();
    says(SqliteReader::open(&path).await, &path, &["no such file"]);
    drop(filled(&path).await);
    let future = "INSERT INTO schema_migrations (version, applied_at) VALUES ('9999_future', 0)";
    Connection::open(&path).unwrap().execute_batch(future).unwrap();
    says(SqliteStore::open(SqliteOptions::at(&path)).await, &path, &["9999_future", "newer"]);
    says(SqliteReader::open(&path).await, &path, &["9999_future", "newer"]);

    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    says(SqliteReader::open(&other).await, &other, &["lacks the schema"]);

    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "these are notes, and no database at all; ".repeat(100)).unwrap();
    says(SqliteReader::open(&text).await, &text, &["not a database"]);
    says(SqliteStore::open(SqliteOptions::at(&text)).await, &text, &["not a database"]);

    let below_a_file = text.join("events.db");
    says(SqliteStore::open(SqliteOptions::at(&below_a_file)).await, &below_a_file, &["may be written to"]);
}

#[tokio::test]
async fn a_store_of_an_earlier_release_has_sixteen_partitions() {
    for (owned, expected) in [(true, 16), (false, 48)] {
        let (_folder, path) = place();
        if owned {
            drop(filled(&path).await);
        } else {
            drop(open(&path).await);
        }
        let earlier = "DROP TABLE partition_count; DELETE FROM schema_migrations WHERE version = '0003_partitions'";
        Connection::open(&path).unwrap().execute_batch(earlier).unwrap();
        says(SqliteReader::open(&path).await, &path, &["0003_partitions"]);
        assert_eq!(open(&path).await.partitions(48).await, Ok(expected));
        assert_eq!(open(&path).await.partitions(1024).await, Ok(expected), "for ever");
    }
}

#[tokio::test]
async fn an_owner_that_came_in_behind_the_lock_is_noticed() {
    let (_folder, path) = place();
    let store = filled(&path).await;
    let behind = Connection::open(&path).unwrap();
    behind.execute_batch("UPDATE partitions SET epoch = epoch + 1").unwrap();
    let fenced = StoreError::Fenced { partition: Partition(0), current: Epoch(2), given: Epoch(1) };
    assert_eq!(store.append(batch(Epoch(1), 6..=6)).await, Err(fenced.clone()));
    let nothing = Batch { epochs: vec![(Partition(0), Epoch(1))], records: Vec::new() };
    assert_eq!(store.append(Arc::new(nothing)).await, Err(fenced));
}

#[tokio::test]
async fn rows_that_are_missing_or_spoilt_are_damage() {
    let (_folder, path) = place();
    let store = filled(&path).await;
    let damage = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    damage("DELETE FROM events WHERE version = 3");
    let stream_error = store.read_stream(stream(), 1, 10).await.unwrap_err();
    assert!(stream_error.to_string().contains("lacks version 3 before 4"), "{stream_error}");
    let all_error = store.read_all(Position::default(), 10).await.unwrap_err();
    assert!(all_error.to_string().contains("slice 7 lacks sequence 3 before 4"), "{all_error}");
    assert_eq!(store.read_stream(stream(), 4, 10).await.unwrap().len(), 2);
    damage("UPDATE events SET codec = 256 WHERE version = 4");
    let row_error = store.read_stream(stream(), 4, 10).await.unwrap_err();
    assert!(matches!(&row_error, StoreError::Damaged(text) if text.contains("codec")), "{row_error}");
    damage("UPDATE events SET codec = 1, time_micros = 'yesterday' WHERE version = 4");
    let type_error = store.read_stream(stream(), 4, 10).await.unwrap_err();
    assert!(matches!(type_error, StoreError::Damaged(_)), "{type_error}");
}

#[tokio::test]
async fn only_a_store_that_waits_for_the_disk_is_durable() {
    let names = [(Synchronous::Full, "full"), (Synchronous::Normal, "normal"), (Synchronous::Off, "off")];
    for (synchronous, name) in names {
        let (_folder, path) = place();
        let store = SqliteStore::open(SqliteOptions { synchronous, ..SqliteOptions::at(&path) }).await.unwrap();
        assert_eq!(store.name(), format!("sqlite (wal, synchronous={name})"));
        assert_eq!(store.is_durable(), synchronous == Synchronous::Full);
    }
    // the path is not among them: it is the node's word where its data lies
    let from_text: SqliteOptions = serde_json::from_str("{\"synchronous\": \"normal\"}").unwrap();
    let expected = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::default() };
    assert_eq!(from_text, expected);
}

#[tokio::test]
async fn appends_are_done_in_the_order_of_the_calls_even_if_nobody_waits() {
    let (_folder, path) = place();
    let store = filled(&path).await;
    drop(store.append(batch(Epoch(1), 6..=6)));
    store.append(batch(Epoch(1), 7..=7)).await.unwrap();
    drop(store.append(batch(Epoch(1), 8..=8)));
    drop(store);
    assert_eq!(open(&path).await.read_stream(stream(), 1, 10).await.unwrap().len(), 8);
}
