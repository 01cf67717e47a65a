//! Moving a slice: what is there afterwards, what callers are told meanwhile, and a mover that dies at each of its calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::port::{Batch, Lane, Partition, Position, StoreError};
use phoenix_runtime::event_store::sources::port::{Hold, Tenure, Turn};
use phoenix_runtime::event_store::sources::{Members, MoveError, MoveStep, Mover, Source, SourcesStore};
use phoenix_runtime::event_store::{EventStore, MemoryStore};
use phoenix_runtime::testkit::gated_source::{Gate, GatedSource};

use crate::support::{
    Databases, Deadly, Owner, behind, deal, drain, dump, filled, id_in, members_of, row, sorted, stream,
};

#[tokio::test]
async fn everything_moves_and_nothing_changes() {
    let databases = Databases::default();
    let mut owner = filled(databases.store().await).await;
    let reader = databases.store().await;
    let mover = databases.mover().await;
    let (before, all) = (dump(&*owner.store, 5).await, drain(&*reader, Position::default(), 7).await);
    let (_, middle) = reader.read_all(Position::default(), 11).await.unwrap();
    let rest = sorted(drain(&*reader, middle.clone(), 7).await);
    for (to, lane) in [("b", 1), ("home", 0), ("b", 1)] {
        deal(&mover, [5], to).await.unwrap();
        assert_eq!(dump(&*owner.store, 5).await, before);
        assert_eq!(owner.store.lane(Slice(5)), Lane(lane));
        assert_eq!(owner.store.lane(Slice(6)), Lane(0));
        // a reader with an old map, in the middle of its pages
        assert_eq!(sorted(drain(&*reader, middle.clone(), 7).await), rest);
        mover.purge(Slice(5), |_| {}).await.unwrap();
        assert_eq!(drain(&*reader, Position::default(), 7).await.1, all.1);
        let other = databases.all()[1 - usize::from(lane)];
        assert!(other.copy_out(Slice(5), 0, 10).await.unwrap().is_empty(), "left over");
    }
    owner.append(&id_in(5, 0), 100).await.unwrap();
    let ids = reader.ids("account".into(), None, 100).await.unwrap();
    assert_eq!(ids.len(), 6);
    let (late, _) = drain(&*reader, all.1, 7).await;
    assert_eq!(late.len(), 1);
    assert_eq!(reader.event_names("account".into()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_append_in_the_old_lane_is_told_that_its_slice_moved() {
    let databases = Databases::default();
    let mut owner = filled(databases.store().await).await;
    let batch = owner.decide(&id_in(5, 0), 50, true).await.unwrap();
    let other = owner.decide(&id_in(6, 0), 50, true).await.unwrap();
    let both =
        Batch { records: [&*other, &*batch].iter().flat_map(|b| b.records.clone()).collect(), ..(*other).clone() };
    let old = owner.lane(&batch);
    deal(&databases.mover().await, [5], "b").await.unwrap();
    let refused = owner.store.append_in(old, Arc::new(both.clone())).await;
    assert_eq!(refused, Err(StoreError::Moved(vec![Slice(5)])));
    assert_eq!(owner.lane(&batch), Lane(1), "the new lane is known at once");
    assert_eq!(owner.store.append_in(old, Arc::clone(&batch)).await, Err(StoreError::Moved(vec![Slice(5)])));
    assert!(matches!(owner.store.append(Arc::new(both)).await, Err(StoreError::Refused { index: 1, .. })));
    owner.store.append_in(Lane(1), batch).await.unwrap();
    owner.store.append_in(old, other).await.unwrap();
}

#[tokio::test]
async fn while_a_slice_is_on_its_way_others_go_on() {
    let databases = Databases::default();
    let mut owner = filled(databases.store().await).await;
    let reader = databases.store().await;
    // as a mover leaves it that dies when it has taken the slice away
    let gate = Arc::new(Deadly::new(u64::MAX, false));
    let mover = Mover::new(behind(&databases, Arc::clone(&gate)).await);
    let died = mover.move_slice(Slice(5), "b", |step| {
        if step == MoveStep::TakenAway {
            gate.left.store(0, Ordering::Relaxed);
        }
    });
    assert!(died.await.is_err());
    let five = id_in(5, 0);
    assert_eq!(owner.append(&five, 50).await, Err(StoreError::Moved(vec![Slice(5)])));
    assert!(matches!(owner.store.read_stream(stream(&five), 1, 9).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        owner.store.outcomes(vec![(stream(&five), row(&five, None, 1).command.unwrap().dedup)]).await,
        Err(StoreError::Unavailable(_))
    ));
    owner.append(&id_in(6, 0), 50).await.unwrap();
    // a reader gets all, an owner starts, and what is left of the old one is fenced everywhere
    assert_eq!(drain(&*reader, Position::default(), 7).await.0.len(), 43);
    let mut next = Owner::of(databases.store().await).await.unwrap();
    assert!(matches!(owner.append(&id_in(6, 0), 51).await, Err(StoreError::Fenced { .. })));
    deal(&databases.mover().await, [5], "b").await.unwrap();
    assert!(matches!(owner.append(&five, 52).await, Err(StoreError::Moved(_) | StoreError::Fenced { .. })));
    assert!(matches!(owner.append(&five, 52).await, Err(StoreError::Fenced { .. })));
    next.append(&five, 53).await.unwrap();
}

#[tokio::test]
async fn a_move_can_be_called_off_until_the_slice_is_taken_away() {
    let databases = Databases::default();
    let mut owner = filled(databases.store().await).await;
    let before = dump(&*owner.store, 5).await;
    for lived in 0..40 {
        let gate = Arc::new(Deadly::new(lived, false));
        let mover = Mover::new(behind(&databases, gate).await);
        if mover.move_slice(Slice(5), "b", |_| {}).await.is_ok() {
            break;
        }
        let mover = databases.mover().await;
        let away = databases.home.tenures(None).await.unwrap().unwrap().of(Slice(5)).hold == Hold::Away;
        match mover.stay(Slice(5)).await {
            Ok(()) => {
                assert!(!away);
                mover.purge(Slice(5), |_| {}).await.unwrap();
                assert!(databases.b.copy_out(Slice(5), 0, 1).await.unwrap().is_empty());
            }
            Err(MoveError::Idle(_)) => assert!(mover.status().await.unwrap().moving.is_empty()),
            Err(MoveError::TooLate(_)) => {
                assert!(away);
                deal(&mover, [5], "b").await.unwrap();
                deal(&mover, [5], "home").await.unwrap();
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(dump(&*owner.store, 5).await, before);
    }
    owner.follow(&id_in(5, 0), 50).await.unwrap();
}

#[tokio::test]
async fn a_mover_that_dies_at_any_call_is_resumed() {
    let mut deaths = 0;
    for done in [false, true] {
        for calls in 0.. {
            let databases = Databases::default();
            let mut owner = filled(databases.store().await).await;
            let before = dump(&*owner.store, 5).await;
            let mover = Mover::new(behind(&databases, Arc::new(Deadly::new(calls, done))).await);
            let died = mover.move_slice(Slice(5), "b", |_| {}).await.is_err();
            let six = id_in(6, 1);
            owner.append(&six, 60).await.unwrap();
            // commands of the slice itself, which may have to wait
            let five = id_in(5, 3);
            let appended = owner.follow(&five, 61).await;
            let mover = databases.mover().await;
            deal(&mover, [5], "b").await.unwrap();
            if appended.is_err() {
                assert!(died, "{appended:?}");
                owner.follow(&five, 61).await.unwrap();
            }
            mover.purge(Slice(5), |_| {}).await.unwrap();
            assert_eq!(dump(&*owner.store, 5).await[1..], before[1..], "after {calls} calls");
            assert_eq!(owner.store.lane(Slice(5)), Lane(1));
            assert_eq!(owner.store.read_stream(stream(&five), 1, 9).await.unwrap().len(), 1);
            let all = drain(&*databases.store().await, Position::default(), 7).await.0;
            assert_eq!(all.len(), 6 * 7 + 2);
            if !died {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 30, "{deaths}");
}

#[tokio::test]
async fn what_a_mover_does_too_late_has_no_effect() {
    let databases = Databases::default();
    let mut owner = filled(databases.store().await).await;
    let mover = databases.mover().await;
    for to in ["b", "home", "b", "home"] {
        deal(&mover, [5], to).await.unwrap();
    }
    let held = Tenure { hold: Hold::Held, since: 4 };
    for number in 1..4 {
        for turn in [Turn::Leave, Turn::TakeAway, Turn::Stay] {
            assert_eq!(databases.home.turn(Slice(5), turn, number).await, Ok(held));
        }
        for turn in [Turn::Receive, Turn::Hold] {
            assert_eq!(databases.b.turn(Slice(5), turn, number).await.unwrap().hold, Hold::Away);
        }
        let rows = phoenix_runtime::event_store::sources::port::Rows::default();
        for store in databases.all() {
            assert_eq!(store.copy_in(Slice(5), number, rows.clone()).await, Err(StoreError::Moved(vec![Slice(5)])));
            assert!(store.purge(Slice(5), number, 10).await.is_err(), "rows that may be needed");
        }
    }
    owner.follow(&id_in(5, 0), 50).await.unwrap();
}

#[tokio::test]
async fn a_new_owner_fences_the_old_one_in_every_database() {
    let databases = Databases::default();
    deal(&databases.mover().await, [5], "b").await.unwrap();
    let mut old = filled(databases.store().await).await;
    let mut new = Owner::of(databases.store().await).await.unwrap();
    assert_eq!(new.epochs[0].1.0, 2);
    for slice in [5, 6] {
        let refused = old.append(&id_in(slice, 0), 70).await;
        assert!(matches!(refused, Err(StoreError::Fenced { partition: Partition(0), .. })), "{refused:?}");
        let lane = old.store.lane(Slice(slice));
        let confirms = Arc::new(Batch { epochs: old.epochs.clone(), records: Vec::new() });
        assert!(matches!(old.store.append_in(lane, confirms).await, Err(StoreError::Fenced { .. })));
        new.append(&id_in(slice, 0), 70).await.unwrap();
    }
}

#[tokio::test]
async fn an_owner_that_acquires_late_does_not_undo_the_latest() {
    let databases = Databases::default();
    let epochs = databases.home.acquire(vec![Partition(0), Partition(1)]).await.unwrap();
    let mut latest = Owner::of(databases.store().await).await.unwrap();
    // the first one comes to the second database only now
    assert!(matches!(databases.b.adopt(epochs).await, Err(StoreError::Fenced { .. })));
    deal(&databases.mover().await, [5], "b").await.unwrap();
    latest.follow(&id_in(5, 0), 1).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_down_stops_its_slices_alone() {
    let databases = Databases::default();
    deal(&databases.mover().await, [5], "b").await.unwrap();
    filled(databases.store().await).await;
    let gate = Arc::new(Deadly::new(u64::MAX, false));
    let b = GatedSource::new(Arc::clone(&databases.b), Arc::clone(&gate) as Arc<dyn Gate>);
    let members = members_of(Arc::clone(&databases.home), Arc::new(b)).await.unwrap();
    let mut owner = Owner::of(Arc::new(SourcesStore::open(members).await.unwrap())).await.unwrap();
    for slice in [5, 6] {
        owner.append(&id_in(slice, 0), 80).await.unwrap();
    }
    gate.left.store(0, Ordering::Relaxed);
    let down = owner.append(&id_in(5, 0), 81).await;
    assert!(matches!(&down, Err(StoreError::Unavailable(text)) if text.contains("source `b`")), "{down:?}");
    owner.append(&id_in(6, 0), 81).await.unwrap();
    assert_eq!(owner.store.read_stream(stream(&id_in(6, 0)), 1, 100).await.unwrap().len(), 9);
    let (some, position) = owner.store.read_all(Position::default(), 100).await.unwrap();
    assert_eq!(some.len(), 23, "what is there is served");
    let end = owner.store.read_all(position.clone(), 100).await;
    assert!(matches!(end, Err(StoreError::Unavailable(_))), "and what is missing does not look like the end");
    gate.left.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(drain(&*owner.store, position, 100).await.0.len(), 22);
}

#[tokio::test]
async fn what_can_not_be_moved_is_told() {
    let databases = Databases::default();
    let mover = databases.mover().await;
    let says = async |slice, to: &str| mover.move_slice(Slice(slice), to, |_| {}).await.unwrap_err().to_string();
    assert!(says(1024, "b").await.contains("slices go from 0 to 1023"));
    assert!(says(1, "c").await.contains("no source `c`; there are `home`, `b`"));
    assert!(mover.stay(Slice(1)).await.unwrap_err().to_string().contains("not being moved"));
    let others = [("b", Arc::clone(&databases.b)), ("c", Arc::new(MemoryStore::new()) as Arc<dyn Source>)];
    let others = others.map(|(name, store)| (name.to_owned(), store)).into();
    let three = Mover::new(Members::open(Arc::clone(&databases.home), others).await.unwrap());
    let dead = Mover::new(behind_two(&three, &databases).await);
    assert!(dead.move_slice(Slice(1), "b", |_| {}).await.is_err());
    let busy = three.move_slice(Slice(1), "c", |_| {}).await.unwrap_err().to_string();
    assert!(busy.contains("being moved to `b`"), "{busy}");
}

/// Members of which the second is dead as soon as the map is written.
async fn behind_two(_: &Mover, databases: &Databases) -> Members {
    let gate = Arc::new(Deadly::new(u64::MAX, false));
    let b = GatedSource::new(Arc::clone(&databases.b), Arc::clone(&gate) as Arc<dyn Gate>);
    let others = [("b", Arc::new(b) as Arc<_>), ("c", Arc::new(MemoryStore::new()) as Arc<_>)];
    let others = others.map(|(name, store)| (name.to_owned(), store)).into();
    let members = Members::open(Arc::clone(&databases.home), others).await.unwrap();
    gate.left.store(0, Ordering::Relaxed);
    members
}

/// Fails every call, once it is told to.
#[derive(Default)]
struct Down(std::sync::atomic::AtomicBool);

impl Gate for Down {
    fn before(&self, _: &'static str) -> BoxFuture<'_, Result<(), StoreError>> {
        let down = self.0.load(Ordering::Relaxed);
        Box::pin(std::future::ready(if down { Err(StoreError::Unavailable("down".to_owned())) } else { Ok(()) }))
    }

    fn after(&self, call: &'static str) -> BoxFuture<'_, Result<(), StoreError>> {
        self.before(call)
    }
}

#[tokio::test]
async fn a_database_that_was_emptied_and_went_is_asked_no_more() {
    for question in 0..6 {
        let databases = Databases::default();
        let gate = Arc::new(Down::default());
        let b = Arc::new(GatedSource::new(Arc::clone(&databases.b), Arc::clone(&gate) as Arc<dyn Gate>));
        deal(&databases.mover().await, [5], "b").await.unwrap();
        let members = members_of(Arc::clone(&databases.home), b).await.unwrap();
        let mut owner = filled(Arc::new(SourcesStore::open(members).await.unwrap())).await;
        let (id, events) = (id_in(5, 0), drain(&*owner.store, Position::default(), 7).await.0.len());
        let batch = owner.decide(&id, 50, true).await.unwrap();
        assert_eq!(owner.lane(&batch), Lane(1));

        deal(&databases.mover().await, [5], "home").await.unwrap();
        gate.0.store(true, Ordering::Relaxed);
        // each of these is the first that this node hears of it
        match question {
            0 => assert_eq!(owner.store.read_stream(stream(&id), 1, 3).await.map(|found| found.len()), Ok(3)),
            1 => {
                let commands = batch.records.iter().map(|r| (stream(&id), r.command.as_ref().unwrap().dedup)).collect();
                assert_eq!(owner.store.outcomes(commands).await, Ok(vec![None]));
            }
            2 => {
                let refused = owner.store.append_in(Lane(1), Arc::clone(&batch)).await;
                assert_eq!(refused, Err(StoreError::Moved(vec![Slice(5)])));
                owner.store.append_in(owner.lane(&batch), batch).await.unwrap();
            }
            3 => assert_eq!(drain(&*owner.store, Position::default(), 1000).await.0.len(), events),
            4 => assert_eq!(owner.store.ids("account".into(), None, 100).await.map(|ids| ids.len()), Ok(6)),
            _ => {
                // what rests on no slice at all
                let confirms = Arc::new(Batch { epochs: owner.epochs.clone(), records: Vec::new() });
                owner.store.append_in(Lane(1), Arc::clone(&confirms)).await.unwrap();
                Owner::of(Arc::clone(&databases.home) as Arc<dyn EventStore>).await.unwrap();
                let late = owner.store.append_in(Lane(1), confirms).await;
                assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_database_that_is_down_and_has_its_slices_is_not_available() {
    let databases = Databases::default();
    let gate = Arc::new(Down::default());
    let b = Arc::new(GatedSource::new(Arc::clone(&databases.b), Arc::clone(&gate) as Arc<dyn Gate>));
    deal(&databases.mover().await, [5], "b").await.unwrap();
    let members = members_of(Arc::clone(&databases.home), b).await.unwrap();
    let mut owner = filled(Arc::new(SourcesStore::open(members).await.unwrap())).await;
    let batch = owner.decide(&id_in(5, 0), 50, true).await.unwrap();
    gate.0.store(true, Ordering::Relaxed);
    let down = |error: StoreError| assert!(error.to_string().contains("source `b`: down"), "{error}");
    down(owner.store.read_stream(stream(&id_in(5, 0)), 1, 3).await.unwrap_err());
    down(owner.store.append_in(Lane(1), batch).await.unwrap_err());
    down(owner.store.ids("account".into(), None, 100).await.unwrap_err());
    owner.append(&id_in(6, 0), 51).await.unwrap();
}
