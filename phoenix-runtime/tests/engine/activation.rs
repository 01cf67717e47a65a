//! Aggregates on their way into memory: many together, none at another's cost.

use phoenix_runtime::engine::EngineOptions;
use phoenix_runtime::event_store::port::StoreError;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};

use crate::tally::{add, steps};
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

fn damaged() -> Step {
    Step::Fail(StoreError::Damaged("scripted".to_owned()))
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
        // together, and then one of them alone
        world.store.next(Call::Load, damaged());
        world.store.next(Call::Load, damaged());
        let mut all = Vec::new();
        for number in 0..20 {
            all.push(sent(of.ask(add(&name(number), 1))).await);
        }
        let told: Vec<_> = answers(all).await.into_iter().map(|answer| answer.map_err(|e| e.code())).collect();
        assert_eq!(told.iter().filter(|told| **told == Ok(2)).count(), 19);
        assert_eq!(told.iter().filter(|told| **told == Err(Code::Parked)).count(), 1);
        assert_eq!(engine.health().parked(), 1);
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
