//! Aggregates on their way into memory: many together, none at another's cost.

use std::time::Duration;

use phoenix_runtime::engine::EngineOptions;
use phoenix_runtime::event_store::port::StoreError;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};

use crate::tally::{Harm, add, harm, keep, steps};
use crate::world::{World, answers, options, sent, simulate, tallies};

fn name(number: usize) -> String {
    format!("a{number}")
}

/// Tallies of one step each, and nobody in memory.
async fn cold(world: &World, count: usize) {
    let engine = world.start().await;
    let of = tallies(&engine);
    let mut all = Vec::new();
    for number in 0..count {
        all.push(sent(of.ask(add(&name(number), 1))).await);
    }
    assert!(answers(all).await.iter().all(Result::is_ok));
    engine.stop().await;
}

fn unavailable() -> Step {
    Step::Fail(StoreError::Unavailable("scripted: refused".to_owned()))
}

#[test]
fn those_that_come_up_together_are_asked_for_together() {
    simulate(|world| async move {
        cold(&world, 2000).await;
        let engine = world.start().await;
        let (of, before) = (tallies(&engine), world.store.calls(Call::Load));
        let mut all = Vec::new();
        for number in 0..2000 {
            all.push(sent(of.ask(add(&name(number), 1))).await);
        }
        assert!(answers(all).await.into_iter().all(|answer| answer == Ok(2)));
        let loads = world.store.calls(Call::Load) - before;
        assert!((8..16).contains(&loads), "{loads} loads for 2000, at most 256 each");
        assert_eq!(engine.health().resident(), 2000);
    });
}

/// Together their events are more than an answer holds, and one of them has that many alone.
#[test]
fn aggregates_with_large_events_come_up_in_several_answers() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { max_message_bytes: 1 << 20, ..options() }).await;
        let of = tallies(&engine);
        let text = "x".repeat(900_000);
        for (number, events) in (0..10).map(|number| (number, 2)).chain([(10, 12)]) {
            for _ in 0..events {
                of.ask(keep(&name(number), &text)).await.unwrap();
            }
        }
        engine.stop().await;
        let engine = world.start().await;
        let (of, before) = (tallies(&engine), world.store.calls(Call::Load));
        let mut all = Vec::new();
        for number in 0..11 {
            all.push(sent(of.ask(add(&name(number), 1))).await);
        }
        let expected = (0..11).map(|number| Ok(if number < 10 { 3 } else { 13 }));
        assert!(answers(all).await.into_iter().eq(expected));
        let loads = world.store.calls(Call::Load) - before;
        assert!((2..20).contains(&loads), "{loads} loads");
    });
}

#[test]
fn one_alone_goes_at_once_and_a_few_loads_may_be_in_flight() {
    simulate(|world| async move {
        cold(&world, 10).await;
        let engine = world.start().await;
        let (of, before) = (tallies(&engine), world.store.calls(Call::Load));
        world.store.hold(Call::Load);
        let mut all = Vec::new();
        for number in 0..10 {
            all.push(sent(of.ask(add(&name(number), 1))).await);
            world.quiet().await;
            let loads = world.store.calls(Call::Load) - before;
            assert_eq!(loads, (number as u64 + 1).min(4), "nobody waits for company until four are in flight");
        }
        world.store.pass(Call::Load, 1);
        world.quiet().await;
        assert_eq!(world.store.calls(Call::Load) - before, 5, "those who waited go together");
        world.store.release(Call::Load);
        assert!(answers(all).await.into_iter().all(|answer| answer == Ok(2)));
        assert_eq!(world.store.calls(Call::Load) - before, 5);
    });
}

#[test]
fn one_that_can_not_be_read_harms_no_other() {
    simulate(|world| async move {
        cold(&world, 20).await;
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.fail_stream("a7", StoreError::Damaged("scripted".to_owned()));
        let before = world.store.calls(Call::Load);
        let mut all = Vec::new();
        for number in 0..20 {
            all.push(sent(of.ask(add(&name(number), 1))).await);
        }
        let told: Vec<_> = answers(all).await.into_iter().map(|answer| answer.map_err(|e| e.code())).collect();
        assert_eq!(told.iter().filter(|told| **told == Ok(2)).count(), 19);
        assert_eq!(told.iter().filter(|told| **told == Err(Code::Parked)).count(), 1);
        assert_eq!(engine.health().parked(), 1);
        let loads = world.store.calls(Call::Load) - before;
        assert!(loads < 12, "{loads} loads: halves, not one for each");
    });
}

#[test]
fn a_store_that_does_not_answer_is_waited_for() {
    for failures in [1, 2, 5, 30] {
        simulate(move |world| async move {
            cold(&world, 20).await;
            let engine = world.start().await;
            let of = tallies(&engine);
            for _ in 0..failures {
                world.store.next(Call::Load, unavailable());
            }
            let mut all = Vec::new();
            for number in 0..20 {
                all.push(sent(of.ask(add(&name(number), 1))).await);
            }
            assert!(answers(all).await.into_iter().all(|answer| answer == Ok(2)));
        });
    }
}

#[test]
fn a_store_that_comes_back_is_not_asked_for_all_that_waited_at_once() {
    const COLD: u64 = 256;
    simulate(|world| async move {
        cold(&world, 256).await;
        let engine = world.start().await;
        let (of, before) = (tallies(&engine), world.store.calls(Call::Load));
        world.store.hold(Call::Load);
        // until each is asked for alone
        for _ in 1..COLD {
            world.store.next(Call::Load, unavailable());
        }
        world.store.pass(Call::Load, COLD - 1);
        let mut all = Vec::new();
        for number in 0..256 {
            all.push(sent(of.ask(add(&name(number), 1)).timeout(Duration::from_hours(1))).await);
        }
        world.pass(Duration::from_mins(5)).await;
        let in_flight = world.store.calls(Call::Load) - before - (COLD - 1);
        assert!((1..=20).contains(&in_flight), "{in_flight} at a time");
        world.store.release(Call::Load);
        assert!(answers(all).await.into_iter().all(|answer| answer == Ok(2)));
    });
}

#[test]
fn a_long_stream_does_not_keep_its_neighbours_waiting() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        let mut all = Vec::new();
        for _ in 0..4000 {
            all.push(sent(of.ask(add("long", 1))).await);
        }
        answers(all).await;
        engine.stop().await;
        let engine = world.engine(EngineOptions { replay_page: 3000, ..options() }).await;
        let of = tallies(&engine);
        of.ask(add("near", 1)).await.unwrap();
        let mut long = sent(of.query(steps("long"))).await;
        let mut between = 0;
        while !long.is_told().await {
            of.ask(add("near", 1)).await.unwrap();
            between += 1;
        }
        assert_eq!(long.answer().await.unwrap().len(), 4000);
        assert!(between >= 4, "{between} commands of another one were done meanwhile");
    });
}

/// A stream of so many events more than its first, with or without harm in its first; and nobody in memory.
async fn long(world: &World, first: Option<Harm>, more: usize) {
    let engine = world.start().await;
    let of = tallies(&engine);
    match first {
        Some(first) => drop(of.ask(harm("long", first)).await.unwrap()),
        None => drop(of.ask(add("long", 1)).await.unwrap()),
    }
    let mut all = Vec::new();
    for _ in 0..more {
        all.push(sent(of.ask(add("long", 1))).await);
    }
    assert!(answers(all).await.iter().all(Result::is_ok));
    engine.stop().await;
}

#[test]
fn each_page_is_read_once_although_it_is_read_ahead() {
    for (more, pages) in [(8, 1), (9, 2), (10, 2), (38, 4), (39, 5)] {
        simulate(move |world| async move {
            long(&world, None, more).await;
            let engine = world.engine(EngineOptions { replay_page: 10, ..options() }).await;
            let before = world.store.calls(Call::ReadStream);
            assert_eq!(tallies(&engine).query(steps("long")).await.unwrap(), vec![1; more + 1]);
            assert_eq!(world.store.calls(Call::ReadStream) - before, pages, "{more}");
        });
    }
}

#[test]
fn a_page_that_is_needed_no_more_is_not_waited_for() {
    simulate(|world| async move {
        long(&world, Some(Harm::PanicInReplay), 20).await;
        let engine = world.engine(EngineOptions { replay_page: 10, ..options() }).await;
        let before = world.store.calls(Call::ReadStream);
        world.store.hold(Call::ReadStream);
        // that of the load
        world.store.pass(Call::ReadStream, 1);
        let told = tallies(&engine).query(steps("long")).await;
        assert_eq!(told.unwrap_err().code(), Code::Parked);
        assert_eq!(world.store.calls(Call::ReadStream) - before, 2, "the next one was asked for while one was applied");
        assert!(engine.drain(Duration::from_secs(10)).await);
    });
}
