//! Two engines over one store: the newer one owns it, whatever the older one believes.

use std::time::Duration;

use phoenix_runtime::event_store::port::StoreError;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};

use crate::tally::{add, steps, take, touch};
use crate::world::{self, World, answers, sent, simulate, tallies};

/// What the older engine tells, in a world where it has not heard of the newer one.
async fn told_by_the_older(world: &World, what: &str) -> Code {
    let old = world.start().await;
    tallies(&old).ask(add("a", 1)).await.unwrap();
    let new = world.start().await;
    assert_eq!(tallies(&new).ask(add("a", 2)).await, Ok(3));
    let of = tallies(&old);
    assert!(!old.health().is_fenced());
    let told = match what {
        "append" => of.ask(add("a", 5)).await.unwrap_err().code(),
        "rejection" => of.ask(take("a", 100)).await.unwrap_err().code(),
        "reply without events" => of.ask(touch("a")).await.unwrap_err().code(),
        "not found" => of.query(steps("nobody")).await.unwrap_err().code(),
        _ => of.query(steps("a")).await.unwrap_err().code(),
    };
    assert!(old.health().is_fenced());
    assert!(!new.health().is_fenced());
    assert_eq!(tallies(&new).query(steps("a")).await.unwrap(), [1, 2], "{what}");
    told
}

#[test]
fn an_older_owner_is_refused_whatever_it_tells() {
    for what in ["append", "rejection", "reply without events", "query", "not found"] {
        simulate(move |world| async move {
            assert_eq!(told_by_the_older(&world, what).await, Code::OwnershipLost, "{what}");
        });
    }
}

#[test]
fn an_older_owner_that_has_heard_of_it_refuses_at_once_and_forgets() {
    simulate(|world| async move {
        let old = world.start().await;
        for number in 0..100 {
            tallies(&old).ask(add(&format!("a{number}"), 1)).await.unwrap();
        }
        let new = world.start().await;
        for number in 0..100 {
            let told = tallies(&old).ask(add(&format!("a{number}"), 1)).await;
            assert_eq!(told.unwrap_err().code(), Code::OwnershipLost);
        }
        assert_eq!(old.health().resident(), 0);
        let appends = world.store.appended().len();
        assert_eq!(tallies(&old).query(steps("a1")).await.unwrap_err().code(), Code::OwnershipLost);
        assert_eq!(world.store.appended().len(), appends);
        assert_eq!(tallies(&new).ask(add("a1", 1)).await, Ok(2));
    });
}

#[test]
fn the_newer_owner_goes_on_where_the_older_one_stopped() {
    simulate(|world| async move {
        let old = world.start().await;
        tallies(&old).ask(add("a", 1)).idempotency_key("k").await.unwrap();
        let new = world.start().await;
        let repeat = tallies(&new).ask(add("a", 1)).idempotency_key("k").answer().await.unwrap();
        assert!(repeat.replayed);
        assert_eq!(tallies(&new).ask(add("a", 1)).await, Ok(2));
    });
}

#[test]
fn who_was_in_a_torn_batch_hears_what_became_of_it() {
    // the answer is lost, or the rows are, before a newer engine owns them
    for (step, stored) in [(Step::Lose, true), (Step::Fail(StoreError::Unknown("scripted: torn".to_owned())), false)] {
        simulate(move |world| {
            let step = step.clone();
            async move {
                let old = world.start().await;
                let of = tallies(&old);
                let names: Vec<_> = (0..20).map(|number| format!("a{number}")).collect();
                for name in &names {
                    of.ask(add(name, 1)).await.unwrap();
                }
                world.store.next(Call::Append, step);
                let mut all = Vec::new();
                for name in &names {
                    all.push(sent(of.ask(add(name, 2))).await);
                }
                world.quiet().await;
                let new = world.start().await;
                let told = answers(all).await.into_iter().map(|told| told.map_err(|e| e.code()));
                let told: Vec<_> = told.filter(|told| *told != Err(Code::OutcomeUnknown)).collect();
                assert!((10..20).contains(&told.len()), "those of the partition that was found lost can't know");
                let expected = if stored { Ok(3) } else { Err(Code::OwnershipLost) };
                assert!(told.iter().all(|told| *told == expected), "stored: {stored}, told: {told:?}");
                for name in &names {
                    assert_eq!(world.events("tally", name).await.len(), if stored { 2 } else { 1 });
                    assert_eq!(tallies(&new).ask(add(name, 3)).await, Ok(if stored { 6 } else { 4 }));
                }
            }
        });
    }
}

#[test]
fn an_older_owner_that_nobody_calls_finds_out_by_itself() {
    simulate(|world| async move {
        let old = world.start().await;
        assert_eq!(tallies(&old).ask(add("a", 1)).await, Ok(1));
        let every = world::options().idle_check;
        let new = world.start().await;
        world.pass(every * 2 + Duration::from_millis(1)).await;
        assert!(old.health().is_fenced());
        assert!(!new.health().is_fenced());
        assert_eq!(tallies(&new).ask(add("a", 1)).await, Ok(2));
    });
}

#[test]
fn an_owner_that_is_called_is_not_asked_besides() {
    simulate(|world| async move {
        let engine = world.start().await;
        let every = world::options().idle_check;
        for number in 1..=10 {
            assert_eq!(tallies(&engine).ask(add("a", 1)).await, Ok(number));
            world.pass(every / 2).await;
        }
        assert!(world.store.appended().iter().all(|appended| !appended.batch.records.is_empty()));
        world.pass(every * 10).await;
        let asked = world.store.appended().iter().filter(|appended| appended.batch.records.is_empty()).count();
        assert!((9..=10).contains(&asked), "{asked}");
    });
}

#[test]
fn a_drain_waits_for_no_answer_that_nobody_waits_for() {
    simulate(|world| async move {
        let engine = world.start().await;
        tallies(&engine).ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        world.pass(world::options().idle_check * 3).await;
        assert!(engine.drain(Duration::from_secs(1)).await);
    });
}
