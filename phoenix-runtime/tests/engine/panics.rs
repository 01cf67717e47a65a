//! A fault in user code harms its own aggregate only.

use std::time::Duration;

use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::Call;
use serde::{Deserialize, Serialize};

use crate::tally::{Fail, Harm, add, add_later, harm, steps};
use crate::world::{answers, sent, simulate, tallies};

/// Both at once, with neighbours before and behind: only the harmful one is told of it.
#[test]
fn a_panic_while_deciding_fails_that_command_only() {
    for kind in [Harm::PanicInDecide, Harm::PanicInEvolve] {
        simulate(move |world| async move {
            let engine = world.start().await;
            let of = tallies(&engine);
            of.ask(add("a", 1)).await.unwrap();
            world.store.hold(Call::Append);
            let mut all = vec![sent(of.ask(add("a", 2))).await];
            world.quiet().await;
            all.push(sent(of.ask(add("a", 3))).await);
            let harmful = sent(of.ask(harm("a", kind)).idempotency_key("k")).await;
            all.push(sent(of.ask(add("a", 4))).await);
            all.push(sent(of.ask(add("b", 5))).await);
            world.quiet().await;
            world.store.release(Call::Append);
            assert_eq!(harmful.answer().await.unwrap_err().code(), Code::Panicked, "{kind:?}");
            assert_eq!(answers(all).await, [Ok(3), Ok(6), Ok(10), Ok(5)], "{kind:?}");
            // the whole decision is gone, also what it did before it panicked
            assert_eq!(of.query(steps("a")).await.unwrap(), [1, 2, 3, 4]);
            assert_eq!(world.events("tally", "a").await.len(), 4);
            // a fault is no outcome: the same command may be tried again
            let again = of.ask(harm("a", kind)).idempotency_key("k").await;
            assert_eq!(again.unwrap_err().code(), Code::Panicked);
        });
    }
}

#[test]
fn a_panic_in_replay_parks_the_aggregate_for_a_while() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        of.ask(harm("a", Harm::PanicInReplay)).await.unwrap();
        of.ask(add("b", 1)).await.unwrap();
        engine.stop().await;
        let engine = world.start().await;
        let of = tallies(&engine);
        let mut parked = Vec::new();
        for _ in 0..3 {
            parked.push(sent(of.ask(add("a", 1))).await);
        }
        for told in answers(parked).await {
            assert_eq!(told.unwrap_err().code(), Code::Parked);
        }
        assert_eq!(engine.health().parked(), 1);
        assert_eq!(of.ask(add("b", 1)).await, Ok(2));
        let read = world.store.calls(Call::ReadStream);
        assert_eq!(of.query(steps("a")).await.unwrap_err().code(), Code::Parked);
        assert_eq!(world.store.calls(Call::ReadStream), read, "not tried at once");
        world.simulation.sleep(Duration::from_secs(61)).await;
        assert_eq!(of.query(steps("a")).await.unwrap_err().code(), Code::Parked);
        assert_eq!(world.store.calls(Call::ReadStream), read + 1, "it was tried again");
        assert_eq!(engine.health().parked(), 1);
        assert_eq!(engine.health().resident(), 1, "only `b`");
    });
}

#[test]
fn a_panic_in_a_query_fails_that_query_only() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let before = sent(of.ask(add("a", 2))).await;
        let question = sent(of.query(Fail { tally: "a".to_owned() })).await;
        let behind = sent(of.ask(add("a", 3))).await;
        world.quiet().await;
        world.store.release(Call::Append);
        assert_eq!(question.answer().await.unwrap_err().code(), Code::Panicked);
        assert_eq!(answers(vec![before, behind]).await, [Ok(3), Ok(6)]);
    });
}

#[test]
fn a_panic_in_an_async_handler_fails_that_command_only() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        let harmful = sent(of.ask(add_later("a", 13, 5))).await;
        let behind = sent(of.ask(add("a", 2))).await;
        assert_eq!(harmful.answer().await.unwrap_err().code(), Code::Panicked);
        assert_eq!(behind.answer().await, Ok(3));
    });
}

/// Can't even be made.
#[aggregate(name = "unborn", snapshot_every = never)]
#[derive(Debug)]
struct Unborn;

impl Default for Unborn {
    fn default() -> Self {
        panic!("asked for")
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = id)]
struct Wake {
    id: String,
}

#[event_sourced]
impl Unborn {
    #[command_handler]
    fn wake(&self, _: Wake) {}
}

#[test]
fn a_panic_while_a_state_is_made_parks_the_aggregate() {
    simulate(|world| async move {
        let engine = world.builder().aggregate::<Unborn>().aggregate::<crate::tally::Tally>().start().await.unwrap();
        let told = engine.client().of::<Unborn>().ask(Wake { id: "a".to_owned() }).await;
        assert_eq!(told.unwrap_err().code(), Code::Parked);
        assert_eq!(tallies(&engine).ask(add("a", 1)).await, Ok(1));
    });
}
