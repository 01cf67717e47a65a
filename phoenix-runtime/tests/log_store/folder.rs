//! A log in a real folder: one owner, readers beside it, many starts, many streams.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use phoenix_runtime::event_store::port::{Epoch, Partition, Position};
use phoenix_runtime::event_store::sqlite::OpenError;
use phoenix_runtime::event_store::{EventStore, LogReader, LogStore, LogStoreOptions};
use tempfile::TempDir;

use crate::rows::{Rows, dedup, stream};

/// A folder that lives as long as the test, and the log's path in it.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("odd name?#%20 é/log");
    (folder, path)
}

async fn open(path: &Path) -> LogStore {
    LogStore::open(LogStoreOptions { segment_size: 1 << 20, ..LogStoreOptions::at(path) }).await.unwrap()
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, OpenError>, path: &Path, parts: &[&str]) {
    let text = result.unwrap_err().to_string();
    for part in [path.display().to_string().as_str()].iter().chain(parts) {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let (_folder, path) = place();
    let store = open(&path).await;
    let process = format!("process {}", std::process::id());
    let second = LogStore::open(LogStoreOptions::at(&path)).await;
    says(second, &path, &["log.lock", &process, "stop that one first"]);
    drop(store);
    open(&path).await;
}

#[tokio::test]
async fn a_folder_has_one_owner_by_whatever_path() {
    let (folder, path) = place();
    let slash = PathBuf::from(format!("{}/", path.display()));
    // also where the folder is not there yet
    drop(open(&slash).await);
    assert!(path.with_extension("lock").is_file());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let dots = path.join("../log");
    let paths = [&path, &slash, &link, &dots];
    for first in paths {
        let store = open(first).await;
        for second in paths {
            let refused = LogStore::open(LogStoreOptions::at(second)).await;
            says(refused, second, &["log.lock", "stop that one first"]);
        }
        drop(store);
    }
}

#[tokio::test]
async fn readers_need_no_lock_and_see_what_is_durable() {
    let (_folder, path) = place();
    says(LogReader::open(&path).await, &path, &["no such file"]);
    let store = open(&path).await;
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(2);
    let records = vec![rows.event(0, 10), rows.event(1, 10)];
    store.append(rows.batch(records)).await.unwrap();
    let reader = LogReader::open(&path).await.unwrap();
    let (events, position) = reader.read_all(Position::default(), 10).await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(reader.ids("account".into(), None, 10).await.unwrap().len(), 2);
    // over the end of the segment as well
    for _ in 0..5 {
        let records = vec![rows.event(0, 300_000)];
        store.append(rows.batch(records)).await.unwrap();
    }
    let records = vec![rows.event(1, 10)];
    store.append(rows.batch(records)).await.unwrap();
    let (later, position) = reader.read_all(position, 100).await.unwrap();
    assert_eq!(later.len(), 6);
    assert_eq!(reader.read_stream(stream(0), 1, 10).await.unwrap(), store.read_stream(stream(0), 1, 10).await.unwrap());
    drop(store);
    assert_eq!(reader.read_all(position, 100).await.unwrap().0, []);
    let reader = LogReader::open(&path).await.unwrap();
    assert_eq!(reader.read_stream(stream(1), 1, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn those_who_ask_for_ids_at_once_are_all_told() {
    const STREAMS: u64 = 2000;
    let (_folder, path) = place();
    let store = open(&path).await;
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(usize::try_from(STREAMS).unwrap());
    let records = (0..STREAMS).map(|of| rows.event(of, 10)).collect();
    store.append(rows.batch(records)).await.unwrap();
    drop(store);
    for _ in 0..5 {
        let store = open(&path).await;
        let asked = (0..4).map(|_| store.ids("account".into(), None, usize::MAX));
        for told in join_all(asked).await {
            assert_eq!(told.unwrap().len() as u64, STREAMS);
        }
    }
}

#[tokio::test]
async fn folders_that_are_no_log_of_this_release_are_refused() {
    let (_folder, path) = place();
    std::fs::create_dir_all(&path).unwrap();
    says(LogReader::open(&path).await, &path, &["there is no log"]);
    std::fs::write(path.join("00000001.log"), "these are notes, and no log at all; ".repeat(100)).unwrap();
    says(LogReader::open(&path).await, &path, &["00000001.log", "does not begin as a segment"]);
    says(LogStore::open(LogStoreOptions::at(&path)).await, &path, &["00000001.log", "does not begin as a segment"]);
    let (_folder, path) = place();
    drop(open(&path).await);
    let first = path.join("00000001.log");
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[7] = 3;
    std::fs::write(&first, &bytes).unwrap();
    says(LogStore::open(LogStoreOptions::at(&path)).await, &path, &["form 3", "newer release"]);

    let file = path.with_extension("txt");
    std::fs::write(&file, "a file").unwrap();
    says(LogStore::open(LogStoreOptions::at(file.join("log"))).await, &file, &["may be written to"]);
}

#[tokio::test]
async fn it_is_opened_many_times() {
    let (_folder, path) = place();
    let mut rows = Rows::new(3);
    for round in 1..=60 {
        let store = open(&path).await;
        let epochs = store.acquire(vec![Partition(0)]).await.unwrap();
        assert_eq!(epochs, [(Partition(0), Epoch(round))]);
        rows.epoch = round;
        let records = vec![rows.event(0, 10), rows.event(round % 3, 10), rows.outcome(2)];
        store.append(rows.batch(records)).await.unwrap();
        for of in 0..3_u64 {
            let events = store.read_stream(stream(of), 1, usize::MAX).await.unwrap();
            assert_eq!(events.len() as u64, rows.versions[usize::try_from(of).unwrap()]);
        }
    }
    // starts leave no heap of files behind
    let runs = std::fs::read_dir(&path)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "run"));
    assert!(runs.count() < 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_streams_have_their_events_and_keys() {
    const STREAMS: u64 = 100_000;
    let (_folder, path) = place();
    let options = || LogStoreOptions { index_memory: 1 << 20, streams_in_memory: 1000, ..LogStoreOptions::at(&path) };
    let store = LogStore::open(options()).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(usize::try_from(STREAMS).unwrap());
    // every stream, and then every tenth of them once more
    for (step, size) in [(1, 2000), (10, 500)] {
        let numbers: Vec<u64> = (0..STREAMS).step_by(step).collect();
        for batch in numbers.chunks(size) {
            let records = batch.iter().map(|of| rows.event(*of, 20)).collect();
            store.append(rows.batch(records)).await.unwrap();
        }
        assert!(store.index_memory() < 8 << 20, "{} bytes", store.index_memory());
    }
    drop(store);
    let store = LogStore::open(options()).await.unwrap();
    for of in (0..STREAMS).step_by(995) {
        let events = store.read_stream(stream(of), 1, 10).await.unwrap();
        let versions: Vec<_> = events.iter().map(|stored| stored.event.version).collect();
        assert_eq!(versions, if of % 10 == 0 { vec![1, 2] } else { vec![1] });
        let command = events.last().unwrap().command.as_ref().unwrap().dedup;
        let asked = vec![(stream(of), command), (stream(of), dedup(u64::MAX))];
        let told: Vec<_> = store.outcomes(asked).await.unwrap().iter().map(Option::is_some).collect();
        assert_eq!(told, [true, false]);
    }
    let (mut ids, mut after) = (0, None);
    loop {
        let page = store.ids("account".into(), after, 30_000).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.is_sorted());
        (ids, after) = (ids + page.len(), Some(last.clone()));
    }
    assert_eq!(ids as u64, STREAMS);
}
