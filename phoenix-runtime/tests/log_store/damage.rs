//! Bytes that are not what was written: found, or harmlessly cut, and never served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use phoenix_runtime::event_store::port::Partition;
use phoenix_runtime::event_store::{EventStore, LogReader, LogStore};
use proptest::prelude::*;

use crate::disk::{Disk, Faults, Hooked, is_run};
use crate::rows::{Rows, block_on, everything, open_small, snapshot, stream};

const STREAMS: u64 = 4;

type Files = BTreeMap<String, Vec<u8>>;

/// The files after each of so many batches, and what the store said to every question then.
async fn written(batches: u64) -> Vec<(Files, Vec<String>)> {
    let disk = Disk::default();
    let store = open_small(disk.clone()).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(usize::try_from(STREAMS).unwrap());
    let mut states = vec![(disk.files(), everything(&store, STREAMS).await)];
    for number in 0..batches {
        let records = vec![rows.event(number % STREAMS, 50), rows.outcome(1), rows.event((number + 1) % STREAMS, 200)];
        store.append(rows.batch(records)).await.unwrap();
        if number % 5 == 4 {
            store.put_snapshot(snapshot(0, rows.versions[0], 80)).await.unwrap();
        }
        if number == 11 {
            store.strip(stream(0), 2).await.unwrap();
        }
        states.push((disk.files(), everything(&store, STREAMS).await));
    }
    states
}

async fn opened(files: Files) -> Result<(LogStore, Vec<String>), String> {
    let store = open_small(Disk::of(files)).await.map_err(|e| e.to_string())?;
    let all = everything(&store, STREAMS).await;
    Ok((store, all))
}

fn is_segment(name: &str) -> bool {
    name.strip_suffix(".log").is_some()
}

fn last_segment(files: &Files) -> String {
    files.keys().rfind(|name| is_segment(name) && files[*name][64..72] != [0; 8]).unwrap().clone()
}

/// Where the frames of a segment end.
fn end(segment: &[u8]) -> usize {
    segment.len() - segment.iter().rev().take_while(|byte| **byte == 0).count()
}

#[tokio::test]
async fn a_tail_cut_anywhere_is_cut_to_the_last_whole_batch() {
    let states = written(3).await;
    let (before, after) = (&states[2], &states[3]);
    let name = last_segment(&after.0);
    let start = end(&before.0[&name]);
    let whole = end(&after.0[&name]);
    assert!(start < whole, "the last batch is in the same segment as the one before");
    for at in start..=whole + 8 {
        for zeros in [false, true] {
            let mut files = after.0.clone();
            let segment = files.get_mut(&name).unwrap();
            if zeros {
                segment[at..].fill(0);
            } else {
                segment.truncate(at);
            }
            // the file `synced` is younger than this batch, so it says that something is missing
            let told = opened(files.clone()).await;
            if at < whole {
                let error = told.map(drop).unwrap_err();
                assert!(error.contains("damaged") && error.contains("durable at least up to"), "{at}: {error}");
            }
            // after a power failure it may be as it was before
            files.insert("synced".to_owned(), before.0["synced"].clone());
            let (store, all) = opened(files).await.unwrap();
            assert_eq!(all, if at < whole { before.1.clone() } else { after.1.clone() }, "cut at {at}");
            drop(store);
        }
    }
}

#[tokio::test]
async fn what_is_cut_can_be_written_anew_and_does_not_come_back() {
    let states = written(3).await;
    let (before, after) = (&states[2], &states[3]);
    let name = last_segment(&after.0);
    let start = end(&before.0[&name]);
    let mut files = after.0.clone();
    files.insert("synced".to_owned(), before.0["synced"].clone());
    files.get_mut(&name).unwrap()[start + 40] ^= 1;
    let disk = Disk::of(files);
    let store = open_small(disk.clone()).await.unwrap();
    assert_eq!(everything(&store, STREAMS).await, before.1);
    drop(store);
    let segment = &disk.files()[&name];
    assert_eq!(end(segment), start, "nothing of it is left behind the end");
    assert_eq!(opened(disk.files()).await.unwrap().1, before.1);
}

#[tokio::test]
async fn a_bad_frame_before_others_stops_the_start() {
    let states = written(4).await;
    let (files, _) = &states[4];
    let name = last_segment(files);
    let start = end(&states[2].0[&name]);
    let mut files = files.clone();
    // even when nothing but the frames themselves knows what was durable
    files.remove("synced");
    files.remove("checkpoint");
    files.get_mut(&name).unwrap()[start + 60] ^= 4;
    let error = opened(files.clone()).await.map(drop).unwrap_err();
    assert!(
        error.contains(&name) && error.contains(&format!("damaged at byte {}", start.next_multiple_of(8))),
        "{error}"
    );
    files.get_mut(&name).unwrap()[start..start + 200].fill(0);
    assert!(opened(files).await.is_err(), "also when it was lost as a whole");
}

#[tokio::test]
async fn segments_behind_the_end_are_removed_without_a_gap() {
    let disk = Disk::default();
    let store = open_small(disk.clone()).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(usize::try_from(STREAMS).unwrap());
    let mut before = (disk.files(), everything(&store, STREAMS).await);
    loop {
        let records = vec![rows.event(1, 900)];
        store.append(rows.batch(records)).await.unwrap();
        if last_segment(&disk.files()) != last_segment(&before.0) {
            break;
        }
        before = (disk.files(), everything(&store, STREAMS).await);
    }
    // the first batch of a segment did not last, and the segment behind it was made in advance
    let mut files = disk.files();
    let name = last_segment(&files);
    files.get_mut(&name).unwrap()[64..].fill(0);
    let segment: u32 = name.trim_end_matches(".log").parse().unwrap();
    files.insert(format!("{:08}.log", segment + 1), Vec::new());
    files.insert("synced".to_owned(), before.0["synced"].clone());
    files.remove("checkpoint");
    for changes in 0..30 {
        let disk = Disk::of(files.clone());
        disk.set(Faults { power: Some(changes), ..Faults::default() });
        drop(open_small(disk.clone()).await);
        assert_eq!(opened(disk.files()).await.unwrap().1, before.1, "after {changes} changes");
    }
}

#[tokio::test]
async fn a_log_that_is_older_than_its_index_stops_the_start() {
    let states = written(40).await;
    let (new, _) = states.last().unwrap();
    for (old, expected) in &states[..40] {
        let mut files = new.clone();
        files.retain(|name, _| !is_segment(name));
        files
            .extend(old.iter().filter(|(name, _)| is_segment(name)).map(|(name, bytes)| (name.clone(), bytes.clone())));
        // the checkpoint alone knows better
        files.remove("synced");
        match opened(files).await {
            Err(error) => assert!(error.contains("damaged"), "{error}"),
            // only what was written since the checkpoint is not there, and nobody can know of it
            Ok((_, found)) => assert_eq!(found, *expected),
        }
    }
}

#[tokio::test]
async fn a_reader_that_misses_a_merged_run_takes_the_new_checkpoint() {
    let states = written(40).await;
    let (new, _) = states.last().unwrap();
    let runs = |files: &Files| files.keys().filter(|name| is_run(name)).cloned().collect::<Vec<_>>();
    let (old, _) = states.iter().rfind(|(old, _)| runs(old).iter().any(|run| !new.contains_key(run))).unwrap();
    // the segments' old parts are unreadable, so that no index can be made anew from them
    let mut files = new.clone();
    files.get_mut("00000001.log").unwrap()[64..].fill(0);
    let before = Mutex::new(Some(Disk::of([("checkpoint".to_owned(), old["checkpoint"].clone())].into())));
    let opened = move |name: &str| if name == "checkpoint" { before.lock().unwrap().take() } else { None };
    let hooked = Hooked { opened: Box::new(opened), ..Hooked::new(Disk::of(files)) };
    LogReader::open_on(Arc::new(hooked), "log").await.unwrap();
}

#[tokio::test]
async fn a_segment_that_is_missing_stops_the_start() {
    let states = written(40).await;
    let (files, _) = states.last().unwrap();
    let segments: Vec<_> = files.keys().filter(|name| is_segment(name)).cloned().collect();
    assert!(segments.len() > 3, "{segments:?}");
    // the last one is made in advance and empty
    for name in &segments[..segments.len() - 1] {
        let mut files = files.clone();
        files.remove(name);
        let error = opened(files).await.map(drop).unwrap_err();
        assert!(error.contains("missing"), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_index_that_is_lost_or_spoilt_is_made_anew() {
    let states = written(40).await;
    let (files, all) = states.last().unwrap();
    // one that is just being written has nothing to spoil yet
    let written = files.iter().filter(|(name, bytes)| is_run(name) && !bytes.is_empty());
    let runs: Vec<_> = written.map(|(name, _)| name.clone()).collect();
    assert!(runs.len() > 1, "{runs:?}");
    for name in runs.iter().map(String::as_str).chain(["checkpoint", "synced"]) {
        let mut lost = files.clone();
        lost.remove(name);
        assert_eq!(opened(lost).await.unwrap().1, *all, "without {name}");
        let mut spoilt = files.clone();
        let bytes = spoilt.get_mut(name).unwrap();
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        assert_eq!(opened(spoilt).await.unwrap().1, *all, "with a spoilt {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere_is_found_or_changes_nothing(
        batches in 1..25_u64, file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8_u32,
    ) {
        block_on(async {
            let states = written(batches).await;
            let (mut files, expected) = states.into_iter().next_back().unwrap();
            let name = file.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
            let bytes = files.get_mut(&name).unwrap();
            if bytes.is_empty() {
                return;
            }
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            let Ok((_, found)) = opened(files).await else { return };
            for (found, expected) in found.iter().zip(expected) {
                let said = found.contains("Damaged") || found.contains("the store is damaged");
                assert!(said || *found == expected, "bit {bit} of byte {at} of {name}:\n{found}\n{expected}");
            }
        });
    }
}
