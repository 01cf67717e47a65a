//! Who goes first, who waits, and who is pushed back.

use std::time::{Duration, Instant};

use phoenix_runtime::domain::metadata::Envelope;
use phoenix_runtime::engine::{Engine, EngineOptions, Overflow};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::Call;

use crate::tally::{add, say, steps};
use crate::world::{World, answers, options, sent, simulate, tallies};

#[test]
fn messages_of_one_aggregate_and_priority_keep_their_order() {
    simulate(|world| async move {
        // several batches, cold and warm, through all lanes
        let engine = world.engine(EngineOptions { max_batch: 7, ..options() }).await;
        let of = tallies(&engine);
        let mut all = Vec::new();
        for amount in 0..90 {
            let priority = [Priority::High, Priority::Normal, Priority::Low][usize::try_from(amount % 3).unwrap()];
            all.push(sent(of.ask(add("a", amount)).priority(priority)).await);
            if amount % 10 == 0 {
                world.simulation.yield_now().await;
            }
        }
        answers(all).await;
        let order = of.query(steps("a")).await.unwrap();
        for lane in 0..3 {
            let of_lane: Vec<_> = order.iter().copied().filter(|amount| amount % 3 == lane).collect();
            assert_eq!(of_lane, (0..90).filter(|amount| amount % 3 == lane).collect::<Vec<_>>());
        }
    });
}

/// An engine whose shard has no room, because its only batch is held by the store.
async fn stuck(world: &World, max_batch: usize, mailbox_capacity: usize) -> Engine {
    stuck_with(world, EngineOptions { max_batch, mailbox_capacity, ..options() }).await
}

async fn stuck_with(world: &World, options: EngineOptions) -> Engine {
    let max_batch = options.max_batch;
    let engine = world.engine(options).await;
    world.store.hold(Call::Append);
    let of = tallies(&engine);
    // one batch at the door, a full one behind it
    for number in 0..=max_batch {
        let call = of.ask(add("stuck", i64::try_from(number).unwrap()));
        world.simulation.spawn(world.simulation.group(), async move {
            let _ = call.await;
        });
        world.quiet().await;
    }
    engine
}

#[test]
fn high_goes_before_normal_before_low() {
    simulate(|world| async move {
        let engine = stuck(&world, 24, 100).await;
        let of = tallies(&engine);
        let mut all = Vec::new();
        for (priority, amount) in [(Priority::Low, 3), (Priority::Normal, 2), (Priority::High, 1)] {
            for _ in 0..2 {
                all.push(sent(of.ask(add("a", amount)).priority(priority)).await);
            }
        }
        world.store.release(Call::Append);
        answers(all).await;
        assert_eq!(of.query(steps("a")).await.unwrap(), [1, 1, 2, 2, 3, 3]);
    });
}

#[test]
fn low_is_not_starved() {
    simulate(|world| async move {
        let engine = stuck(&world, 24, 200).await;
        let of = tallies(&engine);
        let mut all = Vec::new();
        all.push(sent(of.ask(add("a", 3)).priority(Priority::Low)).await);
        all.push(sent(of.ask(add("a", 2)).priority(Priority::Normal)).await);
        for _ in 0..150 {
            all.push(sent(of.ask(add("a", 1)).priority(Priority::High)).await);
        }
        world.store.release(Call::Append);
        answers(all).await;
        let order = of.query(steps("a")).await.unwrap();
        // both are in the first batch of 24, although 150 go before them
        assert!(order.iter().position(|step| *step == 3).unwrap() < 24, "{order:?}");
        assert!(order.iter().position(|step| *step == 2).unwrap() < 24, "{order:?}");
    });
}

#[test]
fn a_typed_ask_waits_for_room_in_a_full_mailbox() {
    simulate(|world| async move {
        let engine = stuck(&world, 1, 2).await;
        let of = tallies(&engine);
        let mut all = Vec::new();
        for amount in 1..=5 {
            all.push(sent(of.ask(add("a", amount))).await);
        }
        world.store.release(Call::Append);
        assert!(answers(all).await.iter().all(Result::is_ok));
        assert_eq!(of.query(steps("a")).await.unwrap(), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn an_ask_that_never_got_room_says_that_nothing_was_done() {
    simulate(|world| async move {
        let engine = stuck(&world, 1, 2).await;
        let of = tallies(&engine);
        let first = sent(of.ask(add("a", 1)).timeout(Duration::from_secs(100))).await;
        let second = sent(of.ask(add("a", 2)).timeout(Duration::from_secs(100))).await;
        let third = of.ask(add("a", 3)).timeout(Duration::from_secs(1)).await;
        assert_eq!(third.unwrap_err().code(), Code::MailboxFull);
        let question = of.query(steps("a")).timeout(Duration::from_secs(1)).await;
        assert_eq!(question.unwrap_err().code(), Code::MailboxFull);
        world.store.release(Call::Append);
        answers(vec![first, second]).await;
        assert_eq!(of.query(steps("a")).await.unwrap(), [1, 2]);
    });
}

#[test]
fn where_overflow_fails_a_full_mailbox_refuses_at_once() {
    simulate(|world| async move {
        let limits = EngineOptions { max_batch: 1, mailbox_capacity: 2, overflow: Overflow::Fail, ..options() };
        let engine = stuck_with(&world, limits).await;
        let client = engine.client();
        let of = tallies(&engine);
        let waiting = vec![sent(of.ask(add("a", 1))).await, sent(of.ask(add("a", 2))).await];
        let envelope = Envelope {
            id: client.next_message_id(),
            aggregate: "tally".to_owned(),
            name: "add".to_owned(),
            idempotency_key: None,
            priority: Priority::Normal,
            timeout: None,
            metadata: Metadata::default(),
            payload: br#"{"tally":"a","amount":3}"#.to_vec(),
        };
        let mut typed = sent(of.ask(add("a", 3))).await;
        assert!(typed.is_told().await, "no time has passed");
        assert_eq!(typed.answer().await.unwrap_err().code(), Code::MailboxFull);
        let mut refused = sent(client.send(envelope)).await;
        assert!(refused.is_told().await, "no time has passed");
        assert_eq!(refused.answer().await.answer.unwrap_err().code(), Code::MailboxFull);
        world.store.release(Call::Append);
        answers(waiting).await;
        assert_eq!(of.query(steps("a")).await.unwrap(), [1, 2]);
    });
}

#[test]
fn the_queue_of_one_aggregate_is_bounded() {
    simulate(|world| async move {
        let limits = EngineOptions { aggregate_queue: 3, overflow: Overflow::Fail, ..options() };
        let engine = world.engine(limits).await;
        let of = tallies(&engine);
        world.store.hold_stream("cold");
        let mut waiting = Vec::new();
        for amount in 1..=3 {
            waiting.push(sent(of.ask(add("cold", amount))).await);
        }
        world.quiet().await;
        let refused = of.ask(add("cold", 4)).await;
        assert_eq!(refused.unwrap_err().code(), Code::MailboxFull);
        assert!(of.ask(add("warm", 1)).await.is_ok(), "another one has a queue of its own");
        world.store.release_stream("cold");
        answers(waiting).await;
        assert_eq!(of.query(steps("cold")).await.unwrap(), [1, 2, 3]);
    });
}

#[test]
fn a_cold_aggregate_does_not_stop_its_neighbours() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold_stream("cold");
        let mut cold = sent(of.ask(add("cold", 1))).await;
        world.quiet().await;
        for amount in 1..=20 {
            assert!(of.ask(add("warm", amount)).await.is_ok());
        }
        assert!(!cold.is_told().await);
        world.store.release_stream("cold");
        assert_eq!(cold.answer().await, Ok(1));
    });
}

#[test]
fn a_message_whose_caller_has_gone_is_not_decided() {
    simulate(|world| async move {
        let engine = stuck(&world, 1, 10).await;
        let of = tallies(&engine);
        let late = of.ask(add("a", 1)).timeout(Duration::from_secs(1)).await;
        assert_eq!(late.unwrap_err().code(), Code::TimedOut);
        world.store.release(Call::Append);
        assert_eq!(of.ask(add("a", 2)).await, Ok(2));
    });
}

/// Waits for room for five seconds.
fn patient(options: EngineOptions) -> EngineOptions {
    EngineOptions { overflow: Overflow::Wait, overflow_wait: Duration::from_secs(5), ..options }
}

const LONG: Duration = Duration::from_hours(1);

#[test]
fn where_overflow_waits_a_full_mailbox_is_waited_for_within_a_bound() {
    for comes_back in [true, false] {
        simulate(move |world| async move {
            let limits = patient(EngineOptions { max_batch: 1, mailbox_capacity: 2, ..options() });
            let engine = stuck_with(&world, limits).await;
            let (client, of) = (engine.client(), tallies(&engine));
            let taken =
                vec![sent(of.ask(add("a", 1)).timeout(LONG)).await, sent(of.ask(add("a", 2)).timeout(LONG)).await];
            let mut typed = sent(of.ask(add("a", 3)).timeout(LONG)).await;
            let query = client.query_named("tally", "steps", br#"{"tally":"a"}"#, LONG);
            let mut named = sent(query).await;
            world.pass(Duration::from_secs(4)).await;
            assert!(!typed.is_told().await && !named.is_told().await);
            if comes_back {
                world.store.release(Call::Append);
            } else {
                world.pass(Duration::from_secs(2)).await;
                assert!(typed.is_told().await && named.is_told().await, "the bound has passed");
                world.store.release(Call::Append);
            }
            let told = (typed.answer().await.map_err(|e| e.code()), named.answer().await.answer.is_ok());
            assert_eq!(told, if comes_back { (Ok(6), true) } else { (Err(Code::MailboxFull), false) });
            assert_eq!(answers(taken).await, [Ok(1), Ok(3)], "what was taken is done, however late");
        });
    }
}

#[test]
fn behind_a_full_queue_a_few_wait_within_a_bound() {
    for comes_back in [true, false] {
        simulate(move |world| async move {
            let engine = world.engine(patient(EngineOptions { aggregate_queue: 3, ..options() })).await;
            let of = tallies(&engine);
            world.store.hold_stream("cold");
            let mut all = Vec::new();
            for amount in 1..=6 {
                all.push(sent(of.ask(add("cold", amount)).timeout(LONG)).await);
            }
            world.quiet().await;
            let beyond = of.ask(add("cold", 7)).await;
            assert_eq!(beyond.unwrap_err().code(), Code::MailboxFull, "three may wait behind the three");
            world.pass(Duration::from_secs(4)).await;
            assert!(of.ask(add("warm", 1)).await.is_ok(), "another one has a queue of its own");
            if !comes_back {
                world.pass(Duration::from_secs(2)).await;
            }
            world.store.release_stream("cold");
            let told: Vec<_> = answers(all).await.into_iter().map(|answer| answer.map_err(|e| e.code())).collect();
            let late = |reply| if comes_back { Ok(reply) } else { Err(Code::MailboxFull) };
            assert_eq!(told, [Ok(1), Ok(3), Ok(6), late(10), late(15), late(21)]);
            // and there is room again
            assert!(of.ask(add("cold", 8)).await.is_ok());
        });
    }
}

#[test]
fn those_who_waited_in_vain_are_refused_in_one_pass_over_the_queue() {
    const QUEUE: usize = 8 * 1024;
    simulate(|world| async move {
        let engine = world.engine(patient(EngineOptions { aggregate_queue: QUEUE, ..options() })).await;
        let of = tallies(&engine);
        world.store.hold_stream("cold");
        let mut all = Vec::new();
        let began = Instant::now();
        for number in 0..2 * QUEUE {
            all.push(sent(of.ask(add("cold", 1)).timeout(LONG)).await);
            if number % 1024 == 0 {
                world.quiet().await;
            }
        }
        world.quiet().await;
        let sending = began.elapsed();
        let began = Instant::now();
        world.pass(Duration::from_secs(6)).await;
        let refusing = began.elapsed();
        assert!(refusing < sending, "{refusing:?} for what took {sending:?} to be sent");
        world.store.release_stream("cold");
        let told = answers(all).await;
        assert_eq!(told.iter().filter(|told| told.is_ok()).count(), QUEUE);
    });
}

#[test]
fn what_a_shard_holds_is_bounded_by_bytes_also_while_the_store_hangs() {
    simulate(|world| async move {
        let limits = EngineOptions { max_held_bytes: 64 * 1024, aggregate_queue: 1000, ..options() };
        let engine = world.engine(patient(limits)).await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let large = "x".repeat(20 * 1024);
        let mut all = Vec::new();
        for _ in 0..10 {
            all.push(sent(of.ask(say("a", &large)).timeout(LONG)).await);
            // small ones are bounded by their count
            all.push(sent(of.ask(say("a", "small")).timeout(LONG)).await);
        }
        world.pass(Duration::from_secs(6)).await;
        for call in &mut all {
            call.is_told().await;
        }
        world.store.release(Call::Append);
        let told: Vec<_> =
            answers(all).await.into_iter().map(|answer| answer.map(drop).map_err(|e| e.code())).collect();
        assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 13, "three large ones, and all small ones");
        assert!(told.iter().all(|told| matches!(told, Ok(()) | Err(Code::MailboxFull))), "{told:?}");
        for _ in 0..10 {
            assert!(of.ask(say("a", &large)).await.is_ok(), "there is room again");
        }
    });
}

#[test]
fn a_batch_is_bounded_by_bytes() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { max_batch_bytes: 100, ..options() }).await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let mut all = Vec::new();
        for _ in 0..60 {
            all.push(sent(of.ask(add("a", 1))).await);
            world.quiet().await;
        }
        let before = world.store.appended().len();
        world.store.pass(Call::Append, 2);
        world.quiet().await;
        let sizes: Vec<_> = world.store.appended()[before..].iter().map(|a| a.batch.records.len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!((5..12).contains(&sizes[1]), "{sizes:?}: each event has about 13 bytes");
        world.store.release(Call::Append);
        assert!(answers(all).await.iter().all(Result::is_ok));
    });
}
