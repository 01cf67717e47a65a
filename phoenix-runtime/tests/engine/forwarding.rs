//! Messages for aggregates of other nodes go there, if there is a way.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use phoenix_runtime::client::Client;
use phoenix_runtime::domain::metadata::{Metadata, Priority};
use phoenix_runtime::engine::{Engine, Forward, Forwarded, Owning};
use phoenix_runtime::event_store::port::StoreError;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::Call;
use phoenix_runtime::testkit::simulation::Simulation;

use crate::tally::{Tally, add, add_later, say, steps, take, top_up};
use crate::wired::simulate_wired;
use crate::world::{World, answers, beside, client, partition_of, sent, simulate, tallies};

const LONG: Duration = Duration::from_mins(1);

/// Takes everything to one node, in the order in which it comes, and remembers what it was.
#[derive(Debug)]
struct Ferry {
    simulation: Simulation,
    to: OnceLock<Client>,
    taken: Mutex<Vec<String>>,
}

impl Forward for Ferry {
    fn forward(&self, message: Forwarded) {
        let to = self.to.get().unwrap().clone();
        match message {
            Forwarded::Command(command) => {
                let envelope = command.envelope.clone();
                let text = String::from_utf8(envelope.payload.clone()).unwrap();
                let (key, timeout) = (envelope.idempotency_key.clone(), envelope.timeout);
                let line = format!("{} {} {text} {key:?} {timeout:?}", envelope.aggregate, envelope.name);
                self.taken.lock().unwrap().push(line);
                assert_eq!(command.partition, partition_of(command.id.as_str()));
                // sent now, so that the order is kept
                let answer = to.send(envelope);
                self.simulation.spawn(self.simulation.group(), async move { command.answer(answer.await.answer) });
            }
            Forwarded::Query(query) => {
                self.taken.lock().unwrap().push(format!("{} {}", query.aggregate, query.name));
                let timeout = query.timeout.unwrap();
                let answer = to.query_named(query.aggregate, query.name, &query.payload, timeout);
                self.simulation.spawn(self.simulation.group(), async move { query.answer(answer.await.answer) });
            }
        }
    }
}

/// A node that owns nothing and knows the way to another one, which owns everything.
async fn pair(world: &World) -> (Engine, Engine, Arc<Ferry>) {
    let owner = world.start().await;
    let ferry = Arc::new(Ferry { simulation: world.simulation.clone(), to: OnceLock::new(), taken: Mutex::default() });
    ferry.to.set(owner.client().here()).ok().unwrap();
    let engine = world.builder().aggregate::<Tally>().owning(Owning::Nothing).forward(ferry.clone());
    (engine.start().await.unwrap(), owner, ferry)
}

#[test]
fn a_typed_client_of_any_node_reaches_the_owner() {
    simulate(|world| async move {
        let (engine, _owner, ferry) = pair(&world).await;
        let of = tallies(&engine);
        let first = of.ask(add("a", 5)).idempotency_key("k").answer().await.unwrap();
        assert_eq!((first.reply, first.version, first.replayed), (5, 1, false));
        let repeat = of.ask(add("a", 5)).idempotency_key("k").answer().await.unwrap();
        assert_eq!((repeat.reply, repeat.version, repeat.replayed), (5, 1, true));
        let refused = of.ask(take("a", 9)).await.unwrap_err();
        assert!(matches!(refused, AskError::Rejected { version: 1, replayed: false, .. }), "{refused:?}");
        assert!(matches!(of.ask(top_up("nobody", 1)).await, Err(AskError::NotFound { .. })));
        assert_eq!(of.ask(add("a", 1)).idempotency_key("k").await.unwrap_err().code(), Code::KeyReused);
        assert_eq!(of.query(steps("a")).await.unwrap(), [5]);
        assert!(matches!(of.query(steps("nobody")).await, Err(QueryError::NotFound)));
        assert_eq!(client(&engine).ask(add("a", 2)).await, Ok(7), "by the message alone");
        of.tell(add("a", 3)).await.unwrap();
        assert_eq!(ferry.taken.lock().unwrap().len(), 9);
        assert_eq!(engine.health().resident(), 0);
    });
}

#[test]
fn everything_that_a_caller_says_goes_along() {
    simulate(|world| async move {
        let (engine, _owner, ferry) = pair(&world).await;
        let metadata = Metadata { correlation_id: Some("talk".to_owned()), ..Metadata::default() };
        let ask = tallies(&engine).ask(add("a", 5)).idempotency_key("k").priority(Priority::High);
        ask.metadata(metadata).timeout(Duration::from_secs(3)).await.unwrap();
        let line = ferry.taken.lock().unwrap().pop().unwrap();
        assert_eq!(line, r#"tally add {"tally":"a","amount":5} Some("k") Some(3s)"#);
        let command = world.events("tally", "a").await[0].command.clone().unwrap();
        assert_eq!((command.correlation_id.as_deref(), command.key.as_deref()), (Some("talk"), Some("k")));
    });
}

#[test]
fn what_is_owned_stays_and_what_shall_stay_is_refused() {
    simulate(|world| async move {
        let (engine, _owner, ferry) = pair(&world).await;
        let here = engine.client().here();
        assert_eq!(here.of::<Tally>().ask(add("a", 1)).await.unwrap_err().code(), Code::OwnershipLost);
        assert_eq!(here.of::<Tally>().query(steps("a")).await.unwrap_err().code(), Code::OwnershipLost);
        assert_eq!(here.snapshot("tally", "a", None).await.unwrap_err().code(), Code::OwnershipLost);
        assert_eq!(client(&engine).snapshot("tally", "a", None).await.unwrap_err().code(), Code::OwnershipLost);
        engine.take([partition_of("a")]).await.unwrap();
        assert_eq!(tallies(&engine).ask(add("a", 1)).await, Ok(1));
        assert_eq!(here.of::<Tally>().ask(add("a", 1)).await, Ok(2));
        assert!(ferry.taken.lock().unwrap().is_empty());
    });
}

#[test]
fn messages_of_a_partition_that_leaves_go_on_in_their_order() {
    simulate(|world| async move {
        let (engine, _owner, ferry) = pair(&world).await;
        engine.take([partition_of("a")]).await.unwrap();
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let mine = sent(of.ask(add("a", 2)).timeout(LONG)).await;
        world.quiet().await;
        let back = sent(engine.give_back([partition_of("a")], LONG)).await;
        let mut theirs = Vec::new();
        for amount in 3..10 {
            theirs.push(sent(of.ask(add("a", amount)).timeout(LONG)).await);
        }
        world.quiet().await;
        world.store.release(Call::Append);
        assert_eq!(mine.answer().await, Ok(3));
        assert!(back.answer().await);
        let lines = ferry.taken.lock().unwrap().clone();
        let amounts: Vec<String> = (3..10).map(|n| format!("\"amount\":{n}")).collect();
        assert_eq!(lines.len(), amounts.len());
        assert!(lines.iter().zip(&amounts).all(|(line, amount)| line.contains(amount)), "{lines:?}");
    });
}

#[test]
fn what_was_waiting_when_a_partition_was_lost_goes_on_and_what_has_begun_does_not() {
    simulate(|world| async move {
        let (engine, owner, ferry) = pair(&world).await;
        engine.take([partition_of("a")]).await.unwrap();
        let of = tallies(&engine);
        let busy = beside("a");
        for tally in ["a", &busy] {
            of.ask(add(tally, 1)).await.unwrap();
        }
        let begun = sent(of.ask(add_later(&busy, 2, 60_000)).timeout(LONG)).await;
        let behind = sent(of.ask(add(&busy, 4)).timeout(LONG)).await;
        world.quiet().await;
        // it does not know yet
        owner.give_back([partition_of("a")], LONG).await;
        owner.take([partition_of("a")]).await.unwrap();
        let finds_out = sent(of.ask(add("a", 2)).timeout(LONG)).await;
        assert_eq!(finds_out.answer().await, Ok(3), "nothing was stored here, so it was sent on");
        assert_eq!(behind.answer().await, Ok(5));
        assert_eq!(begun.answer().await.unwrap_err().code(), Code::OwnershipLost);
        assert_eq!(ferry.taken.lock().unwrap().len(), 2);
    });
}

#[test]
fn what_is_lost_while_its_partition_leaves_does_not_go_on_behind_newer_ones() {
    simulate(|world| async move {
        let (engine, _owner, ferry) = pair(&world).await;
        engine.take([partition_of("a")]).await.unwrap();
        let of = tallies(&engine);
        of.ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let first = sent(of.ask(add("a", 2)).timeout(LONG)).await;
        world.quiet().await;
        let second = sent(of.ask(add("a", 3)).timeout(LONG)).await;
        world.quiet().await;
        let back = sent(engine.give_back([partition_of("a")], LONG)).await;
        world.quiet().await;
        drop(sent(of.ask(add("a", 4)).timeout(LONG)).await);
        world.quiet().await;
        world.idle().await.take([partition_of("a")]).await.unwrap();
        world.store.release(Call::Append);
        assert!(back.answer().await);
        for told in [first.answer().await, second.answer().await] {
            assert_eq!(told.unwrap_err().code(), Code::OwnershipLost);
        }
        assert_eq!(ferry.taken.lock().unwrap().len(), 1);
    });
}

#[test]
fn what_was_perhaps_stored_is_not_sent_on() {
    simulate(|world| async move {
        let (engine, _owner, ferry) = pair(&world).await;
        engine.take([partition_of("a")]).await.unwrap();
        tallies(&engine).ask(add("a", 1)).await.unwrap();
        world.store.hold(Call::Append);
        let unknown = sent(tallies(&engine).ask(add("a", 2)).timeout(LONG)).await;
        world.quiet().await;
        assert!(!engine.give_back([partition_of("a")], Duration::from_secs(1)).await);
        assert_eq!(unknown.answer().await.unwrap_err().code(), Code::OutcomeUnknown);
        assert!(ferry.taken.lock().unwrap().is_empty());
    });
}

#[test]
fn a_message_that_can_not_be_written_is_told_so() {
    simulate(|world| async move {
        let (engine, _owner, ferry) = pair(&world).await;
        for (text, code) in [("refuse", Code::InvalidMessage), ("panic", Code::Panicked)] {
            assert_eq!(tallies(&engine).ask(say("a", text)).await.unwrap_err().code(), code);
        }
        assert!(ferry.taken.lock().unwrap().is_empty());
        assert_eq!(tallies(&engine).ask(say("a", "text")).await, Ok(4));
    });
}

#[derive(Debug)]
struct Void;

impl Forward for Void {
    fn forward(&self, message: Forwarded) {
        drop(message);
    }
}

#[test]
fn a_message_that_is_lost_on_its_way_has_an_unknown_outcome() {
    simulate(|world| async move {
        let builder = world.builder().aggregate::<Tally>().owning(Owning::Nothing).forward(Arc::new(Void));
        let engine = builder.start().await.unwrap();
        assert_eq!(tallies(&engine).ask(add("a", 1)).await.unwrap_err().code(), Code::OutcomeUnknown);
        let asked = tallies(&engine).query(steps("a")).await.unwrap_err();
        assert_eq!(asked.code(), Code::OutcomeUnknown);
        // an error of the store is none of the way
        world.store.next(
            Call::Acquire,
            phoenix_runtime::testkit::scripted_store::Step::Fail(StoreError::Unavailable(String::new())),
        );
        engine.take([partition_of("a")]).await.unwrap_err();
    });
}

#[test]
fn what_goes_on_over_a_bus_is_done_in_the_order_in_which_it_was_sent() {
    simulate_wired(|wired| async move {
        let _owner = wired.node().await;
        // room for one in a hundred of them
        let remote = wired.remote_with("node", |options| options.sender.max_waiting_bytes = 4000).await;
        let builder = wired.world.builder().aggregate::<Tally>().owning(Owning::Nothing).forward(Arc::new(remote));
        let engine = builder.start().await.unwrap();
        let of = tallies(&engine);
        let (mut calls, mut asked) = (Vec::new(), None);
        for amount in 1..=500 {
            for tally in ["a", "b", "c"] {
                calls.push(sent(of.ask(add(tally, amount)).timeout(LONG)).await);
            }
            if amount == 250 {
                asked = Some(sent(of.query(steps("a")).timeout(LONG)).await);
            }
        }
        for answer in answers(calls).await {
            answer.unwrap();
        }
        for tally in ["a", "b", "c"] {
            assert_eq!(wired.steps(tally).await, (1..=500).collect::<Vec<_>>(), "{tally}");
        }
        let seen = asked.unwrap().answer().await.unwrap();
        assert_eq!(seen, (1..=250).collect::<Vec<_>>(), "a query as well");
    });
}
