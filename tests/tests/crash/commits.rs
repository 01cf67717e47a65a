//! Writers that commit out of order: what is appended first may be visible last. A reader of all events waits for it.
//!
//! The database itself is made slow, by triggers that run between the insertion of a row and the commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use libtest_mimic::Trial;
use phoenix_runtime::domain::id::{AggregateId, Dedup, MessageId, Slice};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::event_store::port::{
    Batch, CommandData, Epoch, EventData, EventStore, Partition, Position, Record, StoreError, StreamId,
};
use phoenix_runtime::node::open_store;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};

use crate::ledger::{Mark, config, wait};
use crate::service::PATIENCE;
use crate::stores::{Place, SERVERS, on_each};
use crate::tail::compare;

/// The slice whose commits [`Slowness::held`](crate::stores::Slowness) lets be held.
const HELD: u16 = 7;

/// An owner of one partition.
struct Owner {
    store: Arc<dyn EventStore>,
    epochs: Vec<(Partition, Epoch)>,
    sequences: BTreeMap<Slice, u64>,
}

impl Owner {
    async fn of(store: &Arc<dyn EventStore>, partition: u16) -> Self {
        let epochs = store.acquire(vec![Partition(partition)]).await.unwrap();
        let sequences = store.last_sequences((0..64).map(Slice).collect()).await.unwrap();
        Self { store: Arc::clone(store), epochs, sequences }
    }

    /// Appends an event to each of these slices, in one batch.
    async fn append(&mut self, slices: &[u16]) -> Result<(), StoreError> {
        let mut sequences = self.sequences.clone();
        let mut next = |slice: &u16| {
            let sequence = sequences.entry(Slice(*slice)).or_insert(0);
            *sequence += 1;
            record(*slice, *sequence)
        };
        let records = slices.iter().map(&mut next).collect();
        self.store.append(Arc::new(Batch { epochs: self.epochs.clone(), records })).await?;
        self.sequences = sequences;
        Ok(())
    }
}

/// The event of a command: each slice has one stream, so that its version is the slice's sequence number.
fn record(slice: u16, number: u64) -> Record {
    let stream = StreamId { aggregate: "account".into(), id: AggregateId::new(format!("of-{slice}")).unwrap() };
    let command = CommandData {
        id: MessageId(uuid::Uuid::from_u128(u128::from(number))),
        dedup: Dedup(u128::from(number).to_be_bytes()),
        name: "deposit".into(),
        key: None,
        payload_hash: number,
        outcome: Outcome { kind: OutcomeKind::Replied, version: number, codec: 1, body: b"{}".to_vec() },
        correlation_id: None,
        causation_id: None,
    };
    let event =
        EventData { version: number, name: "deposited".into(), schema_version: 1, codec: 1, payload: b"{}".to_vec() };
    let command = Some(Box::new(command));
    Record { stream, slice: Slice(slice), sequence: number, time_micros: 1, event: Some(event), command }
}

async fn open(place: &Place) -> Arc<dyn EventStore> {
    open_store(&config(&place.url())).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A connection beside the store's own.
async fn session(place: &Place) -> DatabaseConnection {
    let mut options = ConnectOptions::new(place.url());
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

/// Everything after a position, and the position behind it.
async fn read(store: &Arc<dyn EventStore>, mut position: Position) -> (Vec<(u16, u64)>, Position) {
    let mut seen = Vec::new();
    loop {
        let (events, behind) = store.read_all(position, 3).await.unwrap();
        position = behind;
        if events.is_empty() {
            return (seen, position);
        }
        seen.extend(events.iter().map(|event| (event.slice.0, event.sequence)));
    }
}

async fn count(session: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(session.get_database_backend(), sql);
    session.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

fn a_commit_that_is_late_is_waited_for(place: &Place) {
    wait(async {
        let slow = place.slowness();
        let (first, second, third) = (open(place).await, open(place).await, open(place).await);
        let (mut old, mut other) = (Owner::of(&first, 0).await, Owner::of(&second, 1).await);
        let session = session(place).await;
        for sql in slow.held {
            session.execute_unprepared(sql).await.unwrap();
        }
        old.append(&[HELD, 8]).await.unwrap();
        let (seen, position) = read(&third, Position::default()).await;
        assert_eq!(seen, [(HELD, 1), (8, 1)]);

        session.execute_unprepared(slow.hold).await.unwrap();
        let late = tokio::spawn(async move {
            let done = old.append(&[9, HELD, HELD, 8]).await;
            (old, done)
        });
        let limit = Instant::now() + PATIENCE;
        while count(&session, slow.waiting).await == 0 {
            assert!(Instant::now() < limit && !late.is_finished(), "the append does not wait");
        }
        // it has inserted its first rows; others come after it, and are visible before
        for _ in 0..5 {
            other.append(&[3, 4]).await.unwrap();
        }
        let (seen, position) = read(&third, position).await;
        assert_eq!(seen.len(), 10, "{seen:?}");
        assert!(seen.iter().all(|(slice, _)| [3, 4].contains(slice)), "{seen:?}");
        // who takes over waits as well: what is on its way is there before its first read, or never
        let successor = tokio::spawn({
            let third = Arc::clone(&third);
            async move { Owner::of(&third, 0).await }
        });
        other.append(&[3]).await.unwrap();
        assert!(!late.is_finished() && !successor.is_finished(), "nobody waits");

        session.execute_unprepared(slow.release).await.unwrap();
        let (mut old, done) = late.await.unwrap();
        done.unwrap();
        let mut successor = successor.await.unwrap();
        successor.append(&[HELD, 9]).await.unwrap();
        assert!(matches!(old.append(&[8]).await, Err(StoreError::Fenced { .. })));
        let (mut seen, _) = read(&third, position).await;
        seen.sort_unstable();
        assert_eq!(seen, [(3, 6), (HELD, 2), (HELD, 3), (HELD, 4), (8, 2), (9, 1), (9, 2)]);
    });
}

/// Each has a partition, and three slices of it.
const WRITERS: u16 = 6;
const ROUNDS: u64 = 40;

/// Appends in batches of several sizes; when each began and ended.
async fn write(store: Arc<dyn EventStore>, writer: u16, clock: Arc<AtomicU64>) -> Vec<(u64, u64)> {
    let (mut owner, mut times) = (Owner::of(&store, writer).await, Vec::new());
    let own = [writer, writer + WRITERS, writer + 2 * WRITERS];
    for round in 0..ROUNDS {
        let began = clock.fetch_add(1, Ordering::SeqCst);
        let slices = if round % 3 == 0 { &own[..1] } else { &own[..] };
        owner.append(slices).await.unwrap();
        times.push((began, clock.fetch_add(1, Ordering::SeqCst)));
    }
    times
}

/// Reads in pages of this size, until nothing more comes after the end.
async fn follow(store: Arc<dyn EventStore>, page: usize, ended: Arc<AtomicBool>) -> Vec<Mark> {
    let (mut seen, mut position) = (Vec::new(), Position::default());
    loop {
        let last = ended.load(Ordering::SeqCst);
        let (events, behind) = store.read_all(position, page).await.unwrap();
        position = behind;
        if last && events.is_empty() {
            return seen;
        }
        seen.extend(events.iter().map(Mark::of));
    }
}

fn readers_skip_nothing_while_commits_overtake_each_other(place: &Place) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(place).await;
        let session = session(place).await;
        for sql in place.slowness().random {
            session.execute_unprepared(sql).await.unwrap();
        }
        let (clock, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let readers: Vec<_> =
            [1, 7, 100].map(|page| tokio::spawn(follow(Arc::clone(&store), page, Arc::clone(&ended)))).into();
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&store), writer, Arc::clone(&clock)))).collect();
        let mut times = Vec::new();
        for writer in writers {
            times.extend(writer.await.unwrap());
        }
        ended.store(true, Ordering::SeqCst);
        let overtaken = |(began, over): &(u64, u64)| times.iter().any(|(b, o)| b > began && o < over);
        let late = times.iter().filter(|time| overtaken(time)).count();
        println!("{late} of {} appends were overtaken by later ones", times.len());
        assert!(late > times.len() / 10, "nothing is shown: {late} appends were overtaken");
        let stored = follow(Arc::clone(&store), 1000, ended).await;
        assert_eq!(stored.len(), usize::from(WRITERS) * (14 + 26 * 3));
        for reader in readers {
            assert_eq!(compare(&reader.await.unwrap(), &stored), []);
        }
    });
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_each!(SERVERS, a_commit_that_is_late_is_waited_for);
    trials.extend(on_each!(SERVERS, readers_skip_nothing_while_commits_overtake_each_other));
    trials
}
