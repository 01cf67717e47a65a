//! A disk that fills up or fails while the log is open.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use phoenix_runtime::event_store::port::{Partition, Position, StoreError};
use phoenix_runtime::event_store::{EventStore, LogStore};
use tokio::time::timeout;

use crate::disk::{Disk, Faults, Hooked, is_run};
use crate::rows::{Rows, everything, open_small, snapshot, stream};

const LIMIT: Duration = Duration::from_secs(20);

async fn filled() -> (Disk, LogStore, Rows) {
    let disk = Disk::default();
    let store = open_small(disk.clone()).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(2);
    let records = vec![rows.event(0, 10), rows.event(1, 10)];
    store.append(rows.batch(records)).await.unwrap();
    (disk, store, rows)
}

#[tokio::test]
async fn a_full_disk_stores_nothing_and_the_same_batch_goes_through_later() {
    let (disk, store, mut rows) = filled().await;
    // the next segment is made in advance, so that the first ones still have room
    disk.set(Faults { full: true, ..Faults::default() });
    let (mut refused, mut stored) = (None, 0);
    while refused.is_none() {
        let before = rows.clone();
        let records = (0..4).map(|_| rows.event(0, 400)).collect();
        let batch = rows.batch(records);
        match store.append(batch.clone()).await {
            Ok(()) => stored += 1,
            Err(StoreError::Unavailable(text)) => {
                assert!(text.contains("check the disk's space"), "{text}");
                refused = Some((batch, before));
            }
            Err(other) => panic!("{other:?}"),
        }
        assert!(stored < 20, "the disk is full");
    }
    let (batch, before) = refused.unwrap();
    let versions = before.versions[0];
    assert_eq!(store.read_stream(stream(0), 1, 1000).await.unwrap().len() as u64, versions);
    assert!(matches!(store.put_snapshot(snapshot(0, 1, 3000)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.append(batch.clone()).await, Err(StoreError::Unavailable(_))), "still full");
    disk.set(Faults::default());
    store.append(batch).await.unwrap();
    let all = everything(&store, 2).await;
    assert_eq!(store.read_stream(stream(0), 1, 1000).await.unwrap().len() as u64, versions + 4);
    drop(store);
    assert_eq!(everything(&open_small(disk).await.unwrap(), 2).await, all);
}

#[tokio::test]
async fn a_disk_that_is_full_at_any_point_loses_nothing() {
    for capacity in (13_000..24_000).step_by(700) {
        let (disk, store, mut rows) = filled().await;
        disk.set(Faults { capacity: Some(capacity), ..Faults::default() });
        let refused = loop {
            let records = vec![rows.event(0, 400), rows.outcome(1), rows.event(1, 150)];
            let batch = rows.batch(records);
            match store.append(batch.clone()).await {
                Ok(()) => {}
                Err(StoreError::Unavailable(text)) => {
                    assert!(text.contains(".log") && text.contains("check the disk's space"), "{text}");
                    break batch;
                }
                Err(other) => panic!("{other:?}"),
            }
            assert!(disk.used() <= capacity);
        };
        // what was acknowledged is there, and questions are answered; also by a start on the full disk, if it succeeds
        let before = everything(&store, 2).await;
        assert!(!before.iter().any(|answer| answer.contains("Err")), "{before:?}");
        drop(store);
        match open_small(disk.clone()).await {
            Ok(store) => assert_eq!(everything(&store, 2).await, before, "{capacity}"),
            Err(error) => assert!(error.to_string().contains("check the disk's space"), "{error}"),
        }
        disk.set(Faults::default());
        let store = open_small(disk.clone()).await.unwrap();
        assert_eq!(everything(&store, 2).await, before, "{capacity}");
        store.append(refused).await.unwrap();
        let all = everything(&store, 2).await;
        assert_ne!(all, before);
        drop(store);
        assert_eq!(everything(&open_small(disk).await.unwrap(), 2).await, all);
    }
}

#[tokio::test]
async fn a_failed_sync_or_write_is_final() {
    for faults in [Faults { sync: true, ..Faults::default() }, Faults { write: true, ..Faults::default() }] {
        let (disk, store, mut rows) = filled().await;
        let before = everything(&store, 2).await;
        let records = vec![rows.event(0, 10)];
        let (lost, rows_before) = (rows.batch(records), rows.clone());
        disk.set(faults);
        let unknown = store.append(lost.clone()).await;

        assert!(matches!(&unknown, Err(StoreError::Unknown(text)) if text.contains("restart")), "{unknown:?}");
        // the disk is well again, but what it has lost it does not say
        let refused = |result: Result<(), StoreError>| {
            assert!(matches!(&result, Err(StoreError::Unavailable(text)) if text.contains("restart")), "{result:?}");
        };
        refused(store.append(lost.clone()).await);
        refused(store.append(rows.batch(Vec::new())).await);
        refused(store.acquire(vec![Partition(0)]).await.map(drop));
        refused(store.put_snapshot(snapshot(0, 1, 9)).await);
        refused(store.drop_snapshots(stream(0), 9).await.map(drop));
        refused(store.strip(stream(0), 1).await.map(drop));
        refused(store.refill(Vec::new()).await);
        refused(store.read_stream(stream(0), 1, 9).await.map(drop));
        refused(store.read_all(Position::default(), 9).await.map(drop));
        refused(store.ids("account".into(), None, 9).await.map(drop));
        drop(store);
        let store = open_small(disk.clone()).await.unwrap();
        for (found, expected) in everything(&store, 2).await.into_iter().zip(before) {
            assert_eq!(found, expected, "{faults:?}");
        }
        store.append(lost).await.unwrap();
        rows.back_to(&rows_before);
        assert_eq!(store.read_stream(stream(0), 1, 9).await.unwrap().len() as u64, rows.versions[0]);
    }
}

#[tokio::test]
async fn an_index_that_cannot_be_saved_is_not_tried_at_each_commit() {
    let (full, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let (is_full, counted) = (Arc::clone(&full), Arc::clone(&tries));
    let created = move |name: &str| {
        if is_run(name) && is_full.load(Ordering::SeqCst) {
            counted.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    };
    let disk = Disk::default();
    let store = open_small(Hooked { created: Box::new(created), ..Hooked::new(disk.clone()) }).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(2);
    for _ in 0..150 {
        let records = vec![rows.event(0, 10), rows.event(1, 10)];
        store.append(rows.batch(records)).await.unwrap();
    }
    // 14 entries fill it, and each batch has at most four
    let tries = tries.load(Ordering::SeqCst);
    assert!((2..=50).contains(&tries), "{tries} tries");
    full.store(false, Ordering::SeqCst);
    let all = everything(&store, 2).await;
    drop(store);
    assert!(disk.files().keys().any(|name| is_run(name)));
    assert_eq!(everything(&open_small(disk).await.unwrap(), 2).await, all);
}

#[tokio::test]
async fn nobody_waits_for_a_merge() {
    let (merging, begun) = channel();
    let (go_on, released) = channel::<()>();
    let released = Mutex::new(released);
    let created = move |name: &str| {
        if is_run(name) && std::thread::current().name() == Some("phoenix-merge") {
            // once the test goes on, nobody waits any more
            let _ = merging.send(());
            let _ = released.lock().unwrap().recv();
        }
        Ok(())
    };
    let disk = Disk::default();
    let store = open_small(Hooked { created: Box::new(created), ..Hooked::new(disk.clone()) }).await.unwrap();
    store.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(2);
    let mut appends = 0;
    while begun.try_recv().is_err() {
        let records = vec![rows.event(0, 10)];
        store.append(rows.batch(records)).await.unwrap();
        appends += 1;
        assert!(appends < 10_000, "nothing is merged");
    }
    let (mut in_time, mut left) = (true, 100);
    while in_time && left > 0 {
        let records = vec![rows.event(1, 10)];
        in_time = timeout(LIMIT, store.append(rows.batch(records))).await.is_ok();
        left -= 1;
    }
    drop((go_on, begun));
    assert!(in_time, "an append waits for a merge");
    let all = everything(&store, 2).await;
    drop(store);
    assert_eq!(everything(&open_small(disk).await.unwrap(), 2).await, all);
}
