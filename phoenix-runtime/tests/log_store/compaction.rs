//! Segments that are written anew: what was stripped and dropped frees the disk, and nothing else changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use phoenix_runtime::event_store::port::{ARCHIVED, Load, Partition, StoredEvent};
use phoenix_runtime::event_store::{EventStore, LogReader, LogStore, LogStoreOptions};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::rows::{Rows, block_on, everything, open_small, snapshot, stream};

pub(crate) const STREAMS: u64 = 4;

type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn is_segment(name: &str) -> bool {
    name.strip_suffix(".log").is_some()
}

/// The form of a segment that was written anew.
pub(crate) fn is_compact(bytes: &[u8]) -> bool {
    bytes[7] == 2
}

fn size(files: &Files) -> usize {
    files.iter().filter(|(name, _)| is_segment(name)).map(|(_, bytes)| bytes.len()).sum()
}

/// A log with much that nobody needs: stripped events, some of them refilled, and snapshots that are gone.
pub(crate) async fn worn() -> (Disk, LogStore, Rows, Vec<StoredEvent>) {
    let disk = Disk::default();
    let store = open_small(disk.clone()).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(usize::try_from(STREAMS).unwrap());
    for number in 0..30 {
        let records = vec![rows.event(number % STREAMS, 500), rows.outcome(1), rows.event(0, 300)];
        store.append(rows.batch(records)).await.unwrap();
        if number % 3 == 0 {
            store.put_snapshot(snapshot(0, rows.versions[0], 700)).await.unwrap();
        }
    }
    let whole = store.read_stream(stream(0), 1, 1000).await.unwrap();
    for of in 0..STREAMS {
        store.strip(stream(of), rows.versions[usize::try_from(of).unwrap()] - 2).await.unwrap();
    }
    store.drop_snapshots(stream(0), rows.versions[0] - 5).await.unwrap();
    store.refill(whole[20..25].to_vec()).await.unwrap();
    let records = (0..10).map(|_| rows.event(3, 400)).collect();
    store.append(rows.batch(records)).await.unwrap();
    (disk, store, rows, whole)
}

#[tokio::test]
async fn what_is_not_needed_is_gone_and_everything_else_is_as_it_was() {
    let (disk, store, mut rows, whole) = worn().await;
    let before = everything(&store, STREAMS).await;
    let (large, segments) = (size(&disk.files()), disk.files().keys().filter(|name| is_segment(name)).count());
    let given_back = usize::try_from(store.compact(10).await.unwrap()).unwrap();
    let files = disk.files();
    assert_eq!(size(&files), large - given_back);
    assert!(given_back > large / 4, "{given_back} of {large} bytes");
    let compact = files.iter().filter(|(name, bytes)| is_segment(name) && is_compact(bytes)).count();
    assert!(compact > 3 && compact < segments, "{compact} of {segments}");
    assert!(
        files.keys().all(|name| name.strip_suffix(".new").is_none_or(|name| name > "00000010")),
        "{:?}",
        files.keys()
    );
    assert_eq!(everything(&store, STREAMS).await, before);
    assert_eq!(store.compact(0).await.unwrap(), 0, "nothing is done twice");

    // with the index as it is, and with one that is made from what is left
    drop(store);
    let mut without = disk.files();
    without.retain(|name, _| is_segment(name));
    for files in [disk.files(), without] {
        let disk = Disk::of(files);
        let store = open_small(disk.clone()).await.unwrap();
        assert_eq!(everything(&store, STREAMS).await, before);
        store.compact(0).await.unwrap();
        assert_eq!(everything(&store, STREAMS).await, before);
    }

    // what came back is there, and can go again
    let store = open_small(disk.clone()).await.unwrap();
    store.refill(whole.clone()).await.unwrap();
    assert_eq!(store.read_stream(stream(0), 1, 1000).await.unwrap(), whole);
    let records = (0..20).map(|_| rows.event(1, 400)).collect();
    store.append(rows.batch(records)).await.unwrap();
    store.compact(0).await.unwrap();
    assert_eq!(store.read_stream(stream(0), 1, 1000).await.unwrap(), whole);
    store.strip(stream(0), rows.versions[0]).await.unwrap();
    assert!(store.compact(10).await.unwrap() > 0);
    let events = store.read_stream(stream(0), 1, 1000).await.unwrap();
    assert!(events.iter().all(|stored| stored.event.codec == ARCHIVED && stored.event.payload.is_empty()));
}

#[tokio::test]
async fn a_compact_segment_behind_which_the_log_is_missing_stops_the_start() {
    let (disk, store, ..) = worn().await;
    store.compact(5).await.unwrap();
    drop(store);
    let files = disk.files();
    let compact: Vec<_> =
        files.iter().filter(|(name, bytes)| is_segment(name) && is_compact(bytes)).map(|(name, _)| name).collect();
    for last in compact {
        let mut files = files.clone();
        files.retain(|name, _| is_segment(name) && name <= last);
        let error = open_small(Disk::of(files)).await.map(drop).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_of_a_compact_segment_is_found_or_changes_nothing(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_u32), 8),
        with_index in any::<bool>(),
    ) {
        block_on(async {
            let (disk, store, ..) = worn().await;
            let expected = everything(&store, STREAMS).await;
            store.compact(5).await.unwrap();
            drop(store);
            let mut files = disk.files();
            files.retain(|name, _| with_index || is_segment(name));
            let compact: Vec<_> = files
                .iter()
                .filter(|(name, bytes)| is_segment(name) && is_compact(bytes))
                .map(|(name, _)| name.clone())
                .collect();
            for (file, at, bit) in flips {
                let (mut files, name) = (files.clone(), file.get(&compact));
                let bytes = files.get_mut(name).unwrap();
                let at = at.index(bytes.len());
                bytes[at] ^= 1_u8 << bit;
                let Ok(store) = open_small(Disk::of(files)).await else { continue };
                assert!(with_index, "a start that reads all of the log finds it: bit {bit} of byte {at} of {name}");
                for (found, expected) in everything(&store, STREAMS).await.iter().zip(&expected) {
                    let said = found.contains("Damaged") || found.contains("the store is damaged");
                    assert!(said || found == expected, "bit {bit} of byte {at} of {name}:\n{found}\n{expected}");
                }
            }
        });
    }
}

/// What the segments take of the disk.
fn used(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(path).unwrap().filter_map(Result::ok);
    let segments = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_segment));
    segments.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    (folder, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_shrinks_by_itself_while_the_log_is_used() {
    let (_folder, path) = place();
    let options = LogStoreOptions { segment_size: 1 << 20, ..LogStoreOptions::at(&path) };
    let store = LogStore::open(options).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(10);
    for _ in 0..200 {
        let records = (0..100).map(|number| rows.event(number % 10, 1000)).collect();
        store.append(rows.batch(records)).await.unwrap();
    }
    let reader = LogReader::open(&path).await.unwrap();
    let before = used(&path);
    assert!(before > 20_000_000, "{before}");
    for of in 0..10 {
        assert_eq!(store.strip(stream(of), 1800).await.unwrap(), 1800);
    }
    // somebody who reads and writes all the time
    let until = Instant::now() + Duration::from_mins(1);
    while used(&path) > before / 3 {
        assert!(Instant::now() < until, "{} of {before} bytes are still there", used(&path));
        let records = vec![rows.event(0, 10)];
        store.append(rows.batch(records)).await.unwrap();
        for events in [
            store.read_stream(stream(3), 1, 5000).await.unwrap(),
            reader.read_stream(stream(3), 1, 5000).await.unwrap(),
        ] {
            assert_eq!(events.len(), 2000);
            assert!(events.iter().all(|stored| stored.is_archived() == (stored.event.version <= 1800)));
        }
    }
    let load = Load { stream: stream(5), fingerprint: None, keys: 10_000, events: 10_000 };
    let loaded = store.load(vec![load]).await.unwrap().remove(0);
    assert_eq!((loaded.events.len(), loaded.keys.keys.len()), (2000, 2000), "keys outlive the bytes");
    drop(store);
    let store = LogStore::open(LogStoreOptions::at(&path)).await.unwrap();
    let again = LogReader::open(&path).await.unwrap();
    assert_eq!(
        again.read_stream(stream(7), 1, 5000).await.unwrap(),
        store.read_stream(stream(7), 1, 5000).await.unwrap()
    );
}
