//! Partitions that are taken and given back, one node at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use phoenix_runtime::engine::{Engine, EngineOptions, Owning, StartError};
use phoenix_runtime::event_store::port::{Partition, StoreError};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};

use crate::tally::{Harm, Tally, add, add_later, harm, relay, steps};
use crate::world::{World, beside, options, partition_of, sent, simulate, tallies};

/// Long enough for everything that ends.
const LONG: Duration = Duration::from_mins(1);

fn owned(engine: &Engine) -> Vec<Partition> {
    engine.owned().borrow().iter().copied().collect()
}

/// An engine that owns the partition of this tally and nothing else.
async fn owner_of(world: &World, tally: &str) -> Engine {
    let engine = world.idle().await;
    engine.take([partition_of(tally)]).await.unwrap();
    engine
}

/// What a command is refused with while nothing else goes on.
async fn refused(engine: &Engine, tally: &str) -> Code {
    let fault = tallies(engine).ask(add(tally, 1)).await.unwrap_err();
    assert!(fault.to_string().contains("nothing was done"), "{fault}");
    fault.code()
}

#[test]
fn a_node_that_owns_nothing_refuses_everything_and_is_ready() {
    simulate(|world| async move {
        let engine = world.idle().await;
        assert_eq!(refused(&engine, "a").await, Code::OwnershipLost);
        assert_eq!(tallies(&engine).query(steps("a")).await.unwrap_err().code(), Code::OwnershipLost);
        world.pass(options().idle_check * 5).await;
        assert!(!engine.health().is_fenced());
        assert_eq!((world.store.calls(Call::Acquire), world.store.appended().len()), (0, 0));
        assert_eq!((owned(&engine), engine.health().resident()), (vec![], 0));
    });
}

#[test]
fn what_is_taken_is_decided_here_and_nothing_else_is() {
    simulate(|world| async move {
        let other = world.start().await;
        assert_eq!(tallies(&other).ask(add("a", 1)).idempotency_key("k").await, Ok(1));
        assert_eq!(tallies(&other).ask(add("b", 1)).await, Ok(1));
        let engine = owner_of(&world, "a").await;
        let repeat = tallies(&engine).ask(add("a", 1)).idempotency_key("k").answer().await.unwrap();
        assert!(repeat.replayed, "what the owner before has stored is known");
        assert_eq!(tallies(&engine).ask(add("a", 2)).await, Ok(3));
        assert_eq!(refused(&engine, "b").await, Code::OwnershipLost);
        assert_eq!(owned(&engine), [partition_of("a")]);
        assert_eq!(tallies(&other).ask(add("b", 2)).await, Ok(3), "this one is still the other's");
        assert_eq!(tallies(&other).ask(add("a", 2)).await.unwrap_err().code(), Code::OwnershipLost);
        assert!(other.health().is_fenced() && !engine.health().is_fenced());
    });
}

#[test]
fn nothing_is_read_before_the_owner_before_can_append_no_more() {
    simulate(|world| async move {
        let old = owner_of(&world, "a").await;
        tallies(&old).ask(add("a", 1)).await.unwrap();
        let new = world.idle().await;
        world.store.hold(Call::Acquire);
        let taking = sent(new.take([partition_of("a")])).await;
        world.quiet().await;
        // what it stores until then is what the next owner goes on from
        assert_eq!(tallies(&old).ask(add("a", 2)).await, Ok(3));
        world.store.release(Call::Acquire);
        taking.answer().await.unwrap();
        assert_eq!(tallies(&new).ask(add("a", 3)).await, Ok(6));
        assert!(!new.health().is_fenced());
    });
}

#[test]
fn what_is_owned_already_is_not_taken_again() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        tallies(&engine).ask(add("a", 1)).await.unwrap();
        let before = world.store.calls(Call::Acquire);
        engine.take([partition_of("a"), partition_of("a")]).await.unwrap();
        engine.take([]).await.unwrap();
        assert_eq!(world.store.calls(Call::Acquire), before);
        assert_eq!(tallies(&engine).ask(add("a", 1)).await, Ok(2));
        let nowhere = engine.take([Partition(0), Partition(16)]).await;
        assert!(matches!(nowhere, Err(StoreError::Refused { index: 1, .. })), "{nowhere:?}");
    });
}

#[test]
fn a_store_that_fails_leaves_nothing_taken() {
    for call in [Call::Acquire, Call::LastSequences] {
        simulate(move |world| async move {
            let engine = world.idle().await;
            world.store.next(call, Step::Fail(StoreError::Unavailable("scripted".to_owned())));
            engine.take([partition_of("a")]).await.unwrap_err();
            assert_eq!(owned(&engine), []);
            assert_eq!(refused(&engine, "a").await, Code::OwnershipLost);
            engine.take([partition_of("a")]).await.unwrap();
            assert_eq!(tallies(&engine).ask(add("a", 1)).await, Ok(1));
        });
    }
}

#[test]
fn what_is_lost_to_another_owner_is_told_until_it_is_given_back_or_taken_again() {
    simulate(|world| async move {
        let old = owner_of(&world, "a").await;
        let mut seen = old.owned();
        seen.mark_unchanged();
        tallies(&old).ask(add("a", 1)).await.unwrap();
        for again in [false, true] {
            let new = owner_of(&world, "a").await;
            assert_eq!(tallies(&old).ask(add("a", 1)).await.unwrap_err().code(), Code::OwnershipLost);
            assert!(old.health().is_fenced());
            assert!(seen.has_changed().unwrap() && seen.borrow_and_update().is_empty());
            if again {
                old.take([partition_of("a")]).await.unwrap();
                assert_eq!(tallies(&old).ask(add("a", 1)).await, Ok(2));
                assert_eq!(tallies(&new).ask(add("a", 1)).await.unwrap_err().code(), Code::OwnershipLost);
            } else {
                assert!(old.give_back([partition_of("a")], LONG).await);
                assert!(!old.health().is_fenced());
                old.take([partition_of("a")]).await.unwrap();
                seen.mark_unchanged();
            }
            assert!(!old.health().is_fenced());
        }
    });
}

#[test]
fn an_append_that_is_open_is_finished_and_nothing_new_is_taken() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 2))).await;
        world.quiet().await;
        // decided, and in the batch behind
        let second = sent(of.ask(add("a", 3))).await;
        world.quiet().await;
        let mut back = sent(engine.give_back([partition_of("a")], LONG)).await;
        world.quiet().await;
        assert_eq!(owned(&engine), []);
        assert_eq!(refused(&engine, "a").await, Code::OwnershipLost);
        assert_eq!(refused(&engine, &beside("a")).await, Code::OwnershipLost);
        assert!(!back.is_told().await);
        world.store.release(Call::Append);
        assert!(back.answer().await);
        assert_eq!((first.answer().await, second.answer().await), (Ok(3), Ok(6)));
        assert_eq!(engine.health().resident(), 0);
        assert!(engine.give_back([partition_of("a")], LONG).await, "again, there is nothing to do");
        assert!(!engine.health().is_fenced());
    });
}

#[test]
fn aggregates_on_their_way_into_memory_and_questions_are_finished() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).idempotency_key("k").await.unwrap();
        world.store.hold(Call::Outcomes);
        let repeat = sent(of.ask(add("a", 1)).idempotency_key("k").answer()).await;
        let cold = beside("a");
        world.store.hold_stream(&cold);
        let activating = sent(of.ask(add(&cold, 5))).await;
        world.quiet().await;
        let mut back = sent(engine.give_back([partition_of("a")], LONG)).await;
        world.quiet().await;
        world.store.release_stream(&cold);
        assert_eq!(activating.answer().await, Ok(5));
        assert!(!back.is_told().await);
        world.store.release(Call::Outcomes);
        assert!(repeat.answer().await.unwrap().replayed);
        assert!(back.answer().await);
        assert_eq!(engine.health().resident(), 0);
    });
}

#[test]
fn a_handler_that_is_at_work_finishes_with_what_it_asks_of_the_same_partition() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        let other = beside("a");
        let relayed = sent(tallies(&engine).ask(relay(&["a", &other], 100))).await;
        world.quiet().await;
        let back = engine.give_back([partition_of("a")], LONG).await;
        assert!(back);
        assert_eq!(relayed.answer().await.as_deref(), Ok("added"));
        assert_eq!(world.events("tally", &other).await.len(), 1);
        assert_eq!(engine.health().resident(), 0);
        assert_eq!(refused(&engine, "a").await, Code::OwnershipLost);
    });
}

#[test]
fn a_parked_aggregate_is_forgotten() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        tallies(&engine).ask(harm("a", Harm::PanicInReplay)).await.unwrap();
        assert!(engine.give_back([partition_of("a")], LONG).await);
        engine.take([partition_of("a")]).await.unwrap();
        assert_eq!(tallies(&engine).ask(add("a", 1)).await.unwrap_err().code(), Code::Parked);
        assert_eq!(engine.health().parked(), 1);
        assert!(engine.give_back([partition_of("a")], LONG).await);
        assert_eq!((engine.health().parked(), engine.health().resident()), (0, 0));
    });
}

#[test]
fn after_the_bound_everybody_hears_what_is_known() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        let of = tallies(&engine);
        let (busy, mine) = (beside("a"), "elsewhere");
        engine.take([partition_of(mine)]).await.unwrap();
        for tally in ["a", &busy, mine] {
            of.ask(add(tally, 1)).await.unwrap();
        }
        let working = sent(of.ask(add_later(&busy, 2, 100_000)).timeout(LONG * 9)).await;
        let behind = sent(of.ask(add(&busy, 3)).timeout(LONG * 9)).await;
        world.quiet().await;
        world.store.hold(Call::Append);
        let in_flight = sent(of.ask(add("a", 2)).timeout(LONG * 9)).await;
        let stays = sent(of.ask(add(mine, 2)).timeout(LONG * 9)).await;
        world.quiet().await;
        let open = sent(of.ask(add("a", 3)).timeout(LONG * 9)).await;
        let stays_too = sent(of.ask(add(mine, 3)).timeout(LONG * 9)).await;
        world.quiet().await;
        let began = world.now();
        let bound = Duration::from_secs(2);
        assert!(!engine.give_back([partition_of("a")], bound).await);
        assert_eq!(world.since(began), bound);
        assert_eq!(in_flight.answer().await.unwrap_err().code(), Code::OutcomeUnknown);
        for told in [open.answer().await, behind.answer().await] {
            assert_eq!(told.unwrap_err().code(), Code::OwnershipLost);
        }
        assert_eq!(working.answer().await.unwrap_err().code(), Code::OwnershipLost);
        assert_eq!(engine.health().resident(), 1);
        world.store.release(Call::Append);
        assert_eq!((stays.answer().await, stays_too.answer().await), (Ok(3), Ok(6)), "no harm to others of the batch");
        world.pass(LONG * 3).await;
        assert_eq!(world.events("tally", &busy).await.len(), 1, "what its handler found does not count");
        let new = owner_of(&world, "a").await;
        assert_eq!(tallies(&new).ask(add("a", 10)).await, Ok(13));
    });
}

#[test]
fn who_is_refused_of_a_batch_is_blamed_for_no_record_of_those_who_are_gone() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        let (of, mine) = (tallies(&engine), "elsewhere");
        engine.take([partition_of(mine)]).await.unwrap();
        for tally in ["a", mine] {
            of.ask(add(tally, 1)).await.unwrap();
        }
        world.store.hold(Call::Append);
        let first = sent(of.ask(add(mine, 2)).timeout(LONG)).await;
        let second = sent(of.ask(add("a", 7)).timeout(LONG)).await;
        world.quiet().await;
        assert!(!engine.give_back([partition_of("a")], Duration::from_secs(1)).await);
        assert_eq!(second.answer().await.unwrap_err().code(), Code::OutcomeUnknown);
        world.store.next(Call::Append, Step::Fail(StoreError::Refused { index: 1, reason: "scripted".to_owned() }));
        world.store.release(Call::Append);
        assert_eq!(first.answer().await, Ok(3));
    });
}

#[test]
fn taking_again_waits_until_it_is_given_back() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 2))).await;
        world.quiet().await;
        let back = sent(engine.give_back([partition_of("a")], LONG)).await;
        let mut again = sent(engine.take([partition_of("a")])).await;
        let acquired = world.store.calls(Call::Acquire);
        world.quiet().await;
        assert!(!again.is_told().await);
        assert_eq!(world.store.calls(Call::Acquire), acquired);
        world.store.release(Call::Append);
        assert!(back.answer().await);
        again.answer().await.unwrap();
        assert_eq!(first.answer().await, Ok(3));
        assert_eq!(of.ask(add("a", 3)).await, Ok(6));
        assert_eq!(owned(&engine), [partition_of("a")]);
    });
}

/// Numbers of the slice were given by an append that is still under way when they are read anew.
#[test]
fn an_append_of_an_earlier_assignment_does_not_disturb_a_later_one() {
    for stored in [false, true] {
        simulate(move |world| async move {
            let engine = owner_of(&world, "a").await;
            let of = tallies(&engine);
            of.ask(add("a", 1)).await.unwrap();
            world.store.hold(Call::Append);
            let first = sent(of.ask(add("a", 2)).timeout(LONG)).await;
            world.quiet().await;
            if stored {
                // it arrives, and its answer is late
                world.store.next(Call::Append, Step::Lose);
                world.store.pass(Call::Append, 1);
                world.quiet().await;
            }
            assert!(!engine.give_back([partition_of("a")], Duration::from_millis(1)).await);
            assert_eq!(first.answer().await.unwrap_err().code(), Code::OutcomeUnknown);
            engine.take([partition_of("a")]).await.unwrap();
            let second = sent(of.ask(add("a", 4)).timeout(LONG)).await;
            world.quiet().await;
            world.store.release(Call::Append);
            let before = if stored { 3 } else { 1 };
            assert_eq!(second.answer().await, Ok(before + 4));
            assert_eq!(of.ask(add("a", 8)).await, Ok(before + 12));
            assert!(!engine.health().is_fenced());
        });
    }
}

#[test]
fn a_partition_that_is_lost_while_it_is_given_back_is_gone() {
    simulate(|world| async move {
        let old = owner_of(&world, "a").await;
        let of = tallies(&old);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 2)).timeout(LONG)).await;
        world.quiet().await;
        let second = sent(of.ask(add("a", 3)).timeout(LONG)).await;
        let back = sent(old.give_back([partition_of("a")], LONG)).await;
        world.quiet().await;
        let new = owner_of(&world, "a").await;
        world.store.release(Call::Append);
        assert!(back.answer().await, "nothing of it is left");
        for told in [first.answer().await, second.answer().await] {
            assert_eq!(told.unwrap_err().code(), Code::OwnershipLost);
        }
        assert!(!old.health().is_fenced(), "it did not believe to own it any more");
        assert_eq!(old.health().resident(), 0);
        assert_eq!(tallies(&new).ask(add("a", 4)).await, Ok(5));
    });
}

#[test]
fn a_give_back_that_nobody_waits_for_any_more_goes_on() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        let slow = sent(of.ask(add_later("a", 2, 1000))).await;
        world.quiet().await;
        drop(sent(engine.give_back([partition_of("a")], LONG)).await);
        assert_eq!(refused(&engine, "a").await, Code::OwnershipLost);
        let again = beside("a");
        engine.take([partition_of("a")]).await.unwrap();
        assert_eq!(of.ask(add(&again, 1)).await, Ok(1));
        assert_eq!(slow.answer().await.unwrap_err().code(), Code::OwnershipLost, "its cell died with the assignment");
        assert_eq!(of.ask(add("a", 4)).await, Ok(5));
    });
}

#[test]
fn only_what_is_owned_is_asked_about() {
    simulate(|world| async move {
        let engine = owner_of(&world, "a").await;
        world.pass(options().idle_check * 2).await;
        let asked: BTreeSet<_> = world.store.appended().iter().flat_map(|a| a.batch.epochs.clone()).collect();
        assert_eq!(asked.into_iter().map(|(partition, _)| partition).collect::<Vec<_>>(), [partition_of("a")]);
        assert!(engine.give_back([partition_of("a")], LONG).await);
        let before = world.store.appended().len();
        world.pass(options().idle_check * 5).await;
        assert_eq!(world.store.appended().len(), before);
    });
}

#[test]
fn several_shards_take_and_give_back_together() {
    simulate(|world| async move {
        let options = EngineOptions { shards: Some(3), partitions: 2, ..options() };
        let start = || {
            let builder = world.builder().aggregate::<Tally>().options(options.clone());
            async move { builder.owning(Owning::Nothing).start().await.unwrap() }
        };
        let (one, two) = (start().await, start().await);
        let both = [Partition(0), Partition(1)];
        let names: Vec<String> = (0..30).map(|n| format!("a{n}")).collect();
        for (engine, sum) in [(&one, 1), (&two, 2), (&one, 3)] {
            engine.take(both).await.unwrap();
            for name in &names {
                assert_eq!(tallies(engine).ask(add(name, 1)).await, Ok(sum));
            }
            assert_eq!(engine.health().resident(), 30);
            assert!(engine.give_back(both, LONG).await);
            assert_eq!(engine.health().resident(), 0);
        }
    });
}

#[test]
fn a_store_that_was_made_for_another_number_of_partitions_is_refused() {
    simulate(|world| async move {
        let start = |partitions| {
            let options = EngineOptions { partitions, ..options() };
            world.builder().aggregate::<Tally>().options(options).start()
        };
        for wrong in [0, 1025] {
            assert_eq!(start(wrong).await.unwrap_err(), StartError::PartitionCount(wrong));
        }
        assert_eq!(start(1024).await.unwrap().partitions().count(), 1024);
        let refused = start(16).await.unwrap_err();
        assert_eq!(refused, StartError::OtherPartitions { stored: 1024, wanted: 16 });
        let text = refused.to_string();
        assert!(text.contains("`partitions` is 16") && text.contains("set `partitions` to 1024"), "{text}");
        let engine = start(1024).await.unwrap();
        assert_eq!(tallies(&engine).ask(add("a", 1)).await, Ok(1));
    });
}

#[test]
fn an_engine_that_has_ended_takes_nothing() {
    simulate(|world| async move {
        let engine = world.idle().await;
        let partitions = engine.partitions().clone();
        engine.stop().await;
        let refused = partitions.take([Partition(0)]).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!(partitions.owned().borrow().is_empty());
        assert!(partitions.give_back([Partition(0)], LONG).await);
    });
}
