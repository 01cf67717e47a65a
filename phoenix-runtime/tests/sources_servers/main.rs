//! Databases of servers as sources: moves, movers that die, and a service under load while its slices move.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops at the line that says so")]

#[allow(dead_code, reason = "other tests take more of it")]
#[path = "../sources/support.rs"]
mod support;

// its tests in memory are not seen here, for this target has no harness
#[path = "../sources/blocks.rs"]
mod blocks;
mod late;
mod load;

use std::future::Future;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::port::{Position, StoreError, StoredEvent};
use phoenix_runtime::event_store::sources::port::Rows;
use phoenix_runtime::event_store::sources::{Mover, Source};
use phoenix_runtime::event_store::sql::{mysql, postgres};
use phoenix_runtime::event_store::{DatabaseOptions, DatabaseUrl, EventStore};
use phoenix_runtime::testkit::conformance::{StoreFactory, cases};
use phoenix_test_servers::{Kind, Server, shared, trial};

use crate::support::{Databases, Deadly, Owner, behind, deal, drain, dump, filled, id_in, row, sorted, stream};

fn main() {
    let arguments = Arguments::from_args();
    let pairs = [("postgres", [Kind::Postgres; 2]), ("postgres-mysql", [Kind::Postgres, Kind::MySql])];
    let trials = pairs.into_iter().flat_map(|(name, kinds)| {
        let on_two = |test: &str| OnTwo { name: format!("{name}::{test}"), kinds };
        let promises = cases().into_iter().map(|case| {
            let of = on_two(case.name());
            of.trial(move |two| async move { case.run(&two).await.unwrap() })
        });
        let moves = [
            on_two("everything_moves_and_nothing_changes").trial(everything_moves),
            on_two("a_mover_that_dies_at_any_call_is_resumed").trial(movers_die),
            on_two("rows_are_copied_once_and_without_a_gap").trial(rows_are_copied_once),
            on_two("bytes_stay_while_they_are_copied").trial(bytes_stay),
            on_two("blocks_move_with_their_slice").trial(|two| async move {
                blocks::blocks_move_with_their_slice(two.open().await).await;
            }),
            on_two("a_mover_that_dies_at_any_call_is_resumed_with_blocks").trial(|two| async move {
                blocks::movers_die_with_blocks(two.open().await).await;
            }),
            on_two("blocks_stay_while_they_are_copied").trial(|two| async move {
                blocks::blocks_stay_while_they_are_copied(two.open().await).await;
            }),
            on_two("a_service_under_load_while_its_slices_move").trial(load::moves_under_load),
        ];
        promises.chain(moves).collect::<Vec<_>>()
    });
    libtest_mimic::run(&arguments, trials.chain(late::trials()).collect()).exit();
}

/// Two databases by their addresses, each opened as often as somebody wants connections of its own.
#[derive(Clone)]
pub(crate) struct Two([(Kind, DatabaseUrl); 2]);

impl Two {
    pub(crate) async fn open(&self) -> Databases {
        let open = async |(kind, url): &(Kind, DatabaseUrl)| {
            let options = DatabaseOptions::default();
            let source: Arc<dyn Source> = match kind {
                Kind::Postgres => postgres::open(url, &options).await.unwrap(),
                Kind::MySql => mysql::open(url, &options).await.unwrap(),
                Kind::Kafka | Kind::Kafka4 => unreachable!("a bus is no store"),
            };
            source
        };
        let [home, b] = &self.0;
        Databases { home: open(home).await, b: open(b).await }
    }
}

/// The suite of all stores, while slices of what it appends are in each of the two.
impl StoreFactory for Two {
    fn open<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Arc<dyn EventStore>, StoreError>> {
        Box::pin(async {
            let databases = Self::open(self).await;
            let ids = (0..12).map(|n| Slice::of("bank-account", &format!("account {n}")).0);
            let odd: Vec<u16> = ids.filter(|slice| slice % 2 == 1).collect();
            deal(&databases.mover().await, odd, "b").await.unwrap();
            Ok(databases.store().await as Arc<dyn EventStore>)
        })
    }
}

/// A test on two databases of its own.
struct OnTwo {
    name: String,
    kinds: [Kind; 2],
}

impl OnTwo {
    fn trial<F: Future<Output = ()>>(self, test: impl FnOnce(Two) -> F + Send + 'static) -> Trial {
        let Self { name, kinds: [first, second] } = self;
        let run = move |_: &Server| {
            let place = |kind, which| {
                let url = shared(kind)?.database(which)?;
                Ok::<_, Failed>((kind, DatabaseUrl::new(url)))
            };
            let two = Two([place(first, "home")?, place(second, "b")?]);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(test(two));
            Ok(())
        };
        // it is passed over where either of the two servers is missing
        let needs_first = trial(first, name.clone(), |_| Ok(()));
        if needs_first.has_ignored_flag() { needs_first } else { trial(second, name, run) }
    }
}

async fn everything_moves(two: Two) {
    let databases = two.open().await;
    let mut owner = filled(databases.store().await).await;
    let (reader, mover) = (two.open().await.store().await, two.open().await.mover().await);
    let (before, all) = (dump(&*owner.store, 5).await, sorted(drain(&*reader, Position::default(), 7).await));
    for (to, old) in [("b", 0), ("home", 1), ("b", 0)] {
        deal(&mover, [5], to).await.unwrap();
        assert_eq!(dump(&*owner.store, 5).await, before);
        assert_eq!(sorted(drain(&*reader, Position::default(), 7).await), all);
        assert_eq!(reader.ids("account".into(), None, 100).await.unwrap().len(), 6);
        mover.purge(Slice(5), |_| {}).await.unwrap();
        let other = databases.all()[old];
        assert!(other.copy_out(Slice(5), 0, 10).await.unwrap().is_empty(), "left over");
        assert!(other.snapshot_keys(Slice(5)).await.unwrap().is_empty(), "left over");
        assert_eq!(sorted(drain(&*reader, Position::default(), 7).await), all);
    }
    owner.follow(&id_in(5, 0), 100).await.unwrap();
    owner.follow(&id_in(5, 4), 100).await.unwrap();
    let mut next = Owner::of(two.open().await.store().await).await.unwrap();
    for slice in [5, 6] {
        assert!(matches!(owner.append(&id_in(slice, 0), 101).await, Err(StoreError::Fenced { .. })));
        next.append(&id_in(slice, 0), 101).await.unwrap();
    }
}

async fn movers_die(two: Two) {
    let databases = two.open().await;
    let mut owner = filled(databases.store().await).await;
    let mut before = dump(&*owner.store, 5).await;
    let (mut number, mut targets) = (200, ["b", "home"].into_iter().cycle());
    for done in [false, true] {
        for calls in 0.. {
            let to = targets.next().unwrap();
            let mover = Mover::new(behind(&databases, Arc::new(Deadly::new(calls, done))).await);
            let died = mover.move_slice(Slice(5), to, |_| {}).await.is_err();
            number += 1;
            owner.append(&id_in(6, 0), number).await.unwrap();
            let early = owner.follow(&id_in(5, 3), number).await;
            deal(&databases.mover().await, [5], to).await.unwrap();
            if early.is_err() {
                assert!(died, "{early:?}");
                owner.follow(&id_in(5, 3), number).await.unwrap();
            }
            let now = dump(&*owner.store, 5).await;
            assert_eq!(now[1..], before[1..], "after {calls} calls");
            before = now;
            if !died {
                break;
            }
        }
    }
}

async fn rows_are_copied_once(two: Two) {
    let databases = two.open().await;
    filled(databases.store().await).await;
    let Databases { home, b } = &databases;
    let rows = async |after| {
        let records = home.copy_out(Slice(5), after, 12).await.unwrap();
        Rows { records, ..Rows::default() }
    };
    let refused = b.copy_in(Slice(5), 1, rows(0).await).await;
    assert_eq!(refused, Err(StoreError::Moved(vec![Slice(5)])), "nobody expects them");
    // as a mover that died in the middle: some rows are there, and the slice is on its way
    let mover = Mover::new(behind(&databases, Arc::new(Deadly::new(9, true))).await);
    mover.move_slice(Slice(5), "b", |_| {}).await.unwrap_err();
    let copies = [b.copy_in(Slice(5), 1, rows(0).await), b.copy_in(Slice(5), 1, rows(0).await)];
    for copied in futures_util::future::join_all(copies).await {
        copied.unwrap();
    }
    let last = b.last_sequences(vec![Slice(5)]).await.unwrap()[&Slice(5)];
    let gap = b.copy_in(Slice(5), 1, rows(last + 1).await).await;
    assert!(last >= 30 || matches!(gap, Err(StoreError::Damaged(_))), "{gap:?}");
    for late in [0, 2] {
        assert!(matches!(b.copy_in(Slice(5), late, rows(last).await).await, Err(StoreError::Moved(_))));
    }
    deal(&databases.mover().await, [5], "b").await.unwrap();
    assert_eq!(home.copy_out(Slice(5), 0, 100).await.unwrap(), b.copy_out(Slice(5), 0, 100).await.unwrap());
}

async fn bytes_stay(two: Two) {
    let databases = two.open().await;
    let owner = filled(databases.store().await).await;
    let id = stream(&id_in(5, 0));
    assert_eq!(owner.store.strip(id.clone(), 2).await, Ok(2));
    let gate = Arc::new(Deadly::new(u64::MAX, false));
    let mover = Mover::new(behind(&databases, Arc::clone(&gate)).await);
    let dies = mover.move_slice(Slice(5), "b", |_| gate.left.store(0, std::sync::atomic::Ordering::Relaxed));
    dies.await.unwrap_err();
    assert!(matches!(owner.store.strip(id.clone(), 3).await, Err(StoreError::Unavailable(_))));
    deal(&databases.mover().await, [5], "b").await.unwrap();
    let events = owner.store.read_stream(id.clone(), 1, 4).await.unwrap();
    assert_eq!(events.iter().map(StoredEvent::is_archived).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(owner.store.strip(id.clone(), 3).await, Ok(1));
    let known = row("x", None, 0).command.unwrap().dedup;
    assert!(owner.store.outcomes(vec![(id, known)]).await.unwrap()[0].is_some(), "its key still counts");
}
