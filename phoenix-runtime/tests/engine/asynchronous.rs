//! Handlers that wait: only their own aggregate waits with them.

use std::time::Duration;

use phoenix_runtime::engine::EngineOptions;
use phoenix_runtime::event_store::port::{Conflict, ConflictKind, StoreError};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};

use crate::tally::{add, add_later, relay, steps};
use crate::world::{answers, beside, options, sent, simulate, tallies};

fn conflict() -> Step {
    Step::Fail(StoreError::Conflict(vec![Conflict { index: 0, kind: ConflictKind::Version }]))
}

#[test]
fn while_a_handler_waits_only_its_own_aggregate_waits() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        let began = world.now();
        let slow = sent(of.ask(add_later("a", 1, 1000))).await;
        let mut behind = sent(of.ask(add("a", 2))).await;
        for amount in 1..=10 {
            of.ask(add("b", amount)).await.unwrap();
        }
        assert!(world.since(began) < Duration::from_secs(1));
        assert!(!behind.is_told().await);
        assert_eq!(slow.answer().await, Ok(1));
        assert_eq!(behind.answer().await, Ok(3));
        assert_eq!(of.query(steps("a")).await.unwrap(), [1, 2]);
    });
}

#[test]
fn a_handler_starts_on_durable_state_only() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 1))).await;
        let began = world.now();
        let slow = sent(of.ask(add_later("a", 2, 50))).await;
        world.pass(Duration::from_millis(200)).await;
        world.store.release(Call::Append);
        assert_eq!(first.answer().await, Ok(1));
        assert_eq!(slow.answer().await, Ok(3));
        assert!(world.since(began) >= Duration::from_millis(250), "it began when its state was durable");
    });
}

#[test]
fn a_handler_has_a_deadline() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { handler_deadline: Duration::from_secs(1), ..options() }).await;
        let of = tallies(&engine);
        let began = world.now();
        let slow = sent(of.ask(add_later("a", 1, 5000)).idempotency_key("k")).await;
        let behind = sent(of.ask(add("a", 2))).await;
        assert_eq!(slow.answer().await.unwrap_err().code(), Code::DeadlinePassed);
        assert_eq!(behind.answer().await, Ok(2));
        assert!(world.since(began) < Duration::from_secs(2));
        world.pass(Duration::from_secs(10)).await;
        assert_eq!(of.query(steps("a")).await.unwrap(), [2], "its result does not count");
    });
}

#[test]
fn a_rejection_and_a_repeat_of_an_async_handler_are_as_any_other() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        let first = of.ask(add_later("a", 5, 10)).idempotency_key("k").answer().await.unwrap();
        let repeat = of.ask(add_later("a", 5, 10)).idempotency_key("k").answer().await.unwrap();
        assert!(!first.replayed && repeat.replayed && first.reply == repeat.reply);
        for replayed in [false, true] {
            let refused = of.ask(add_later("a", -1, 10)).idempotency_key("no").await;
            assert!(matches!(refused, Err(AskError::Rejected { replayed: told, .. }) if told == replayed));
        }
        assert_eq!(of.query(steps("a")).await.unwrap(), [5]);
    });
}

#[test]
fn the_result_of_a_handler_whose_node_was_fenced_meanwhile_does_not_count() {
    for noticed in [false, true] {
        simulate(move |world| async move {
            let old = world.start().await;
            tallies(&old).ask(add("a", 1)).await.unwrap();
            let slow = sent(tallies(&old).ask(add_later("a", 2, 1000))).await;
            world.quiet().await;
            let new = world.start().await;
            tallies(&new).ask(add("a", 3)).await.unwrap();
            if noticed {
                let id = beside("a");
                let lost = tallies(&old).ask(add(&id, 1)).await;
                assert_eq!(lost.unwrap_err().code(), Code::OwnershipLost);
            }
            assert_eq!(slow.answer().await.unwrap_err().code(), Code::OwnershipLost);
            assert_eq!(tallies(&new).query(steps("a")).await.unwrap(), [1, 3]);
        });
    }
}

#[test]
fn a_handler_asks_other_aggregates() {
    simulate(|world| async move {
        for shards in [1, 3] {
            let engine = world.engine(EngineOptions { shards: Some(shards), ..options() }).await;
            let of = tallies(&engine);
            assert_eq!(of.ask(relay(&["a", "b", "c"], 1)).await.as_deref(), Ok("added"));
        }
        assert_eq!(world.events("tally", "c").await.len(), 2);
        assert_eq!(world.events("tally", "a").await.len(), 0);
    });
}

#[test]
fn what_a_handler_asked_is_not_asked_twice_when_it_runs_again() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let relayed = sent(of.ask(relay(&["a", "b"], 1)).idempotency_key("once")).await;
        world.simulation.sleep(Duration::from_millis(10)).await;
        // what `b` did is durable; the batch of `a` itself fails
        world.store.pass(Call::Append, 1);
        world.quiet().await;
        world.store.next(Call::Append, conflict());
        world.store.release(Call::Append);
        assert_eq!(relayed.answer().await.as_deref(), Ok("added"));
        assert_eq!(world.events("tally", "b").await.len(), 1);
        // and when its caller sends it again after a restart, before its outcome was stored
        let again = of.ask(relay(&["a", "b"], 1)).idempotency_key("another").await;
        assert_eq!(again.as_deref(), Ok("added"), "another command asks for itself");
        assert_eq!(world.events("tally", "b").await.len(), 2);
    });
}

#[test]
fn an_async_handler_does_not_run_for_a_repeat_that_nobody_remembers() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        assert_eq!(of.ask(add_later("a", 1, 1000)).idempotency_key("first").await, Ok(1));
        for number in 0..20 {
            of.ask(add("a", 1)).idempotency_key(format!("{number}")).await.unwrap();
        }
        let began = world.now();
        assert_eq!(of.ask(add_later("a", 1, 1000)).idempotency_key("first").await, Ok(1));
        assert!(world.since(began) < Duration::from_secs(1), "it would have waited outside again");
        assert_eq!(world.store.conflicts(), 0);
    });
}

#[test]
fn an_ask_to_an_aggregate_that_waits_for_it_is_refused_at_once() {
    for path in [["a", "a", "x", "x"].as_slice(), &["a", "b", "a"], &["a", "b", "c", "a"], &["a", "b", "c", "b"]] {
        simulate(move |world| async move {
            let engine = world.start().await;
            let began = world.now();
            let told = tallies(&engine).ask(relay(path, 1)).await;
            assert_eq!(told.as_deref(), Ok("would-deadlock"), "{path:?}");
            assert!(world.since(began) < Duration::from_secs(1), "{path:?}");
            assert_eq!(tallies(&engine).ask(add("a", 1)).await, Ok(1));
        });
    }
}

#[test]
fn asks_from_inside_get_through_when_the_normal_lanes_are_full() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { mailbox_capacity: 4, max_batch: 4, ..options() }).await;
        let of = tallies(&engine);
        let asking = sent(of.ask(relay(&["a", "b"], 100))).await;
        world.quiet().await;
        // all that may be held waits behind the handler, and the mailbox is full
        let mut waiting = Vec::new();
        for amount in 0..40 {
            waiting.push(sent(of.ask(add("a", amount)).timeout(Duration::from_mins(1))).await);
        }
        world.quiet().await;
        let mut outside = sent(of.ask(add("c", 1)).timeout(Duration::from_mins(1))).await;
        world.quiet().await;
        assert!(!outside.is_told().await, "the lanes are full");
        let began = world.now();
        assert_eq!(asking.answer().await.as_deref(), Ok("added"));
        assert!(world.since(began) < Duration::from_secs(1));
        assert!(answers(waiting).await.iter().all(Result::is_ok));
        assert_eq!(outside.answer().await, Ok(1));
    });
}

#[test]
fn a_batch_that_fails_while_a_handler_is_asked_for_keeps_the_order() {
    use phoenix_runtime::event_store::port::{Conflict, ConflictKind, StoreError};
    use phoenix_runtime::testkit::scripted_store::Step;
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let conflict = StoreError::Conflict(vec![Conflict { index: 0, kind: ConflictKind::Version }]);
        world.store.next(Call::Append, Step::Fail(conflict));
        let first = sent(of.ask(add("a", 1))).await;
        world.quiet().await;
        let slow = sent(of.ask(add_later("a", 2, 5))).await;
        let last = sent(of.ask(add("a", 3))).await;
        world.quiet().await;
        world.store.release(Call::Append);
        assert_eq!(first.answer().await, Ok(1));
        assert_eq!(slow.answer().await, Ok(3));
        assert_eq!(last.answer().await, Ok(6));
    });
}
