//! What fails, and who notices.

use std::time::Duration;

use phoenix_runtime::engine::EngineOptions;
use phoenix_runtime::event_store::port::{Conflict, ConflictKind, StoreError};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};
use serde::{Deserialize, Serialize};

use crate::tally::{Harm, MOST_BYTES, add, harm, say, steps, take};
use crate::world::{answers, options, sent, simulate, tallies};

fn conflict() -> Step {
    Step::Fail(StoreError::Conflict(vec![Conflict { index: 0, kind: ConflictKind::Version }]))
}

fn unknown() -> Step {
    Step::Fail(StoreError::Unknown("scripted: torn".to_owned()))
}

fn unavailable() -> Step {
    Step::Fail(StoreError::Unavailable("scripted: refused".to_owned()))
}

#[test]
fn after_a_conflict_all_is_decided_anew_in_the_first_order() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        world.store.next(Call::Append, conflict());
        let mut all = vec![sent(of.ask(add("a", 1))).await, sent(of.ask(add("a", 2))).await];
        world.quiet().await;
        // decided on events that will not exist
        all.push(sent(of.ask(add("a", 3))).await);
        let refused = sent(of.ask(take("a", 100))).await;
        let question = sent(of.query(steps("a"))).await;
        world.quiet().await;
        world.store.pass(Call::Append, 1);
        // newer than all of these
        all.push(sent(of.ask(add("a", 4))).await);
        world.quiet().await;
        world.store.release(Call::Append);
        assert_eq!(answers(all).await, [Ok(1), Ok(3), Ok(6), Ok(10)]);
        assert_eq!(question.answer().await, Ok(vec![1, 2, 3]));
        assert_eq!(refused.answer().await.unwrap_err().code(), Code::Rejected);
        assert_eq!(world.events("tally", "a").await.len(), 4);
    });
}

#[test]
fn a_conflict_leaves_the_open_batch_of_neighbours_alone() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        answers(vec![sent(of.ask(add("a", 1))).await, sent(of.ask(add("b", 1))).await]).await;
        let activations = world.store.calls(Call::KnownKeys);
        world.store.hold(Call::Append);
        world.store.next(Call::Append, conflict());
        let first = sent(of.ask(add("a", 2))).await;
        world.quiet().await;
        let neighbour = sent(of.ask(add("b", 2))).await;
        let behind = sent(of.ask(add("a", 3))).await;
        world.quiet().await;
        world.store.release(Call::Append);
        assert_eq!(answers(vec![first, neighbour, behind]).await, [Ok(3), Ok(3), Ok(6)]);
        assert_eq!(world.store.calls(Call::KnownKeys), activations + 1, "only `a` was brought back");
    });
}

#[test]
fn a_bad_command_fails_alone_never_its_batch() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { max_message_bytes: MOST_BYTES, ..options() }).await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let mut all = vec![sent(of.ask(add("b", 1))).await];
        world.quiet().await;
        let mut harmful = Vec::new();
        for kind in [Harm::LargeEvent, Harm::NotEncodable, Harm::LargeReply] {
            all.push(sent(of.ask(add("a", 10))).await);
            harmful.push(sent(of.ask(harm("a", kind))).await);
            all.push(sent(of.ask(add("b", 10))).await);
        }
        let mut bad = Vec::new();
        for text in [&"x".repeat(MOST_BYTES), "refuse", "panic"] {
            bad.push(sent(of.ask(say("a", text))).await);
            all.push(sent(of.ask(add("a", 100))).await);
        }
        world.quiet().await;
        world.store.release(Call::Append);
        assert!(answers(all).await.iter().all(Result::is_ok));
        let codes = |answer: Result<String, AskError<Never>>| answer.unwrap_err().code();
        let told: Vec<_> = answers(harmful).await.into_iter().map(codes).collect();
        assert_eq!(told, [Code::TooLarge, Code::InvalidMessage, Code::TooLarge]);
        let told: Vec<_> = answers(bad).await.into_iter().map(|answer| answer.unwrap_err().code()).collect();
        assert_eq!(told, [Code::TooLarge, Code::InvalidMessage, Code::Panicked]);
        assert_eq!(of.query(steps("a")).await.unwrap(), [1, 10, 10, 10, 100, 100, 100]);
        assert_eq!(world.store.conflicts(), 0);
    });
}

#[test]
fn the_events_of_one_command_are_bounded_together() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { max_decision_bytes: 120, ..options() }).await;
        let of = tallies(&engine);
        assert_eq!(of.ask(add("a", 1)).await, Ok(1));
        let two = of.ask(harm("a", Harm::PanicInReplay)).await;
        assert_eq!(two.unwrap_err().code(), Code::TooLarge);
        assert_eq!(of.ask(add("a", 1)).await, Ok(2));
    });
}

#[test]
fn a_record_that_the_store_refuses_fails_its_command_alone() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.refuse(|record| record.event.as_ref().is_some_and(|event| event.payload == br#"{"amount":666}"#));
        world.store.hold(Call::Append);
        let mut all = vec![sent(of.ask(add("a", 1))).await];
        world.quiet().await;
        for amount in [2, 666, 3] {
            all.push(sent(of.ask(add("a", amount))).await);
            all.push(sent(of.ask(add("b", amount))).await);
        }
        let refused = sent(of.ask(take("a", 1000))).await;
        world.quiet().await;
        world.store.release(Call::Append);
        let told: Vec<_> = answers(all).await.into_iter().map(|answer| answer.map_err(|e| e.code())).collect();
        let no = Err(Code::TooLarge);
        assert_eq!(told, [Ok(1), Ok(3), Ok(2), no, no, Ok(6), Ok(5)]);
        assert!(refused.answer().await.unwrap_err().rejection().is_some());
        assert_eq!(world.events("tally", "a").await.len(), 3);
    });
}

#[test]
fn an_unknown_outcome_is_settled_by_the_identical_rows() {
    for script in [
        vec![Step::Lose],
        vec![unknown()],
        vec![unknown(), Step::Lose],
        vec![Step::Lose, unknown(), unavailable()],
        vec![unavailable(), unavailable(), Step::Lose],
    ] {
        simulate(move |world| {
            let script = script.clone();
            async move {
                let engine = world.start().await;
                let of = tallies(&engine);
                of.ask(add("a", 1)).await.unwrap();
                let before = world.store.appended().len();
                for step in script {
                    world.store.next(Call::Append, step);
                }
                // the question whether it is stored may fail as well
                world.store.next(Call::Outcomes, unavailable());
                let mut first = sent(of.ask(add("a", 2))).await;
                world.quiet().await;
                let behind = sent(of.query(steps("a"))).await;
                assert!(!first.is_told().await);
                assert!(!engine.health().store_answers());
                assert_eq!(first.answer().await, Ok(3));
                assert_eq!(behind.answer().await, Ok(vec![1, 2]));
                assert!(engine.health().store_answers());
                let appended = world.store.appended();
                let of_it: Vec<_> = appended[before..].iter().filter(|a| !a.batch.records.is_empty()).collect();
                assert!(of_it.iter().all(|again| again.batch == of_it[0].batch));
                assert_eq!(of.ask(add("a", 3)).await, Ok(6), "done once, and it goes on");
            }
        });
    }
}

#[test]
fn a_damaged_store_is_told_to_those_who_wait_for_it() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.next(Call::Append, Step::Fail(StoreError::Damaged("scripted".to_owned())));
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 2))).await;
        world.quiet().await;
        let behind = sent(of.ask(add("a", 3))).await;
        let question = sent(of.query(steps("a"))).await;
        let neighbour = sent(of.ask(add("b", 5))).await;
        world.quiet().await;
        world.store.release(Call::Append);
        assert_eq!(first.answer().await.unwrap_err().code(), Code::StoreFailed);
        assert_eq!(behind.answer().await.unwrap_err().code(), Code::StoreFailed);
        assert_eq!(question.answer().await.unwrap_err().code(), Code::StoreFailed);
        assert_eq!(neighbour.answer().await, Ok(5));
        assert_eq!(of.ask(add("a", 4)).await, Ok(5), "what was told as failed was not done");
    });
}

#[test]
fn a_store_that_does_not_answer_is_asked_again_ever_more_slowly() {
    simulate(|world| async move {
        let engine = world.engine(EngineOptions { max_store_backoff: Duration::from_secs(1), ..options() }).await;
        for _ in 0..30 {
            world.store.next(Call::Append, unavailable());
        }
        for _ in 0..3 {
            world.store.next(Call::ReadStream, unavailable());
        }
        let began = world.now();
        let answer = tallies(&engine).ask(add("a", 1)).timeout(Duration::from_secs(100)).await;
        assert_eq!(answer, Ok(1));
        let took = world.since(began);
        // 10 ms, doubled up to one second, each with up to half of it off
        assert!((Duration::from_secs(11)..Duration::from_secs(26)).contains(&took), "{took:?}");
    });
}

#[aggregate(name = "rate")]
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rate {
    last: f64,
}

#[derive(Debug, Command, Serialize, Deserialize)]
#[command(id = rate, reply = f64)]
struct Divide {
    rate: String,
    by: f64,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "divided")]
struct Divided {
    rate: f64,
}

#[event_sourced]
impl Rate {
    #[command_handler(reply = self.last)]
    fn divide(&self, command: Divide) -> Divided {
        Divided { rate: 1.0 / command.by }
    }

    #[event_handler]
    fn divided(&mut self, event: &Divided) {
        self.last = event.rate;
    }
}

#[test]
fn an_event_that_could_not_be_read_again_is_refused() {
    simulate(|world| async move {
        let engine = world.builder().aggregate::<Rate>().start().await.unwrap();
        let of = engine.client().of::<Rate>();
        let divide = |by| of.ask(Divide { rate: "a".to_owned(), by });
        assert_eq!(divide(0.0).await.unwrap_err().code(), Code::InvalidMessage);
        assert_eq!(divide(3.0).await, Ok(1.0 / 3.0));
        assert_eq!(world.events("rate", "a").await.len(), 1);
    });
}
