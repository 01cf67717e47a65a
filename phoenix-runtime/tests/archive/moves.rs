//! A stream's events move to the archive and back, and no reader can tell; whatever breaks in between, nothing is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use phoenix_runtime::event_store::archive::{BlockInfo, Moved, Restored};
use phoenix_runtime::event_store::port::{Load, Position};
use phoenix_runtime::event_store::{Archive, Archived, EventStore, MemoryArchive, StoreError};

use crate::world::{Below, Faulty, dedup, seen, stream};

fn block(from: u64, to: u64) -> BlockInfo {
    BlockInfo { to, from }
}

/// All versions from the first to this one.
fn up_to(version: u64) -> Vec<u64> {
    (1..=version).collect()
}

/// The text of an error that needs a person: it says all of `parts`.
#[track_caller]
fn damaged<T: std::fmt::Debug>(result: Result<T, StoreError>, parts: &[&str]) {
    let Err(StoreError::Damaged(text)) = result else { panic!("{result:?}") };
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn nobody_who_reads_can_tell_what_is_archived() {
    for below in Below::all().await {
        below.fill(30, 20).await;
        below.snapshot("a", 21).await;
        below.snapshot("b", 5).await;
        let before = seen(&*below.store).await.unwrap();
        let archived = below.archived();
        let moved = archived.archive(stream("a"), u64::MAX).await;
        assert_eq!(moved, Ok(Moved { events: 20, blocks: 1, up_to: 20 }), "{}", below.name);
        archived.archive(stream("b"), 3).await.unwrap();
        assert_eq!(below.stripped().await, up_to(20), "{}", below.name);
        assert_ne!(seen(&*below.store).await.unwrap(), before);
        // by a handle that has nothing in its memory, and again
        let fresh = below.archived();
        for store in [&archived, &fresh, &fresh] {
            assert_eq!(seen(store).await.unwrap(), before, "{}", below.name);
        }
        // page by page
        let mut found = Vec::new();
        for from in 1..=30 {
            found.extend(fresh.read_stream(stream("a"), from, 1).await.unwrap());
        }
        assert_eq!(found, below.archived().read_stream(stream("a"), 1, 100).await.unwrap());
        assert_eq!(archived.archived_blocks(stream("a")).await, Ok(vec![block(1, 20)]));
        // and given back
        assert_eq!(archived.restore(stream("a")).await, Ok(Restored { blocks: 1, up_to: 20 }));
        assert_eq!(archived.archived_blocks(stream("a")).await, Ok(vec![block(1, 20)]));
        assert_eq!(archived.restore(stream("b")).await, Ok(Restored { blocks: 1, up_to: 3 }));
        assert_eq!(archived.archived_blocks(stream("b")).await, Ok(vec![block(1, 3)]));
        assert_eq!(seen(&*below.store).await.unwrap(), before, "{}", below.name);
    }
}

#[tokio::test]
async fn nothing_is_archived_from_the_oldest_snapshot_on() {
    for below in Below::all().await {
        below.fill(12, 0).await;
        let archived = below.archived();
        assert_eq!(archived.archive(stream("a"), 12).await, Ok(Moved::default()), "there is no snapshot");
        for version in [4, 7, 11] {
            below.snapshot("a", version).await;
        }
        // the oldest that stays decides, and not who asks
        assert_eq!(archived.archive(stream("a"), 12).await.unwrap().up_to, 3);
        archived.retain(stream("a"), 1).await.unwrap();
        archived.retain(stream("a"), 12).await.unwrap();
        assert_eq!(below.stripped().await, [1, 2, 3]);
        below.store.drop_snapshots(stream("a"), 7).await.unwrap();
        archived.retain(stream("a"), 5).await.unwrap();
        assert_eq!(below.stripped().await, [1, 2, 3, 4]);
        archived.retain(stream("a"), 7).await.unwrap();
        assert_eq!(below.stripped().await, [1, 2, 3, 4, 5, 6]);
        assert_eq!(archived.archive(stream("a"), 12).await, Ok(Moved { events: 0, blocks: 0, up_to: 6 }));
        assert_eq!(archived.archived_blocks(stream("a")).await, Ok(vec![block(1, 3), block(4, 4), block(5, 6)]));
        below.snapshot("a", 1).await;
        assert_eq!(archived.archive(stream("a"), 12).await, Ok(Moved::default()));
    }
}

#[tokio::test]
async fn blocks_are_small_enough_to_be_read_as_a_whole() {
    for (versions, payload, blocks) in [(2500, 0, 3), (40, 100_000, 4), (2, 2_000_000, 2)] {
        let below = Below::memory();
        below.fill(versions + 1, payload).await;
        below.snapshot("a", versions + 1).await;
        let before = seen(&*below.store).await.unwrap();
        let archived = below.archived();
        let moved = archived.archive(stream("a"), versions).await;
        assert_eq!(moved, Ok(Moved { events: versions, blocks, up_to: versions }));
        assert_eq!(seen(&archived).await.unwrap(), before);
        archived.restore(stream("a")).await.unwrap();
        assert_eq!(seen(&*below.store).await.unwrap(), before);
    }
}

#[tokio::test]
async fn a_long_stream_that_comes_to_an_archive_late_is_moved_in_several_turns() {
    let below = Below::memory();
    // each of them fills a block
    below.fill(41, 1_100_000).await;
    below.snapshot("a", 41).await;
    let archived = below.archived();
    let mut moved = Vec::new();
    for _ in 0..3 {
        archived.retain(stream("a"), 41).await.unwrap();
        moved.push(below.stripped().await.len());
    }
    assert_eq!(moved, [32, 40, 40]);
}

/// A store and archive whose process is killed between the first block and the strip that follows.
fn crashing(below: &Below) -> Archived {
    let faulty = Faulty::over(&below.archive);
    faulty.killed_puts.store(1, Ordering::Relaxed);
    Archived::new(Arc::clone(&below.store), faulty)
}

#[tokio::test]
async fn a_crash_between_block_and_strip_leaves_a_block_that_is_used() {
    for below in Below::all().await {
        below.fill(20, 0).await;
        below.snapshot("a", 11).await;
        let before = seen(&*below.store).await.unwrap();
        crashing(&below).archive(stream("a"), 10).await.unwrap_err();
        assert_eq!(below.stripped().await, [0; 0]);
        assert_eq!(below.archive.blocks(stream("a"), 0, 9).await, Ok(vec![block(1, 10)]));
        // meanwhile the oldest snapshot is another one
        below.snapshot("a", 5).await;
        assert_eq!(below.archived().archive(stream("a"), 10).await, Ok(Moved { events: 4, blocks: 0, up_to: 4 }));
        below.store.drop_snapshots(stream("a"), 6).await.unwrap();
        below.snapshot("a", 15).await;
        below.store.drop_snapshots(stream("a"), 15).await.unwrap();
        let moved = below.archived().archive(stream("a"), 20).await;
        assert_eq!(moved, Ok(Moved { events: 10, blocks: 1, up_to: 14 }), "{}", below.name);
        let blocks = [block(1, 10), block(11, 14)];
        assert_eq!(below.archive.blocks(stream("a"), 0, 9).await, Ok(blocks.to_vec()));
        below.store.drop_snapshots(stream("a"), u64::MAX).await.unwrap();
        assert_eq!(seen(&below.archived()).await.unwrap(), before);
        below.archived().restore(stream("a")).await.unwrap();
        assert_eq!(seen(&*below.store).await.unwrap(), before);
    }
}

#[tokio::test]
async fn nothing_leaves_the_store_before_its_block_is_durable() {
    let below = Below::memory();
    below.fill(3000, 0).await;
    below.snapshot("a", 3000).await;
    let faulty = Faulty::over(&below.archive);
    let archived = Archived::new(Arc::clone(&below.store), faulty.clone());
    faulty.failing_puts.store(1, Ordering::Relaxed);
    archived.archive(stream("a"), 2999).await.unwrap_err();
    assert_eq!(below.stripped().await, [0; 0]);
    assert_eq!(archived.archive(stream("a"), 2000).await.unwrap().up_to, 2000);
    faulty.failing_puts.store(1, Ordering::Relaxed);
    archived.archive(stream("a"), 2999).await.unwrap_err();
    assert_eq!(below.stripped().await, up_to(2000));
    assert_eq!(archived.archive(stream("a"), 2999).await, Ok(Moved { events: 999, blocks: 1, up_to: 2999 }));
}

#[tokio::test]
async fn a_restored_stream_is_archived_again_with_the_blocks_that_stayed() {
    for below in Below::all().await {
        below.fill(3000, 0).await;
        below.snapshot("a", 2501).await;
        let before = seen(&*below.store).await.unwrap();
        let archived = below.archived();
        archived.archive(stream("a"), 2500).await.unwrap();
        archived.restore(stream("a")).await.unwrap();
        assert_eq!(below.stripped().await, [0; 0]);
        assert_eq!(archived.archive(stream("a"), 1500).await, Ok(Moved { events: 1500, blocks: 0, up_to: 1500 }));
        assert_eq!(archived.archive(stream("a"), 2500).await, Ok(Moved { events: 1000, blocks: 0, up_to: 2500 }));
        assert_eq!(seen(&below.archived()).await.unwrap(), before);
    }
}

/// Changes a byte of a block.
async fn damage(archive: &dyn Archive, info: BlockInfo) {
    let mut bytes = archive.get(stream("a"), info).await.unwrap().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    archive.put(stream("a"), info, bytes).await.unwrap();
}

#[tokio::test]
async fn a_damaged_block_is_found_and_never_served() {
    for below in Below::all().await {
        below.fill(12, 0).await;
        below.snapshot("a", 4).await;
        below.archived().archive(stream("a"), 3).await.unwrap();
        below.snapshot("a", 9).await;
        below.store.drop_snapshots(stream("a"), 9).await.unwrap();
        below.archived().archive(stream("a"), 8).await.unwrap();
        damage(&*below.archive, block(1, 3)).await;
        let place = below.archive.place(&stream("a"), block(1, 3));
        let says = ["versions 1-3 of account/a", "its checksum is wrong", "backup", place.as_str()];
        let store = below.archived();
        damaged(store.read_stream(stream("a"), 1, 9).await, &says);
        damaged(store.read_stream(stream("a"), 3, 1).await, &says);
        damaged(store.read_all(Position::default(), 100).await, &says);
        damaged(store.outcomes(vec![(stream("a"), dedup(2))]).await, &says);
        let load = Load { stream: stream("a"), fingerprint: None, keys: 9, events: 9 };
        damaged(store.load(vec![load.clone()]).await, &says);
        damaged(store.restore(stream("a")).await, &says);
        // what does not rest on it goes on; the newer block was given back before the bad one was met
        assert_eq!(below.stripped().await, [1, 2, 3]);
        store.archive(stream("a"), 8).await.unwrap();
        assert_eq!(store.read_stream(stream("a"), 4, 9).await.unwrap().len(), 9);
        assert_eq!(store.load(vec![Load { fingerprint: Some(7), ..load }]).await.unwrap().len(), 1);
        assert_eq!(store.outcomes(vec![(stream("a"), dedup(5))]).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_damaged_block_is_written_anew_while_the_store_has_its_events() {
    for below in Below::all().await {
        below.fill(12, 0).await;
        below.snapshot("a", 9).await;
        let before = seen(&*below.store).await.unwrap();
        crashing(&below).archive(stream("a"), 8).await.unwrap_err();
        damage(&*below.archive, block(1, 8)).await;
        // not all of it may go: the block stays as it is, and so do the events
        below.snapshot("a", 5).await;
        damaged(below.archived().archive(stream("a"), 8).await, &["versions 1-8", "its checksum is wrong"]);
        assert_eq!(below.stripped().await, [0; 0]);
        below.store.drop_snapshots(stream("a"), 9).await.unwrap();
        assert_eq!(below.archived().archive(stream("a"), 8).await, Ok(Moved { events: 8, blocks: 1, up_to: 8 }));
        assert_eq!(seen(&below.archived()).await.unwrap(), before);
    }
}

#[tokio::test]
async fn a_missing_block_is_told() {
    for below in Below::all().await {
        below.fill(12, 0).await;
        below.snapshot("a", 9).await;
        below.archived().archive(stream("a"), 8).await.unwrap();
        let another = Archived::new(Arc::clone(&below.store), Arc::new(MemoryArchive::new()));
        let says = ["version 2 of account/a", "memory", "has no block", "backup"];
        damaged(another.read_stream(stream("a"), 2, 9).await, &says);
        damaged(another.outcomes(vec![(stream("a"), dedup(2))]).await, &says);
        let without = Archived::without_archive(Arc::clone(&below.store));
        let says = ["version 2 of account/a", "none is configured", "set `archive`"];
        damaged(without.read_stream(stream("a"), 2, 9).await, &says);
        assert!(matches!(without.archive(stream("a"), 9).await, Err(StoreError::Unavailable(_))));
        assert_eq!(without.retain(stream("a"), 9).await, Ok(()));
        assert_eq!(without.archived_blocks(stream("a")).await, Ok(vec![]));
        // appends and what is not archived go on
        below.fill(3, 0).await;
        assert_eq!(without.read_stream(stream("a"), 9, 9).await.unwrap().len(), 7);
    }
}

#[tokio::test]
async fn a_store_and_an_archive_of_different_times_are_told_apart() {
    for below in Below::all().await {
        below.fill(12, 0).await;
        below.snapshot("a", 9).await;
        let other = Below::memory();
        other.fill(12, 1).await;
        other.snapshot("a", 9).await;
        for one in [&below, &other] {
            crashing(one).archive(stream("a"), 8).await.unwrap_err();
        }
        let own = below.archive.get(stream("a"), block(1, 8)).await.unwrap().unwrap();
        let strange = other.archive.get(stream("a"), block(1, 8)).await.unwrap().unwrap();
        below.archive.put(stream("a"), block(1, 8), strange).await.unwrap();
        // before anything is stripped
        damaged(below.archived().archive(stream("a"), 8).await, &["not of one time", "versions 1-8"]);
        assert_eq!(below.stripped().await, [0; 0]);
        below.archive.put(stream("a"), block(1, 8), own).await.unwrap();
        below.archived().archive(stream("a"), 8).await.unwrap();
        // and after: these events say to be of another stream
        other.snapshot("b", 9).await;
        other.archived().archive(stream("b"), 8).await.unwrap();
        let of_b = other.archive.get(stream("b"), block(1, 8)).await.unwrap().unwrap();
        below.archive.put(stream("a"), block(1, 8), of_b).await.unwrap();
        damaged(below.archived().read_stream(stream("a"), 2, 9).await, &["it holds versions 1-8 of account/b"]);
    }
}

#[tokio::test]
async fn a_stream_without_archive_costs_no_look_at_the_archive() {
    let below = Below::memory();
    below.fill(30, 0).await;
    below.snapshot("a", 21).await;
    let faulty = Faulty::over(&below.archive);
    let archived = Archived::new(Arc::clone(&below.store), faulty.clone());
    seen(&archived).await.unwrap();
    assert_eq!(faulty.asked.load(Ordering::Relaxed), 0);
    archived.archive(stream("a"), 20).await.unwrap();
    let moved = faulty.asked.load(Ordering::Relaxed);
    // the block is read once, however many pages ask for it
    for from in 1..=20 {
        archived.read_stream(stream("a"), from, 1).await.unwrap();
    }
    seen(&archived).await.unwrap();
    assert_eq!(faulty.asked.load(Ordering::Relaxed) - moved, 2);
}

#[tokio::test]
async fn two_nodes_may_archive_a_stream_at_once() {
    for below in Below::all().await {
        below.fill(3000, 0).await;
        below.snapshot("a", 3000).await;
        let before = seen(&*below.store).await.unwrap();
        let nodes = [1300, 2999, 800, 2999, 2200].map(|up_to| {
            let node = below.archived();
            tokio::spawn(async move { node.archive(stream("a"), up_to).await })
        });
        for node in nodes {
            node.await.unwrap().unwrap();
        }
        assert_eq!(below.stripped().await, up_to(2999));
        assert_eq!(seen(&below.archived()).await.unwrap(), before, "{}", below.name);
        below.archived().restore(stream("a")).await.unwrap();
        assert_eq!(seen(&*below.store).await.unwrap(), before, "{}", below.name);
    }
}

#[tokio::test]
async fn a_block_stays_for_a_node_that_has_just_found_it() {
    for below in Below::all().await {
        below.fill(12, 0).await;
        below.snapshot("a", 9).await;
        let before = seen(&*below.store).await.unwrap();
        below.archived().archive(stream("a"), 8).await.unwrap();
        below.archived().restore(stream("a")).await.unwrap();
        // another node restores after this one has compared the block, and before it strips
        let faulty = Faulty::over(&below.archive);
        *faulty.after_get.lock().unwrap() = Some(below.archived());
        let archived = Archived::new(Arc::clone(&below.store), faulty.clone());
        assert_eq!(archived.archive(stream("a"), 8).await, Ok(Moved { events: 8, blocks: 0, up_to: 8 }));
        assert!(faulty.after_get.lock().unwrap().is_none());
        assert_eq!(seen(&below.archived()).await.unwrap(), before, "{}", below.name);
    }
}
