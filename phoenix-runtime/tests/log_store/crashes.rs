//! What was acknowledged is there, and what is there is whole, whenever the process dies or the power fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::port::{Batch, Partition, Record, Snapshot, StoreError, StoredEvent, StreamId};
use phoenix_runtime::event_store::{EventStore, LogStore, MemoryStore};
use proptest::prelude::*;

use crate::disk::{Disk, Faults, Lot};
use crate::rows::{Rows, block_on, everything, number_of, open_small, snapshot, stream};

const STREAMS: u64 = 6;

#[derive(Debug, Clone)]
enum Step {
    /// Batches that are sent at once: each a number of records, with a seed for what they are.
    Append(Vec<(u64, u64)>),
    Snapshot(u64),
    DropSnapshots(u64),
    Strip(u64, u64),
    Refill(u64),
    /// Writes segments anew that have so many percent to give back, while batches are appended.
    Compact(u8, Vec<(u64, u64)>),
    Reopen,
    /// After so many changes of the disk; of the whole machine, or of the process alone.
    Crash(u64, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let batches = |most| proptest::collection::vec((1..6_u64, any::<u64>()), 0..most);
    let step = prop_oneof![
        8 => batches(4).prop_map(Step::Append),
        2 => (0..STREAMS).prop_map(Step::Snapshot),
        1 => (0..STREAMS).prop_map(Step::DropSnapshots),
        2 => (0..STREAMS, 0..12_u64).prop_map(|(of, up_to)| Step::Strip(of, up_to)),
        1 => (0..STREAMS).prop_map(Step::Refill),
        2 => (0..40_u8, batches(3)).prop_map(|(above, batches)| Step::Compact(above, batches)),
        1 => Just(Step::Reopen),
        2 => (0..15_u64, any::<bool>()).prop_map(|(after, power)| Step::Crash(after, power)),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The log under test, and a store in memory that has what the log must have.
struct World {
    disk: Disk,
    log: Option<LogStore>,
    expected: MemoryStore,
    /// Numbers for what is sent next, and for what follows what is known to be stored.
    rows: Rows,
    stored: Rows,
    /// Events as they were appended.
    whole: BTreeMap<usize, Vec<StoredEvent>>,
    lot: Lot,
    by_power: bool,
}

impl World {
    async fn new(seed: u64) -> Self {
        let disk = Disk::default();
        let log = open_small(disk.clone()).await.unwrap();
        let expected = MemoryStore::new();
        for store in [&log as &dyn EventStore, &expected] {
            store.acquire(vec![Partition(0)]).await.unwrap();
        }
        let rows = Rows::new(usize::try_from(STREAMS).unwrap());
        let (stored, whole, lot) = (rows.clone(), BTreeMap::new(), Lot(seed));
        Self { disk, log: Some(log), expected, rows, stored, whole, lot, by_power: false }
    }

    /// Does something to the log and, where the log says that it is done, to the store in memory. After a crash in its
    /// middle it is done or not, and nothing else has changed.
    async fn run(&mut self, steps: &[Step]) {
        let mut sent: Vec<Done> = Vec::new();
        for step in steps {
            let (mut failed, todo) = (false, self.things(step));
            match step {
                Step::Crash(after, by_power) => {
                    self.by_power = *by_power;
                    self.disk.set(Faults { power: Some(*after), ..Faults::default() });
                }
                Step::Reopen => {
                    self.log = None;
                    let opened = open_small(self.disk.clone()).await;
                    failed = opened.is_err();
                    self.log = opened.ok();
                }
                _ => {}
            }
            let mut told = Vec::new();
            if let Some(log) = &self.log {
                // sent at once, so that some are made durable together
                let answers: Vec<_> = todo.iter().map(|thing| thing.done_by(log)).collect();
                let compacted = async {
                    match step {
                        Step::Compact(above, _) => log.compact(*above).await,
                        _ => Ok(0),
                    }
                };
                let answered = async {
                    for answer in answers {
                        told.push(answer.await);
                    }
                };
                failed |= tokio::join!(compacted, answered).0.is_err();
            }
            for (told, thing) in told.into_iter().zip(todo) {
                match told {
                    Ok(count) => {
                        assert!(sent.is_empty(), "something is durable and what came before it is not");
                        assert_eq!(thing.done_by(&self.expected).await, Ok(count), "{thing:?}");
                        self.settled(&thing);
                    }
                    Err(_) => sent.push(thing),
                }
            }
            if failed || !sent.is_empty() {
                self.recover(std::mem::take(&mut sent)).await;
            }
        }
        self.recover(Vec::new()).await;
    }

    /// What a step sends.
    fn things(&mut self, step: &Step) -> Vec<Done> {
        match step {
            Step::Append(batches) | Step::Compact(_, batches) => {
                let batch = |(count, seed): &(u64, u64)| {
                    let records = self.records(*count, Lot(*seed));
                    Done::Append(self.rows.batch(records))
                };
                batches.iter().map(batch).collect()
            }
            Step::Snapshot(of) => {
                let version = self.rows.versions[usize::try_from(*of).unwrap()];
                vec![Done::Snapshot(snapshot(*of, version, 100))]
            }
            Step::DropSnapshots(of) => vec![Done::DropSnapshots(stream(*of))],
            Step::Strip(of, up_to) => vec![Done::Strip(stream(*of), *up_to)],
            Step::Refill(of) => {
                let events = self.whole.get(&usize::try_from(*of).unwrap());
                vec![Done::Refill(events.cloned().unwrap_or_default())]
            }
            Step::Reopen | Step::Crash(..) => Vec::new(),
        }
    }

    fn records(&mut self, count: u64, mut lot: Lot) -> Vec<Record> {
        let mut record = |_| {
            let of = lot.below(STREAMS);
            match lot.below(6) {
                0 => self.rows.outcome(of),
                // now and then one that needs a segment of its own
                5 if lot.below(5) == 0 => self.rows.event(of, 6000),
                size => self.rows.event(of, usize::try_from(size * 60).unwrap()),
            }
        };
        (0..count).map(&mut record).collect()
    }

    /// Something is stored for ever.
    fn settled(&mut self, thing: &Done) {
        let Done::Append(batch) = thing else { return };
        self.stored.absorb(batch);
        for record in &batch.records {
            let event = record.event.clone().map(|event| StoredEvent {
                stream: record.stream.clone(),
                slice: record.slice,
                sequence: record.sequence,
                time_micros: record.time_micros,
                event,
                command: record.command.clone(),
            });
            self.whole.entry(number_of(&record.stream)).or_default().extend(event);
        }
    }

    /// The machine, or the process alone, comes back, and the log with it. Of what was sent and not answered a beginning
    /// is there, each thing whole.
    async fn recover(&mut self, sent: Vec<Done>) {
        self.log = None;
        self.disk = if self.by_power { self.disk.after_power_failure(&mut self.lot) } else { self.disk.after_death() };
        let log = open_small(self.disk.clone()).await.unwrap();
        let found = everything(&log, STREAMS).await;
        for thing in sent {
            if found == everything(&self.expected, STREAMS).await {
                break;
            }
            thing.done_by(&self.expected).await.unwrap();
            self.settled(&thing);
        }
        for (found, expected) in found.iter().zip(everything(&self.expected, STREAMS).await) {
            assert_eq!(*found, expected);
        }
        self.log = Some(log);
        self.rows.back_to(&self.stored);
    }
}

/// Something that changes a store.
#[derive(Debug)]
enum Done {
    Append(Arc<Batch>),
    Snapshot(Snapshot),
    DropSnapshots(StreamId),
    Strip(StreamId, u64),
    Refill(Vec<StoredEvent>),
}

impl Done {
    /// Sends it at once; says how many things were stripped or dropped.
    fn done_by<'s>(&self, store: &'s dyn EventStore) -> BoxFuture<'s, Result<u64, StoreError>> {
        let nothing = |done: BoxFuture<'s, Result<(), StoreError>>| -> BoxFuture<'s, Result<u64, StoreError>> {
            Box::pin(async { done.await.map(|()| 0) })
        };
        match self {
            Self::Append(batch) => nothing(store.append(Arc::clone(batch))),
            Self::Snapshot(snapshot) => nothing(store.put_snapshot(snapshot.clone())),
            Self::DropSnapshots(of) => store.drop_snapshots(of.clone(), u64::MAX),
            Self::Strip(of, up_to) => store.strip(of.clone(), *up_to),
            Self::Refill(events) => nothing(store.refill(events.clone())),
        }
    }
}

/// A log whose owner died when it had written its last batch and not synced it, with what every question was answered
/// before and after that batch.
async fn died_after(batches: u64) -> (Disk, [Vec<String>; 2]) {
    let disk = Disk::default();
    let log = open_small(disk.clone()).await.unwrap();
    log.acquire(vec![Partition(0)]).await.unwrap();
    let mut rows = Rows::new(usize::try_from(STREAMS).unwrap());
    let mut batch = |number| {
        let records = vec![rows.event(number % STREAMS, 700), rows.outcome(1)];
        rows.batch(records)
    };
    for number in 0..batches {
        log.append(batch(number)).await.unwrap();
    }
    let before = everything(&log, STREAMS).await;
    // a segment and runs that others make may count as well: then the write does not even begin
    disk.set(Faults { power: Some(1), ..Faults::default() });
    let last = log.append(batch(batches)).await;
    assert!(last.is_err(), "{last:?}");
    drop(log);
    let disk = disk.after_death();
    let after = everything(&open_small(disk.after_death()).await.unwrap(), STREAMS).await;
    (disk, [before, after])
}

#[tokio::test]
async fn a_start_that_is_interrupted_is_made_again() {
    for batches in 3..9 {
        let (disk, states) = died_after(batches).await;
        for changes in 0..12 {
            let disk = disk.after_death();
            disk.set(Faults { power: Some(changes), ..Faults::default() });
            let whole = open_small(disk.clone()).await.is_ok();
            for seed in 0..2 {
                let log = open_small(disk.after_power_failure(&mut Lot(seed))).await;
                let log = log.unwrap_or_else(|e| panic!("after {batches} batches and {changes} changes: {e}"));
                let found = everything(&log, STREAMS).await;
                assert!(found == states[1] || !whole && found == states[0], "{batches}, {changes}: {found:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_point_loses_nothing_that_was_acknowledged(steps in steps(), seed in any::<u64>()) {
        block_on(async { World::new(seed).await.run(&steps).await });
    }
}
