//! A command takes effect once, and every repeat is told the first outcome.

use phoenix_runtime::client::Of;
use phoenix_runtime::domain::handle::HandledBy;
use phoenix_runtime::domain::pending::Answer;
use phoenix_runtime::engine::{Engine, EngineOptions};
use phoenix_runtime::event_store::port::StoreError;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::Call;

use crate::tally::{Refused, Tally, add, order, say, steps, take, top_up, touch};
use crate::world::{World, answers, options, sent, simulate, tallies};

/// What happens between a command and its repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    /// More keys come than the window of the aggregate holds.
    LeftTheWindow,
    Restart,
    /// Both.
    LeftAndRestart,
}

const ALL: [Between; 4] = [Between::Nothing, Between::LeftTheWindow, Between::Restart, Between::LeftAndRestart];

impl Between {
    async fn pass(self, world: &World, engine: Engine) -> Engine {
        if matches!(self, Self::LeftTheWindow | Self::LeftAndRestart) {
            for number in 0..5 {
                tallies(&engine).ask(touch("a")).idempotency_key(format!("other-{number}")).await.unwrap();
            }
        }
        if matches!(self, Self::Restart | Self::LeftAndRestart) {
            engine.stop().await;
            return world.start().await;
        }
        engine
    }
}

async fn keyed<C: HandledBy<Tally>>(
    of: &Of<Tally>,
    command: C,
    key: &str,
) -> Result<Answer<C::Reply>, AskError<C::Rejection>> {
    of.ask(command).idempotency_key(key).answer().await
}

#[test]
fn the_first_reply_is_told_again() {
    for between in ALL {
        simulate(move |world| async move {
            let engine = world.start().await;
            let first = keyed(&tallies(&engine), add("a", 5), "k").await.unwrap();
            assert_eq!(first, Answer { reply: 5, version: 1, replayed: false, durable: false });
            tallies(&engine).ask(add("a", 1)).await.unwrap();
            let engine = between.pass(&world, engine).await;
            let repeat = keyed(&tallies(&engine), add("a", 5), "k").await.unwrap();
            assert_eq!(repeat, Answer { replayed: true, ..first }, "{between:?}");
            assert_eq!(tallies(&engine).query(steps("a")).await.unwrap(), [5, 1], "{between:?}");
        });
    }
}

#[test]
fn a_command_once_refused_stays_refused() {
    for between in ALL {
        simulate(move |world| async move {
            let engine = world.start().await;
            tallies(&engine).ask(add("a", 1)).await.unwrap();
            let no = |replayed| AskError::Rejected { rejection: Refused::Short { total: 1 }, version: 1, replayed };
            assert_eq!(keyed(&tallies(&engine), take("a", 5), "k").await, Err(no(false)));
            tallies(&engine).ask(add("a", 10)).await.unwrap();
            let engine = between.pass(&world, engine).await;
            assert_eq!(keyed(&tallies(&engine), take("a", 5), "k").await, Err(no(true)), "{between:?}");
        });
    }
}

#[test]
fn a_command_once_not_found_stays_not_found() {
    for between in ALL {
        simulate(move |world| async move {
            let engine = world.start().await;
            let first = keyed(&tallies(&engine), top_up("a", 5), "k").await;
            assert_eq!(first, Err(AskError::NotFound { replayed: false }));
            tallies(&engine).ask(add("a", 10)).await.unwrap();
            let engine = between.pass(&world, engine).await;
            let repeat = keyed(&tallies(&engine), top_up("a", 5), "k").await;
            assert_eq!(repeat, Err(AskError::NotFound { replayed: true }), "{between:?}");
        });
    }
}

#[test]
fn a_reply_without_events_is_told_again() {
    for between in ALL {
        simulate(move |world| async move {
            let engine = world.start().await;
            tallies(&engine).ask(add("a", 1)).await.unwrap();
            let first = keyed(&tallies(&engine), touch("a"), "k").await.unwrap();
            tallies(&engine).ask(add("a", 10)).await.unwrap();
            let engine = between.pass(&world, engine).await;
            let repeat = keyed(&tallies(&engine), touch("a"), "k").await.unwrap();
            assert_eq!(repeat, Answer { reply: 1, version: 1, replayed: true, durable: false }, "{between:?}");
            assert!(!first.replayed);
        });
    }
}

#[test]
fn another_payload_under_the_key_is_refused() {
    for between in ALL {
        simulate(move |world| async move {
            let engine = world.start().await;
            keyed(&tallies(&engine), add("a", 5), "k").await.unwrap();
            let engine = between.pass(&world, engine).await;
            let of = tallies(&engine);
            assert_eq!(keyed(&of, add("a", 6), "k").await.unwrap_err().code(), Code::KeyReused, "{between:?}");
            // also one that could not even be written
            assert_eq!(of.query(steps("a")).await.unwrap(), [5], "{between:?}");
        });
    }
}

#[test]
fn a_key_is_scoped_by_the_commands_wire_name_and_the_aggregate() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        assert_eq!(keyed(&of, add("a", 5), "k").await.unwrap().reply, 5);
        assert_eq!(keyed(&of, take("a", 5), "k").await.unwrap().reply, 0);
        assert_eq!(keyed(&of, add("b", 7), "k").await.unwrap().reply, 7);
    });
}

#[test]
fn a_repeat_in_the_same_batch_and_in_flight_is_done_once() {
    for max_remembered_keys in [0, 1000] {
        simulate(move |world| async move {
            let engine = world.engine(EngineOptions { max_remembered_keys, ..options() }).await;
            let of = tallies(&engine);
            of.ask(add("a", 1)).await.unwrap();
            world.store.hold(Call::Append);
            let mut all = Vec::new();
            for _ in 0..3 {
                // in one turn
                for _ in 0..3 {
                    all.push(sent(of.ask(add("a", 5)).idempotency_key("k").answer()).await);
                }
                // and while that is in flight
                world.quiet().await;
            }
            world.store.release(Call::Append);
            let told: Vec<_> = answers(all).await.into_iter().map(Result::unwrap).collect();
            assert!(told.iter().all(|answer| answer.reply == 6 && answer.version == 2));
            assert_eq!(told.iter().filter(|answer| !answer.replayed).count(), 1);
            assert_eq!(of.query(steps("a")).await.unwrap(), [1, 5]);
        });
    }
}

#[test]
fn a_business_key_goes_before_the_callers_key() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        assert!(!keyed(&of, order("a", 5, 7), "one").await.unwrap().replayed);
        assert!(keyed(&of, order("a", 5, 7), "two").await.unwrap().replayed);
        assert!(of.ask(order("a", 5, 7)).answer().await.unwrap().replayed);
        assert!(!keyed(&of, order("a", 5, 8), "one").await.unwrap().replayed);
        assert_eq!(of.query(steps("a")).await.unwrap(), [5, 5]);
    });
}

#[test]
fn equal_commands_without_a_key_are_two() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        answers(vec![sent(of.ask(add("a", 5))).await, sent(of.ask(add("a", 5))).await]).await;
        assert_eq!(of.query(steps("a")).await.unwrap(), [5, 5]);
        assert_eq!(world.store.asked_about(), 0);
    });
}

#[test]
fn a_repeat_that_would_be_refused_now_is_answered_without_a_failed_append() {
    simulate(|world| async move {
        let engine = world.start().await;
        tallies(&engine).ask(add("a", 5)).await.unwrap();
        let first = keyed(&tallies(&engine), take("a", 5), "k").await.unwrap();
        let quiet = keyed(&tallies(&engine), touch("a"), "q").await.unwrap();
        let engine = Between::LeftAndRestart.pass(&world, engine).await;
        let of = tallies(&engine);
        let repeat = keyed(&of, take("a", 5), "k").await.unwrap();
        assert_eq!(repeat, Answer { replayed: true, ..first });
        let repeat = keyed(&of, touch("a"), "q").await.unwrap();
        assert_eq!(repeat, Answer { replayed: true, ..quiet });
        assert_eq!(world.store.conflicts(), 0, "the store was asked before it was told anything");
    });
}

#[test]
fn a_new_command_is_not_asked_about_where_all_keys_are_known() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        // the window has room for three
        for number in 0..3 {
            keyed(&of, take("a", 1), &format!("k{number}")).await.unwrap_err();
        }
        assert_eq!(world.store.asked_about(), 0);
        keyed(&of, take("a", 1), "k4").await.unwrap_err();
        keyed(&of, take("a", 1), "k5").await.unwrap_err();
        assert_eq!(world.store.asked_about(), 1, "the window no longer holds all");
    });
}

#[test]
fn a_command_that_is_said_to_be_repeated_is_asked_about_first() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).repeated().idempotency_key("k").await.unwrap();
        assert_eq!(world.store.asked_about(), 1);
        of.ask(order("a", 1, 7)).repeated().await.unwrap();
        assert_eq!(world.store.asked_about(), 2, "it has a key of its own");
        of.ask(add("a", 1)).repeated().await.unwrap();
        assert_eq!(world.store.asked_about(), 2, "without a key it can't be repeated");
    });
}

#[test]
fn a_storm_of_repeats_is_no_storm_of_failed_batches() {
    for aggregates in [1, 10, 1000] {
        let name = move |number: usize| (format!("a{}", number % aggregates), format!("k{number}"));
        simulate(move |world| async move {
            let engine = world.start().await;
            let of = tallies(&engine);
            let mut all = Vec::new();
            for number in 0..1000 {
                let (id, key) = name(number);
                all.push(sent(of.ask(add(&id, 1)).idempotency_key(key).answer()).await);
            }
            let first: Vec<_> = answers(all).await.into_iter().map(Result::unwrap).collect();
            engine.stop().await;
            let engine = world.engine(EngineOptions { max_batch: 100, ..options() }).await;
            let (of, before) = (tallies(&engine), world.store.calls(Call::Outcomes));
            let mut again = Vec::new();
            // one wave after another
            for wave in 0..10 {
                let mut all = Vec::new();
                for number in 100 * wave..100 * (wave + 1) {
                    let (id, key) = name(number);
                    all.push(sent(of.ask(add(&id, 1)).idempotency_key(key).answer()).await);
                }
                again.extend(answers(all).await.into_iter().map(Result::unwrap));
            }
            assert!(again.iter().zip(&first).all(|(a, b)| a.replayed && a.reply == b.reply && a.version == b.version));
            assert!(world.store.conflicts() <= 3, "{} failed batches", world.store.conflicts());
            let questions = world.store.calls(Call::Outcomes) - before;
            assert!(questions <= 1000 / u64::try_from(aggregates.min(100)).unwrap() * 2 + 20, "{questions} questions");
        });
    }
}

#[test]
fn a_key_has_1_to_255_bytes() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        for (length, expected) in
            [(0, Err(Code::InvalidMessage)), (1, Ok(1)), (255, Ok(2)), (256, Err(Code::InvalidMessage))]
        {
            let told = of.ask(add("a", 1)).idempotency_key("k".repeat(length)).await.map_err(|e| e.code());
            assert_eq!(told, expected, "{length}");
        }
    });
}

#[test]
fn a_repeat_that_can_not_be_written_harms_nobody_else() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        keyed(&of, say("a", "hello"), "k").await.unwrap();
        let fault = keyed(&of, say("a", "panic"), "k").await.unwrap_err();
        assert!(matches!(fault.code(), Code::KeyReused | Code::Panicked), "{fault}");
        assert_eq!(of.ask(add("a", 1)).await, Ok(6));
        assert_eq!(of.ask(add("b", 1)).await, Ok(1));
    });
}

#[test]
fn repeats_behind_one_another_are_done_once_although_nobody_remembers_them() {
    for max_remembered_keys in [0, 1000] {
        simulate(move |world| async move {
            let engine = world.engine(EngineOptions { max_remembered_keys, ..options() }).await;
            let of = tallies(&engine);
            of.ask(add("a", 8)).await.unwrap();
            world.store.hold(Call::Append);
            let mut all = vec![sent(of.ask(add("a", 1)).answer()).await];
            world.quiet().await;
            // between two equal ones come more keys than the window holds
            let mut taken = Vec::new();
            for _ in 0..3 {
                taken.push(sent(of.ask(take("a", 5)).idempotency_key("k").repeated().answer()).await);
                for number in 0..4 {
                    let key = format!("k{number}");
                    all.push(sent(of.ask(add("a", 0)).idempotency_key(key).repeated().answer()).await);
                }
            }
            world.quiet().await;
            world.store.release(Call::Append);
            for told in answers(taken).await {
                assert_eq!(told.unwrap().reply, 4);
            }
            assert!(answers(all).await.iter().all(Result::is_ok));
            assert_eq!(of.query(steps("a")).await.unwrap(), [8, 1, -5, 0, 0, 0, 0]);
            assert_eq!(world.store.conflicts(), 0, "equal ones behind one another are not decided together");
        });
    }
}

#[test]
fn an_aggregate_that_can_not_be_asked_about_harms_no_other() {
    for error in [StoreError::Unavailable("scripted: away".to_owned()), StoreError::Damaged("scripted".to_owned())] {
        simulate(move |world| {
            let error = error.clone();
            async move {
                let engine = world.start().await;
                let of = tallies(&engine);
                let names: Vec<_> = (0..20).map(|number| format!("a{number}")).collect();
                let mut all = Vec::new();
                for name in &names {
                    all.push(sent(of.ask(add(name, 1)).idempotency_key("k").answer()).await);
                }
                assert!(answers(all).await.iter().all(Result::is_ok));
                world.store.fail_stream("a7", error.clone());
                let before = world.store.calls(Call::Outcomes);
                let mut all = Vec::new();
                for name in &names {
                    all.push(sent(of.ask(add(name, 1)).idempotency_key("k").repeated().answer()).await);
                }
                let seventh = all.remove(7);
                let told = answers(all).await;
                assert!(told.iter().all(|told| told.as_ref().is_ok_and(|told| told.replayed)), "{told:?}");
                let questions = world.store.calls(Call::Outcomes) - before;
                assert!(questions < 12, "{questions} questions: halves, not one for each");
                world.store.mend_stream("a7");
                let told = seventh.answer().await;
                match error {
                    StoreError::Unavailable(_) => assert!(told.unwrap().replayed, "it is waited for"),
                    _ => assert_eq!(told.unwrap_err().code(), Code::StoreFailed),
                }
            }
        });
    }
}
