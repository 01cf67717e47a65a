//! What becomes durable together, and who waits for it.

use phoenix_runtime::engine::EngineOptions;
use phoenix_runtime::event_store::port::{EventStore as _, StoreError};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};

use crate::tally::{add, steps, take, touch};
use crate::world::{World, answers, options, sent, simulate, tallies};

fn records(world: &World) -> Vec<usize> {
    world.store.appended().iter().map(|appended| appended.batch.records.len()).collect()
}

#[test]
fn while_a_batch_is_made_durable_the_next_one_is_filled() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let mut all = vec![sent(of.ask(add("a", 1))).await];
        world.quiet().await;
        for number in 0..500 {
            all.push(sent(of.ask(add(&format!("a{}", number % 7), 1))).await);
        }
        world.quiet().await;
        assert_eq!(world.store.calls(Call::Append), 1, "only one append is in flight");
        world.store.release(Call::Append);
        assert!(answers(all).await.iter().all(Result::is_ok));
        assert_eq!(records(&world), [1, 500]);
        assert_eq!(world.store.most_in_flight(), 1);
    });
}

#[test]
fn a_batch_is_bounded() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { max_batch: 10, ..options() }).await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let mut all = Vec::new();
        for _ in 0..60 {
            all.push(sent(of.ask(add("a", 1))).await);
            world.simulation.yield_now().await;
        }
        world.store.release(Call::Append);
        answers(all).await;
        // who waited for the aggregate to come into memory is decided at once
        let batches = records(&world);
        assert_eq!(batches.iter().sum::<usize>(), 60);
        assert!(batches.len() >= 4, "{batches:?}");
    });
}

#[test]
fn each_shard_has_one_append_in_flight() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { shards: Some(4), ..options() }).await;
        assert_eq!(engine.shards(), 4);
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let mut all = Vec::new();
        for number in 0..200 {
            all.push(sent(of.ask(add(&format!("a{number}"), 1))).await);
            world.simulation.yield_now().await;
        }
        world.quiet().await;
        assert_eq!(world.store.calls(Call::Append), 4);
        world.store.release(Call::Append);
        assert!(answers(all).await.iter().all(Result::is_ok));
        assert_eq!(world.store.most_in_flight(), 4);
    });
}

#[test]
fn a_batch_is_sent_when_the_outcome_of_the_one_before_is_known() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        for _ in 0..4 {
            world.store.next(Call::Append, Step::Fail(StoreError::Unknown("torn".to_owned())));
        }
        let first = sent(of.ask(add("a", 1))).await;
        world.quiet().await;
        let second = sent(of.ask(add("b", 2))).await;
        answers(vec![first, second]).await;
        let appended = world.store.appended();
        assert_eq!(appended.len(), 6);
        for again in &appended[1..5] {
            assert_eq!(again.batch, appended[0].batch, "the identical rows until the outcome is known");
        }
        assert_eq!(appended[5].batch.records[0].stream.id.as_str(), "b");
    });
}

#[test]
fn a_reply_is_told_after_its_append() {
    simulate(|world| async move {
        let engine = world.start().await;
        world.store.hold(Call::Append);
        let mut reply = sent(tallies(&engine).ask(add("a", 1))).await;
        world.quiet().await;
        assert!(!reply.is_told().await);
        world.store.release(Call::Append);
        assert_eq!(reply.answer().await, Ok(1));
    });
}

#[test]
fn a_rejection_is_told_after_the_append_that_it_rests_on() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 1))).await;
        let mut refused = sent(of.ask(take("a", 5))).await;
        let mut keyed = sent(of.ask(take("a", 6)).idempotency_key("k")).await;
        world.quiet().await;
        assert!(!refused.is_told().await && !keyed.is_told().await);
        world.store.release(Call::Append);
        assert_eq!(first.answer().await, Ok(1));
        assert_eq!(refused.answer().await.unwrap_err().code(), Code::Rejected);
        assert_eq!(keyed.answer().await.unwrap_err().code(), Code::Rejected);
    });
}

#[test]
fn a_query_is_answered_after_the_append_that_it_rests_on() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 1))).await;
        let mut question = sent(of.query(steps("a"))).await;
        world.quiet().await;
        assert!(!question.is_told().await);
        world.store.release(Call::Append);
        assert_eq!(first.answer().await, Ok(1));
        assert_eq!(question.answer().await, Ok(vec![1]));
    });
}

#[test]
fn a_repeat_is_answered_after_the_append_of_the_first() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 1)).idempotency_key("k")).await;
        let mut repeat = sent(of.ask(add("a", 1)).idempotency_key("k")).await;
        world.quiet().await;
        assert!(!repeat.is_told().await);
        world.store.release(Call::Append);
        assert_eq!(first.answer().await, Ok(1));
        assert_eq!(repeat.answer().await, Ok(1));
    });
}

#[test]
fn an_answer_without_an_append_has_its_ownership_confirmed_first() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let mut refused = sent(of.ask(take("a", 5))).await;
        let mut question = sent(of.query(steps("a"))).await;
        let mut unchanged = sent(of.ask(touch("a"))).await;
        world.quiet().await;
        assert!(!refused.is_told().await && !question.is_told().await && !unchanged.is_told().await);
        world.store.release(Call::Append);
        assert_eq!(refused.answer().await.unwrap_err().code(), Code::Rejected);
        assert_eq!(question.answer().await, Ok(vec![1]));
        assert_eq!(unchanged.answer().await, Ok(1));
        for confirmed in &world.store.appended()[1..] {
            assert!(confirmed.batch.records.is_empty() && confirmed.batch.epochs.len() == 1);
        }
    });
}

#[test]
fn what_a_batch_holds_is_stored_gapless_and_in_order() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        let mut all = Vec::new();
        for amount in 0..40 {
            all.push(sent(of.ask(add("a", amount))).await);
        }
        answers(all).await;
        let versions: Vec<_> = world.events("tally", "a").await.iter().map(|stored| stored.event.version).collect();
        assert_eq!(versions, (1..=40).collect::<Vec<u64>>());
        let (all, _) =
            world.memory.read_all(phoenix_runtime::event_store::port::Position::default(), 100).await.unwrap();
        assert_eq!(all.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    });
}
