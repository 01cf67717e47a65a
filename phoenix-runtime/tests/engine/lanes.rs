//! Several databases: each has a lane of its own, and slices move between them.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::domain::id::{Slice, identity_hash};
use phoenix_runtime::engine::{EngineOptions, Overflow};
use phoenix_runtime::event_store::port::{EventStore as _, Lane, StoreError};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::lane_map::LaneMap;
use phoenix_runtime::testkit::scripted_store::{Appended, Call, ScriptedStore, Step};

use crate::tally::{add, say, steps, take};
use crate::world::{World, answers, options, sent, simulate, tallies};

const LEFT: Lane = Lane(0);
const RIGHT: Lane = Lane(1);

/// A world whose slices are dealt to two databases.
fn divided(world: World) -> World {
    let store = ScriptedStore::with_lanes(Arc::new(world.memory.clone()), LaneMap::new(2));
    World { store, ..world }
}

fn slice(id: &str) -> Slice {
    Slice::from_hash(identity_hash("tally", id))
}

/// The nth tally of a database.
fn tally(world: &World, lane: Lane, nth: usize) -> String {
    let ids = (0..).map(|number| format!("t{number}"));
    ids.filter(|id| world.store.lane_map().lane(slice(id)) == lane).nth(nth).unwrap()
}

#[test]
fn each_database_has_an_append_of_its_own_in_flight() {
    simulate(|world| async move {
        let world = divided(world);
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let mut all = Vec::new();
        for nth in 0..20 {
            for lane in [LEFT, RIGHT] {
                all.push(sent(of.ask(add(&tally(&world, lane, nth), 1))).await);
            }
            world.quiet().await;
        }
        assert_eq!(world.store.calls(Call::Append), 2, "one in flight for each");
        world.store.release(Call::Append);
        assert!(answers(all).await.iter().all(Result::is_ok));
        assert_eq!(world.store.most_in_flight(), 2);
        let moved = |a: &Appended| matches!(a.outcome, Err(StoreError::Moved(_)));
        assert!(!world.store.appended().iter().any(moved), "each batch is of one database");
    });
}

#[test]
fn a_database_that_does_not_answer_does_not_stop_the_others() {
    simulate(|world| async move {
        let world = divided(world);
        let limits = EngineOptions { max_batch: 8, mailbox_capacity: 64, overflow: Overflow::Fail, ..options() };
        let engine = world.engine(limits).await;
        let of = tallies(&engine);
        let (warm, healthy) = (tally(&world, LEFT, 0), tally(&world, RIGHT, 0));
        of.ask(add(&warm, 1)).await.unwrap();
        world.store.hold_lane(LEFT);
        let mut stuck = Vec::new();
        for nth in 0..100 {
            // appends and activations that wait, possible repeats too
            let keyed = of.ask(add(&warm, 1)).idempotency_key(format!("k{nth}")).timeout(Duration::from_hours(1));
            stuck.push(sent(keyed).await);
            stuck.push(sent(of.ask(add(&tally(&world, LEFT, nth), 1)).timeout(Duration::from_hours(1))).await);
            world.quiet().await;
            assert!(of.ask(add(&healthy, 1)).await.is_ok(), "{nth}");
            assert!(of.ask(add(&tally(&world, RIGHT, nth + 1), 1)).idempotency_key("k").await.is_ok(), "{nth}");
            assert!(of.query(steps(&healthy)).await.is_ok(), "{nth}");
            assert_eq!(of.ask(take(&healthy, 10_000)).await.unwrap_err().code(), Code::Rejected);
        }
        world.store.release_lane(LEFT);
        let told: Vec<_> = answers(stuck).await.into_iter().map(|answer| answer.map_err(|e| e.code())).collect();
        let done = told.iter().filter(|told| told.is_ok()).count();
        assert!((33..=50).contains(&done), "{done}: its share of the mailbox, and two batches");
        assert!(told.iter().all(|told| told.is_ok() || *told == Err(Code::MailboxFull)), "{told:?}");
        let mut stored = 0;
        for nth in 0..100 {
            stored += world.events("tally", &tally(&world, LEFT, nth)).await.len();
        }
        assert_eq!(stored, done + 1, "what was refused was not done, and all else once");
    });
}

#[test]
fn where_overflow_waits_a_database_that_is_behind_is_waited_for_within_a_bound() {
    for comes_back in [true, false] {
        simulate(move |world| async move {
            let world = divided(world);
            let limits = EngineOptions { max_batch: 1, mailbox_capacity: 8, aggregate_queue: 6, ..options() };
            let engine = world.engine(EngineOptions { overflow_wait: Duration::from_secs(5), ..limits }).await;
            let of = tallies(&engine);
            let (stuck, healthy) = (tally(&world, LEFT, 0), tally(&world, RIGHT, 0));
            answers(vec![sent(of.ask(add(&stuck, 1))).await, sent(of.ask(add(&healthy, 1))).await]).await;
            world.store.hold_lane(LEFT);
            let mut all = Vec::new();
            for _ in 0..12 {
                all.push(sent(of.ask(add(&stuck, 1)).timeout(Duration::from_hours(1))).await);
                world.quiet().await;
            }
            world.pass(Duration::from_secs(4)).await;
            assert!(of.ask(add(&healthy, 1)).await.is_ok());
            let mut told = 0;
            for call in &mut all {
                told += usize::from(call.is_told().await);
            }
            assert_eq!(told, 2, "two batches, five held, three behind them, and no more");
            if !comes_back {
                world.pass(Duration::from_secs(2)).await;
                assert!(all[7].is_told().await, "the bound has passed");
            }
            world.store.release_lane(LEFT);
            let told = answers(all).await.into_iter().map(|answer| answer.map_err(|e| e.code()));
            let done = if comes_back { 10 } else { 7 };
            let expected = (0..12).map(|nth| if nth < done { Ok(nth + 2) } else { Err(Code::MailboxFull) });
            assert!(told.eq(expected), "in their order");
            assert!(of.ask(add(&stuck, 1)).await.is_ok(), "there is room again");
        });
    }
}

#[test]
fn a_database_that_does_not_answer_holds_its_own_share_of_the_bytes() {
    simulate(|world| async move {
        let world = divided(world);
        let engine = world.engine(EngineOptions { max_held_bytes: 128 * 1024, ..options() }).await;
        let of = tallies(&engine);
        let (stuck, healthy, large) = (tally(&world, LEFT, 0), tally(&world, RIGHT, 0), "x".repeat(20 * 1024));
        answers(vec![sent(of.ask(add(&stuck, 1))).await, sent(of.ask(add(&healthy, 1))).await]).await;
        world.store.hold_lane(LEFT);
        let mut all = Vec::new();
        for _ in 0..10 {
            all.push(sent(of.ask(say(&stuck, &large)).timeout(Duration::from_hours(1))).await);
            world.quiet().await;
            let told = of.ask(say(&healthy, &large)).timeout(Duration::from_secs(1)).await;
            assert!(told.is_ok(), "{told:?}");
        }
        world.store.release_lane(LEFT);
        let told: Vec<_> =
            answers(all).await.into_iter().map(|answer| answer.map(drop).map_err(|e| e.code())).collect();
        assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 3, "half of the bytes: {told:?}");
        assert!(told.iter().all(|told| matches!(told, Ok(()) | Err(Code::MailboxFull))), "{told:?}");
        assert!(of.ask(say(&stuck, &large)).await.is_ok(), "there is room again");
    });
}

#[test]
fn the_commands_of_a_slice_that_moves_are_done_once_and_in_order() {
    simulate(|world| async move {
        let world = divided(world);
        let engine = world.engine(EngineOptions { max_batch: 4, ..options() }).await;
        let of = tallies(&engine);
        let (mover, stays, there) = (tally(&world, LEFT, 0), tally(&world, LEFT, 1), tally(&world, RIGHT, 0));
        answers(vec![sent(of.ask(add(&mover, 1))).await, sent(of.ask(add(&stays, 1))).await]).await;
        world.store.hold_lane(LEFT);
        // in flight: the neighbour alone, so that nothing tells of the move but the batch behind it
        let mut neighbour = vec![sent(of.ask(add(&stays, 2))).await];
        world.quiet().await;
        let mut all = Vec::new();
        // two fit into the open batch beside the neighbour, the rest is put off
        for amount in [2, 3, 4, 5, 6] {
            all.push(sent(of.ask(add(&mover, amount))).await);
            world.quiet().await;
            neighbour.push(sent(of.ask(add(&stays, 3))).await);
            world.quiet().await;
        }
        world.store.lane_map().relocate(slice(&mover), RIGHT);
        world.store.release_lane(LEFT);
        all.push(sent(of.ask(add(&mover, 7))).await);
        neighbour.push(sent(of.ask(add(&there, 9))).await);
        assert_eq!(answers(all).await, [Ok(3), Ok(6), Ok(10), Ok(15), Ok(21), Ok(28)]);
        let neighbours = answers(neighbour).await;
        assert_eq!(neighbours, [Ok(3), Ok(6), Ok(9), Ok(12), Ok(15), Ok(18), Ok(9)]);
        assert_eq!(of.query(steps(&mover)).await.unwrap(), [1, 2, 3, 4, 5, 6, 7]);
        let refused = world.store.appended().iter().filter(|a| a.outcome.is_err()).count();
        assert_eq!(refused, 1, "the first batch that had it; nothing of it was left in the old lane");
    });
}

#[test]
fn nothing_of_a_slice_that_moved_is_left_in_its_old_database() {
    simulate(|world| async move {
        let world = divided(world);
        let engine = world.start().await;
        let of = tallies(&engine);
        let mover = tally(&world, LEFT, 0);
        let twin = (0..100_000).map(|number| format!("twin{number}")).find(|id| slice(id) == slice(&mover)).unwrap();
        answers(vec![sent(of.ask(add(&mover, 1))).await, sent(of.ask(add(&twin, 1))).await]).await;
        world.store.hold_lane(LEFT);
        let first = sent(of.ask(add(&mover, 2))).await;
        world.quiet().await;
        // another aggregate of that slice, decided in the batch behind
        let behind = vec![sent(of.ask(add(&twin, 2))).await, sent(of.ask(add(&twin, 3))).await];
        world.quiet().await;
        world.store.lane_map().relocate(slice(&mover), RIGHT);
        world.store.release_lane(LEFT);
        assert_eq!(first.answer().await, Ok(3));
        assert_eq!(answers(behind).await, [Ok(3), Ok(6)]);
        assert_eq!(world.store.appended().iter().filter(|a| a.outcome.is_err()).count(), 1);
    });
}

#[test]
fn what_was_stored_before_its_slice_moved_is_told() {
    for script in [vec![Step::Lose], vec![Step::Fail(StoreError::Unknown("scripted: torn".to_owned()))]] {
        simulate(move |world| {
            let script = script.clone();
            async move {
                let world = divided(world);
                let engine = world.start().await;
                let of = tallies(&engine);
                let (mover, stays) = (tally(&world, LEFT, 0), tally(&world, LEFT, 1));
                answers(vec![sent(of.ask(add(&mover, 1))).await, sent(of.ask(add(&stays, 1))).await]).await;
                for step in script {
                    world.store.next(Call::Append, step);
                }
                let all = vec![sent(of.ask(add(&mover, 2))).await, sent(of.ask(add(&stays, 2))).await];
                world.quiet().await;
                world.store.lane_map().relocate(slice(&mover), RIGHT);
                let behind = sent(of.ask(add(&mover, 3))).await;
                assert_eq!(answers(all).await, [Ok(3), Ok(3)]);
                assert_eq!(behind.answer().await, Ok(6));
                assert_eq!(of.ask(add(&stays, 3)).await, Ok(6));
                assert_eq!(world.events("tally", &mover).await.len(), 3);
                assert_eq!(world.events("tally", &stays).await.len(), 3);
                assert!(!engine.health().is_fenced());
            }
        });
    }
}

#[test]
fn rows_that_arrive_after_their_slice_moved_and_came_back_count_once() {
    simulate(|world| async move {
        let world = divided(world);
        let engine = world.start().await;
        let of = tallies(&engine);
        let (mover, stays) = (tally(&world, LEFT, 0), tally(&world, LEFT, 1));
        answers(vec![sent(of.ask(add(&mover, 1))).await, sent(of.ask(add(&stays, 1))).await]).await;
        world.store.next(Call::Append, Step::Fail(StoreError::Unknown("scripted: torn".to_owned())));
        let all = vec![sent(of.ask(add(&mover, 2))).await, sent(of.ask(add(&stays, 2))).await];
        world.quiet().await;
        let torn = world.store.appended().pop().unwrap().batch;
        world.store.lane_map().relocate(slice(&mover), RIGHT);
        // it is looked up, is not there, and is decided anew; both databases hang before that is stored
        world.store.hold(Call::Append);
        world.pass(Duration::from_secs(1)).await;
        world.store.pass(Call::Append, 1);
        world.pass(Duration::from_secs(1)).await;
        // now the first attempt arrives after all
        world.memory.append(torn).await.unwrap();
        world.store.release(Call::Append);
        assert_eq!(answers(all).await, [Ok(3), Ok(3)]);
        assert_eq!(of.ask(add(&mover, 3)).await, Ok(6));
        assert_eq!(of.ask(add(&stays, 3)).await, Ok(6));
        assert_eq!(world.events("tally", &mover).await.len(), 3);
        assert!(!engine.health().is_fenced(), "it is no other owner");
    });
}

#[test]
fn a_slice_on_the_move_is_waited_for_by_nobody_else() {
    simulate(|world| async move {
        let world = divided(world);
        let engine = world.start().await;
        let of = tallies(&engine);
        let (mover, stays) = (tally(&world, LEFT, 0), tally(&world, LEFT, 1));
        answers(vec![sent(of.ask(add(&mover, 1))).await, sent(of.ask(add(&stays, 1))).await]).await;
        // nobody has the slice: its appends are refused, and it can't be read
        world.store.next(Call::Append, Step::Fail(StoreError::Moved(vec![slice(&mover)])));
        let waits = sent(of.ask(add(&mover, 2))).await;
        world.store.hold_stream(&mover);
        let goes_on = sent(of.ask(add(&stays, 2))).await;
        assert_eq!(goes_on.answer().await, Ok(3));
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(of.ask(add(&stays, 3)).await, Ok(6));
        world.store.release_stream(&mover);
        assert_eq!(waits.answer().await, Ok(3));
        assert_eq!(world.events("tally", &mover).await.len(), 2);
    });
}

#[test]
fn a_slice_that_stays_away_fails_one_batch_and_no_more() {
    simulate(|world| async move {
        let world = divided(world);
        let engine = world.start().await;
        let of = tallies(&engine);
        let (first, stays) = (tally(&world, LEFT, 0), tally(&world, LEFT, 1));
        let twins = (0..1_000_000).map(|number| format!("twin{number}")).filter(|id| slice(id) == slice(&first));
        let warm: Vec<String> = twins.take(4).chain([first.clone()]).collect();
        for id in warm.iter().chain([&stays]) {
            assert_eq!(of.ask(add(id, 1)).await, Ok(1));
        }
        let failed = || world.store.appended().iter().filter(|a| a.outcome.is_err()).count();
        world.store.lane_map().take_away(slice(&first));
        let mut waiting = Vec::new();
        for id in &warm {
            // each is in memory, and none of them has met the store since
            waiting.push(sent(of.ask(add(id, 2))).await);
            waiting.push(sent(of.ask(add(id, 3))).await);
            let goes_on = sent(of.ask(add(&stays, 1))).await;
            world.pass(Duration::from_millis(100)).await;
            goes_on.answer().await.unwrap();
        }
        assert_eq!(failed(), 1, "only the batch by which it was found out");
        world.store.lane_map().relocate(slice(&first), RIGHT);
        let expected: Vec<_> = warm.iter().flat_map(|_| [Ok(3), Ok(6)]).collect();
        assert_eq!(answers(waiting).await, expected);
        assert_eq!(failed(), 1, "and where it is now is known before the next one");
        assert_eq!(of.ask(add(&stays, 1)).await, Ok(7));
    });
}
