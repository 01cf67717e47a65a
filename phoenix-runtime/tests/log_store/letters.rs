//! The inbox and the dead letters of a log: what a disk may do to their file, and what they say then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use phoenix_runtime::event_store::letters::{
    DeadFilter, DeadLetter, Due, InboxKey, InboxRow, Letters, ReadLetters, Standing,
};
use phoenix_runtime::event_store::port::{Partition, StoreError};
use phoenix_runtime::event_store::{LogReader, LogStore, MemoryStore};
use proptest::prelude::*;

use crate::disk::{Disk, Faults, Hooked, Lot};
use crate::rows::{block_on, open_small};

const NAME: &str = "letters";

fn row(first: u64, bytes: usize) -> InboxRow {
    InboxRow {
        topic: "commands".into(),
        partition: u16::try_from(first % 2).unwrap(),
        first,
        last: first,
        messages: 1,
        group: Partition(3),
        tries: 0,
        due_micros: 5,
        hold: None,
        codec: 1,
        body: vec![u8::try_from(first % 251).unwrap(); bytes],
    }
}

fn letter(offset: u64, bytes: usize) -> DeadLetter {
    DeadLetter {
        number: 0,
        topic: "commands".into(),
        partition: 0,
        offset,
        aggregate: None,
        id: None,
        name: None,
        message_id: None,
        slice: None,
        code: "panicked".into(),
        reason: "the handler panicked".to_owned(),
        tries: 3,
        time_micros: 9,
        standing: Standing::Waiting,
        settled_micros: None,
        codec: 1,
        body: vec![7; bytes],
        original: None,
    }
}

fn everything() -> Due {
    Due {
        topic: "commands".into(),
        partitions: vec![0, 1],
        until_micros: i64::MAX,
        after: None,
        limit: usize::MAX,
        bytes: usize::MAX,
    }
}

/// Everything that can be asked.
async fn dump(letters: &dyn ReadLetters) -> Result<String, StoreError> {
    let (rows, dead) = (letters.due(everything()).await?, letters.dead(DeadFilter::default(), 0, usize::MAX).await?);
    Ok(format!("{rows:?} {dead:?} {:?} {:?}", letters.backlog(None).await?, letters.dead_counts().await?))
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<(u64, usize)>),
    Tried(u64),
    Replace(u64, u64),
    Finish(u64, u64),
    Bury(u64, usize),
    Amend(u64, usize),
    Settle(u64, bool),
    Forget,
    Reopen,
    /// After so many changes of the disk; of the whole machine, or of the process alone.
    Crash(u64, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (firsts, sizes) = (|| 0..20_u64, || 0..900_usize);
    let step = prop_oneof![
        6 => proptest::collection::vec((firsts(), sizes()), 1..5).prop_map(Step::Put),
        2 => firsts().prop_map(Step::Tried),
        1 => (firsts(), firsts()).prop_map(|(old, new)| Step::Replace(old, new)),
        5 => (firsts(), 1..20_u64).prop_map(|(from, count)| Step::Finish(from, count)),
        2 => (firsts(), sizes()).prop_map(|(offset, bytes)| Step::Bury(offset, bytes)),
        1 => (0..8_u64, sizes()).prop_map(|(number, bytes)| Step::Amend(number, bytes)),
        1 => (0..8_u64, any::<bool>()).prop_map(|(number, replayed)| Step::Settle(number, replayed)),
        1 => Just(Step::Forget),
        1 => Just(Step::Reopen),
        3 => (0..9_u64, any::<bool>()).prop_map(|(after, power)| Step::Crash(after, power)),
    ];
    proptest::collection::vec(step, 1..50)
}

/// Keys of rows that are there.
async fn keys(letters: &dyn Letters, from: u64, count: u64) -> Vec<InboxKey> {
    let rows = letters.due(everything()).await.unwrap();
    rows.iter().filter(|row| (from..from + count).contains(&row.first)).map(InboxRow::key).collect()
}

/// Does a step to `letters`, with the keys that the model has.
async fn act(step: &Step, letters: &dyn Letters, model: &dyn Letters) -> Result<(), StoreError> {
    match *step {
        Step::Put(ref rows) => letters.put(rows.iter().map(|(first, bytes)| row(*first, *bytes)).collect()).await,
        Step::Tried(first) => letters.note_try(keys(model, first, 5).await, 77).await,
        Step::Replace(old, new) => match keys(model, old, 3).await.pop() {
            Some(key) => letters.replace(key, vec![row(new, 3), row(new + 1, 3)]).await.map(drop),
            None => Ok(()),
        },
        Step::Finish(from, count) => letters.finish(keys(model, from, count).await).await,
        Step::Bury(offset, bytes) => letters.bury(vec![letter(offset, bytes)], keys(model, offset, 1).await).await,
        Step::Amend(number, bytes) => letters.amend(number, vec![8; bytes]).await.map(drop),
        Step::Settle(number, replayed) => {
            let standing = if replayed { Standing::Replayed } else { Standing::Discarded };
            letters.settle(vec![number], standing, 50).await.map(drop)
        }
        Step::Forget => letters.forget(100).await.map(drop),
        Step::Reopen | Step::Crash(..) => Ok(()),
    }
}

async fn run(steps: &[Step], seed: u64) {
    let (mut disk, model, mut lot) = (Disk::default(), MemoryStore::new(), Lot(seed));
    let mut log = Some(open_small(disk.clone()).await.unwrap());
    let mut by_power = false;
    for step in steps {
        let mut failed = false;
        match step {
            Step::Crash(after, power) => {
                by_power = *power;
                disk.set(Faults { power: Some(*after), ..Faults::default() });
                continue;
            }
            Step::Reopen => {
                drop(log.take());
                log = open_small(disk.clone()).await.ok();
                failed = log.is_none();
            }
            _ => {}
        }
        if let Some(log) = &log {
            failed |= act(step, log, &model).await.is_err();
        }
        if !failed {
            act(step, &model, &model).await.unwrap();
            let log = log.as_ref().unwrap();
            assert_eq!(dump(log).await.unwrap(), dump(&model).await.unwrap(), "after {step:?}");
            continue;
        }
        // it is done or not, and nothing else has changed
        drop(log.take());
        disk = if by_power { disk.after_power_failure(&mut lot) } else { disk.after_death() };
        let again = open_small(disk.clone()).await.unwrap();
        let found = dump(&again).await.unwrap();
        let before = dump(&model).await.unwrap();
        if found != before {
            act(step, &model, &model).await.unwrap();
            assert_eq!(found, dump(&model).await.unwrap(), "neither before nor after {step:?}, which failed");
        }
        let reader = LogReader::open_on(Arc::new(disk.clone()), "log").await.unwrap();
        assert_eq!(dump(&reader).await.unwrap(), found, "as somebody sees it who only reads");
        log = Some(again);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn letters_survive_crashes(steps in steps(), seed in any::<u64>()) {
        block_on(run(&steps, seed));
    }
}

async fn open(disk: &Disk) -> LogStore {
    open_small(disk.clone()).await.unwrap()
}

/// A log with rows and letters, closed.
async fn filled() -> (Disk, String) {
    let disk = Disk::default();
    let log = open(&disk).await;
    for first in 0..6 {
        log.put(vec![row(first, 50)]).await.unwrap();
    }
    log.bury(vec![letter(3, 40)], keys(&log, 3, 1).await).await.unwrap();
    let found = dump(&log).await.unwrap();
    (disk, found)
}

fn changed(disk: &Disk, change: impl FnOnce(&mut Vec<u8>)) -> Disk {
    let mut files: BTreeMap<_, _> = disk.files();
    change(files.get_mut(NAME).unwrap());
    Disk::of(files)
}

/// Where the last bytes are that are not zero.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[tokio::test]
async fn there_is_no_file_until_something_is_kept() {
    let disk = Disk::default();
    let log = open(&disk).await;
    log.finish(Vec::new()).await.unwrap();
    assert_eq!(log.due(everything()).await.unwrap(), []);
    drop(log);
    assert!(!disk.files().contains_key(NAME));
}

#[tokio::test]
async fn a_torn_write_is_cut_off_and_what_was_acknowledged_is_there() {
    let (disk, before) = filled().await;
    let log = open(&disk).await;
    disk.set(Faults { write: true, ..Faults::default() });
    let torn = log.put(vec![row(9, 3000)]).await;
    assert!(matches!(torn, Err(StoreError::Unknown(ref text)) if text.contains("started again")), "{torn:?}");
    let refused = log.finish(keys(&log, 0, 9).await).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "a failed write is final: {refused:?}");
    assert_eq!(dump(&log).await.unwrap(), before);
    drop(log);
    let log = open(&disk).await;
    assert_eq!(dump(&log).await.unwrap(), before);
    log.put(vec![row(9, 10)]).await.unwrap();
    let after = dump(&log).await.unwrap();
    drop(log);
    assert_eq!(dump(&open(&disk).await).await.unwrap(), after);
}

#[tokio::test]
async fn what_is_cut_off_is_never_read_as_what_follows() {
    let (disk, _) = filled().await;
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let (wait, slow) = (Mutex::new(wait), Arc::new(AtomicBool::new(false)));
    let mut hooked = Hooked::new(disk.clone());
    let is_slow = Arc::clone(&slow);
    hooked.synced = Arc::new(move |name| {
        if name == NAME && is_slow.swap(false, Ordering::SeqCst) {
            let _ = wait.lock().unwrap().recv();
        }
    });
    let log = open_small(hooked).await.unwrap();
    slow.store(true, Ordering::SeqCst);
    // while the first one is made durable two more come, which are written at once
    let first = log.put(vec![row(20, 50)]);
    let (lost, behind) = (log.put(vec![row(21, 98)]), log.put(vec![row(22, 50)]));
    go_on.send(()).unwrap();
    drop(go_on);
    first.await.unwrap();
    lost.await.unwrap();
    behind.await.unwrap();
    drop(log);
    // the first of the two is torn, so neither was acknowledged
    let spoilt = changed(&disk, |bytes| {
        let at = bytes.windows(98).position(|body| body == [21; 98]).unwrap();
        bytes[at] ^= 1;
    });
    let firsts = async |log: &LogStore| {
        let rows = log.due(everything()).await.unwrap();
        rows.iter().map(|row| row.first).filter(|first| *first >= 20).collect::<Vec<_>>()
    };
    let log = open(&spoilt).await;
    assert_eq!(firsts(&log).await, [20]);
    // with the mark of the start it is as long as the torn one
    log.put(vec![row(23, 50)]).await.unwrap();
    drop(log);
    assert_eq!(firsts(&open(&spoilt).await).await, [20, 23], "the second of the two is there again");
}

#[tokio::test]
async fn a_sync_that_fails_is_final() {
    let (disk, before) = filled().await;
    let log = open(&disk).await;
    disk.set(Faults { sync: true, ..Faults::default() });
    assert!(matches!(log.put(vec![row(9, 30)]).await, Err(StoreError::Unknown(_))));
    assert!(matches!(log.put(vec![row(9, 30)]).await, Err(StoreError::Unavailable(_))));
    drop(log);
    assert_eq!(dump(&open(&disk).await).await.unwrap(), before);
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_the_same_goes_through_later() {
    let disk = Disk::default();
    let log = open(&disk).await;
    disk.set(Faults { full: true, ..Faults::default() });
    let refused = log.put(vec![row(1, 30)]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(ref text)) if text.contains("space")), "{refused:?}");
    assert_eq!(log.due(everything()).await.unwrap(), []);
    disk.set(Faults::default());
    log.put(vec![row(1, 30)]).await.unwrap();
    assert_eq!(log.due(everything()).await.unwrap(), [row(1, 30)]);
}

#[tokio::test]
async fn damage_below_what_is_known_durable_stops_the_start_and_above_it_is_cut() {
    let (disk, whole) = filled().await;
    // a start marks what it finds as durable
    drop(open(&disk).await);
    let length = used(&disk.files()[NAME]);
    for at in (0..length).step_by(13) {
        let spoilt = changed(&disk, |bytes| bytes[at] ^= 1);
        match open_small(spoilt.clone()).await {
            Err(error) => assert!(error.to_string().contains("letters"), "{error}"),
            Ok(log) => {
                // the mark itself, or the zeros behind a frame
                assert_eq!(dump(&log).await.unwrap(), whole, "at {at} of {length}");
            }
        }
    }
    let read = LogReader::open_on(Arc::new(changed(&disk, |bytes| bytes[200] ^= 1)), "log").await.unwrap();
    assert!(matches!(dump(&read).await, Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn a_body_that_was_changed_while_the_log_is_open_is_told() {
    let (disk, _) = filled().await;
    let log = open(&disk).await;
    let at = disk.files()[NAME].windows(50).position(|body| body == [4; 50]).unwrap();
    phoenix_runtime::event_store::log::files::Files::open(&disk, NAME, true)
        .unwrap()
        .write_at(&[5], at as u64)
        .unwrap();
    let found = log.due(everything()).await;
    assert!(matches!(found, Err(StoreError::Damaged(ref text)) if text.contains("backup")), "{found:?}");
    assert_eq!(log.due(Due { partitions: vec![1], ..everything() }).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_file_stays_about_as_large_as_what_is_kept() {
    let disk = Disk::default();
    let log = open(&disk).await;
    log.put(vec![row(1, 500)]).await.unwrap();
    log.bury(vec![letter(7, 300)], Vec::new()).await.unwrap();
    let mut largest = 0;
    for round in 0..300 {
        let rows: Vec<_> = (0..4).map(|n| row(100 + round * 4 + n, 200)).collect();
        log.put(rows.clone()).await.unwrap();
        log.finish(rows.iter().map(InboxRow::key).collect()).await.unwrap();
        largest = largest.max(used(&disk.files()[NAME]));
    }
    assert!(largest < 16_384, "{largest} bytes");
    let before = dump(&log).await.unwrap();
    drop(log);
    assert_eq!(dump(&open(&disk).await).await.unwrap(), before);
}

#[tokio::test]
async fn a_reader_sees_letters_while_the_owner_changes_them() {
    let (disk, before) = filled().await;
    let log = open(&disk).await;
    let reader = LogReader::open_on(Arc::new(disk.clone()), "log").await.unwrap();
    assert_eq!(dump(&reader).await.unwrap(), before);
    log.settle(vec![1], Standing::Replayed, 60).await.unwrap();
    // also when it is written anew in between
    for round in 0..40 {
        log.put(vec![row(100 + round, 900)]).await.unwrap();
        assert_eq!(dump(&reader).await.unwrap(), dump(&log).await.unwrap());
        log.finish(keys(&log, 100 + round, 1).await).await.unwrap();
    }
    assert_eq!(reader.dead_letter(1).await.unwrap().unwrap().standing, Standing::Replayed);
}
