//! Segments that are written anew while the power fails, the disk is full, or somebody reads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use phoenix_runtime::event_store::port::{Position, StoreError, StoredEvent, StreamId};
use phoenix_runtime::event_store::{EventStore, LogReader, LogStore};

use crate::compaction::{STREAMS, is_compact, is_segment, worn};
use crate::disk::{Disk, Faults, Hooked, Lot};
use crate::rows::{Rows, block_on, everything, open_small, snapshot, stream};

/// How many segments were written anew.
fn compact_segments(disk: &Disk) -> usize {
    disk.files().iter().filter(|(name, bytes)| is_segment(name) && is_compact(bytes)).count()
}

/// Whether nothing of an interrupted rewriting is left.
fn is_clean(disk: &Disk) -> bool {
    // the next segment may be on its way
    let sealed = disk.files().keys().filter(|name| is_segment(name)).count();
    disk.files()
        .keys()
        .all(|name| name.strip_suffix(".log.new").is_none_or(|name| name.parse::<usize>().unwrap() > sealed))
}

/// Files of which some segments are worth it to be written anew, for the first time or once more.
async fn worn_files(once_more: bool) -> (Disk, Rows) {
    let (disk, store, rows, _) = worn().await;
    if once_more {
        store.compact(5).await.unwrap();
        for of in 0..STREAMS {
            store.strip(stream(of), u64::MAX).await.unwrap();
        }
    }
    drop(store);
    (disk, rows)
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_the_old_segment_or_the_new_one() {
    // a segment takes seven changes of the disk
    for (once_more, changes) in [(false, 80), (true, 24)] {
        let (worn, _) = worn_files(once_more).await;
        let before = everything(&open_small(worn.after_death()).await.unwrap(), STREAMS).await;
        let (mut lot, mut ends) = (Lot(7), BTreeSet::new());
        for after in 0..changes {
            for by_power in [false, true] {
                let disk = Disk::of(worn.files());
                let store = open_small(disk.clone()).await.unwrap();
                disk.set(Faults { power: Some(after), ..Faults::default() });
                let failed = store.compact(5).await.is_err();
                assert_eq!(everything(&store, STREAMS).await, before, "reads go on");
                drop(store);
                let disk = if by_power { disk.after_power_failure(&mut lot) } else { disk.after_death() };
                let size: usize = disk.files().iter().filter(|(name, _)| is_segment(name)).map(|(_, b)| b.len()).sum();
                ends.insert((failed, compact_segments(&disk), size));
                let store = open_small(disk.clone()).await.unwrap();
                assert_eq!(everything(&store, STREAMS).await, before);
                assert!(is_clean(&disk), "{:?}", disk.files().keys());
                store.compact(5).await.unwrap();
                assert_eq!(everything(&store, STREAMS).await, before);
            }
        }
        assert!(ends.len() > 4, "{ends:?}");
    }
}

/// Waits for the segment that is made in advance.
fn next_segment_is_made(disk: &Disk) {
    let until = Instant::now() + Duration::from_mins(1);
    let is_empty =
        |(name, bytes): (&String, &Vec<u8>)| is_segment(name) && !is_compact(bytes) && bytes[64..72] == [0; 8];
    while !disk.files().iter().any(is_empty) {
        assert!(Instant::now() < until, "{:?}", disk.files().keys());
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_full_disk_leaves_segments_as_they_are_and_appends_go_on() {
    let (worn, rows) = worn_files(false).await;
    let (mut refused, mut appended, mut compacted) = (0, 0, 0);
    // an append gives the unused end of its segment back, which may be what is missing
    for spare in (0..10_000).step_by(350) {
        let disk = Disk::of(worn.files());
        let store = open_small(disk.clone()).await.unwrap();
        let before = everything(&store, STREAMS).await;
        let mut rows = rows.clone();
        next_segment_is_made(&disk);
        disk.set(Faults { capacity: Some(disk.used() + spare - 3000), ..Faults::default() });
        // more than is reserved
        let records = (0..3).map(|_| rows.event(1, 3000)).collect();
        let batch = rows.batch(records);
        let (told, stored) = tokio::join!(store.compact(5), store.append(Arc::clone(&batch)));
        match &told {
            Ok(given_back) => compacted += usize::from(*given_back > 0),
            Err(StoreError::Unavailable(text)) => {
                assert!(text.contains("check the disk's space"), "{text}");
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
        assert!(is_clean(&disk), "{:?}", disk.files().keys());
        match &stored {
            Ok(()) => appended += 1,
            Err(StoreError::Unavailable(text)) => {
                assert!(text.contains("check the disk's space"), "{text}");
                assert_eq!(everything(&store, STREAMS).await, before);
            }
            Err(other) => panic!("{other:?}"),
        }
        // there is room again, and nobody has to start anew
        disk.set(Faults::default());
        if stored.is_err() {
            store.append(batch).await.unwrap();
        }
        let all = everything(&store, STREAMS).await;
        assert!(store.compact(5).await.unwrap() > 0 || told.is_ok(), "what failed is tried again");
        assert!(compact_segments(&disk) > 3);
        assert_eq!(everything(&store, STREAMS).await, all);
        drop(store);
        assert_eq!(everything(&open_small(disk).await.unwrap(), STREAMS).await, all);
    }
    let counts = format!("{compacted} compacted, {refused} not, {appended} appended");
    assert!(compacted > 2 && refused > 2 && appended > 2 && appended < 27, "{counts}");
}

/// What a reader can ask.
trait Readable {
    async fn stream(&self, of: StreamId) -> Result<Vec<StoredEvent>, StoreError>;
    async fn all(&self) -> Result<(Vec<StoredEvent>, Position), StoreError>;
}

impl Readable for LogReader {
    async fn stream(&self, of: StreamId) -> Result<Vec<StoredEvent>, StoreError> {
        self.read_stream(of, 1, 1000).await
    }

    async fn all(&self) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        self.read_all(Position::default(), 1000).await
    }
}

impl Readable for LogStore {
    async fn stream(&self, of: StreamId) -> Result<Vec<StoredEvent>, StoreError> {
        self.read_stream(of, 1, 1000).await
    }

    async fn all(&self) -> Result<(Vec<StoredEvent>, Position), StoreError> {
        self.read_all(Position::default(), 1000).await
    }
}

async fn seen(of: &impl Readable) -> Vec<String> {
    let mut seen = vec![format!("{:?}", of.all().await)];
    for number in 0..STREAMS {
        seen.push(format!("{:?}", of.stream(stream(number)).await));
    }
    seen
}

async fn reader_on(disk: &Disk) -> LogReader {
    LogReader::open_on(Arc::new(disk.clone()), "log").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_notice_nothing_while_segments_are_replaced() {
    let (disk, _) = worn_files(false).await;
    // it has the old files open
    let early = reader_on(&disk).await;
    let expected = seen(&early).await;
    let owner: Arc<OnceLock<Arc<LogStore>>> = Arc::default();
    let (asked, wrong) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let renamed = {
        let (disk, early, owner) = (disk.clone(), early.clone(), Arc::clone(&owner));
        let (expected, asked, wrong) = (expected.clone(), Arc::clone(&asked), Arc::clone(&wrong));
        move |name: &str| {
            let Some(owner) = owner.get().filter(|_| is_segment(name)) else { return };
            let answers =
                block_on(async { [seen(&early).await, seen(&reader_on(&disk).await).await, seen(&**owner).await] });
            asked.fetch_add(1, Ordering::SeqCst);
            wrong.lock().unwrap().extend(answers.into_iter().filter(|answer| *answer != expected));
        }
    };
    let hooked = Hooked { renamed: Box::new(renamed), ..Hooked::new(disk.clone()) };
    let store = Arc::new(open_small(hooked).await.unwrap());
    assert!(owner.set(Arc::clone(&store)).is_ok());
    assert!(store.compact(5).await.unwrap() > 0);
    assert!(asked.load(Ordering::SeqCst) > 6, "before and after each segment");
    assert_eq!(*wrong.lock().unwrap(), Vec::<Vec<String>>::new());
    assert_eq!(seen(&early).await, expected);
}

/// Goes on over several segments, and writes them anew as well; says what was seen after each append.
async fn go_on(owner: &LogStore, mut rows: Rows) -> Vec<Vec<String>> {
    let mut states = Vec::new();
    // so that the segment that is written to is worth it as well, once the log has gone on
    owner.put_snapshot(snapshot(3, 9, 20)).await.unwrap();
    for number in 0..3 {
        let records = vec![rows.event(number, 900)];
        owner.append(rows.batch(records)).await.unwrap();
        states.push(seen(owner).await);
        owner.put_snapshot(snapshot(3, number + 1, 3000)).await.unwrap();
    }
    owner.drop_snapshots(stream(3), u64::MAX).await.unwrap();
    assert!(owner.compact(0).await.unwrap() > 0);
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_may_find_segments_replaced_whenever_it_opens_one() {
    let (worn, rows) = worn_files(false).await;
    let (mut at, mut replaced) = (0, true);
    // as long as the reader opens so many files
    while replaced {
        let disk = Disk::of(worn.files());
        let owner = Arc::new(open_small(disk.clone()).await.unwrap());
        let states = Arc::new(Mutex::new(vec![seen(&*owner).await]));
        let opened = Arc::new(AtomicU64::new(0));
        let meanwhile = {
            let (owner, states, opened) = (Arc::clone(&owner), Arc::clone(&states), Arc::clone(&opened));
            let rows = rows.clone();
            move |_: &str| {
                if opened.fetch_add(1, Ordering::SeqCst) == at {
                    states.lock().unwrap().extend(block_on(go_on(&owner, rows.clone())));
                }
                None
            }
        };
        let hooked = Hooked { opened: Box::new(meanwhile), ..Hooked::new(disk) };
        let reader = LogReader::open_on(Arc::new(hooked), "log").await.unwrap();
        let found = seen(&reader).await;
        let states = states.lock().unwrap().clone();
        for (number, answer) in found.iter().enumerate() {
            assert!(states.iter().any(|state| state[number] == *answer), "at {at}: {answer}");
        }
        replaced = opened.load(Ordering::SeqCst) > at;
        assert!(!replaced || seen(&reader).await == states[3], "at {at}");
        at += 1;
    }
    assert!(at > 8, "{at}");
}
