//! Who leaves memory, and who may not.

use std::time::Duration;

use phoenix_runtime::engine::{Engine, EngineOptions};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::Call;
use phoenix_runtime::testkit::simulation::Simulation;
use serde::{Deserialize, Serialize};

use crate::tally::{Fail, add, steps, take, top_up, touch};
use crate::world::{World, answers, options, sent, simulate, tallies};

/// Leaves when nobody asks.
#[aggregate(name = "sleeper", snapshot_every = never, passivate_after = "10s")]
#[derive(Debug, Default)]
struct Sleeper {
    nights: i64,
}

/// Leaves when others come.
#[aggregate(name = "guest", snapshot_every = never, max_resident = 4, idempotency_window = 2)]
#[derive(Debug, Default)]
struct Guest {
    nights: i64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = name, reply = i64)]
struct Stay {
    name: String,
}

fn stay(name: impl ToString) -> Stay {
    Stay { name: name.to_string() }
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = name, reply = i64)]
struct StayLong {
    name: String,
    seconds: u64,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "stayed")]
struct Stayed;

#[event_sourced]
impl Sleeper {
    #[command_handler(reply = self.nights)]
    fn stay(&self, _: Stay) -> Stayed {
        Stayed
    }

    #[command_handler(reply = self.nights)]
    async fn stay_long(&self, command: StayLong, context: &Context) -> Stayed {
        if let Some(world) = context.resource::<Simulation>() {
            world.sleep(Duration::from_secs(command.seconds)).await;
        }
        Stayed
    }

    #[event_handler]
    fn stayed(&mut self, _: &Stayed) {
        self.nights += 1;
    }
}

#[event_sourced]
impl Guest {
    #[command_handler(reply = self.nights)]
    fn stay(&self, _: Stay) -> Stayed {
        Stayed
    }

    #[event_handler]
    fn stayed(&mut self, _: &Stayed) {
        self.nights += 1;
    }
}

async fn start(world: &World, options: EngineOptions) -> Engine {
    world.builder().aggregate::<Sleeper>().aggregate::<Guest>().options(options).start().await.unwrap()
}

#[test]
fn who_is_idle_for_too_long_leaves() {
    simulate(|world| async move {
        let engine = start(&world, options()).await;
        let of = engine.client().of::<Sleeper>();
        of.ask(stay("idle")).await.unwrap();
        for _ in 0..4 {
            of.ask(stay("busy")).await.unwrap();
            assert_eq!(engine.health().resident(), 2);
            world.pass(Duration::from_secs(2)).await;
        }
        world.pass(Duration::from_secs(4)).await;
        assert_eq!(engine.health().resident(), 1, "who was asked stays");
        world.pass(Duration::from_secs(10)).await;
        assert_eq!(engine.health().resident(), 0);
        assert_eq!(of.ask(stay("busy")).await, Ok(5), "it comes back as it was");
    });
}

#[test]
fn nobody_leaves_while_something_of_it_is_open() {
    simulate(|world| async move {
        let engine = start(&world, EngineOptions { handler_deadline: Duration::from_secs(100), ..options() }).await;
        let of = engine.client().of::<Sleeper>();
        let wait = Duration::from_secs(200);
        let long = sent(of.ask(StayLong { name: "handler".to_owned(), seconds: 60 }).timeout(wait)).await;
        world.quiet().await;
        world.store.hold(Call::Append);
        world.store.hold_stream("cold");
        let append = sent(of.ask(stay("append")).timeout(wait)).await;
        let cold = sent(of.ask(stay("cold")).timeout(wait)).await;
        world.pass(Duration::from_secs(50)).await;
        assert_eq!(engine.health().resident(), 3);
        let reads = world.store.calls(Call::KnownKeys);
        world.store.release(Call::Append);
        world.store.release_stream("cold");
        assert_eq!(append.answer().await, Ok(1));
        assert_eq!(cold.answer().await, Ok(1));
        assert_eq!(long.answer().await, Ok(1));
        assert_eq!(world.store.calls(Call::KnownKeys), reads, "each had one cell");
        world.pass(Duration::from_secs(20)).await;
        assert_eq!(engine.health().resident(), 0);
    });
}

#[test]
fn who_was_used_least_recently_leaves_first() {
    simulate(|world| async move {
        let engine = start(&world, options()).await;
        let of = engine.client().of::<Guest>();
        for name in ["a", "b", "c", "d", "a", "e"] {
            of.ask(stay(name)).await.unwrap();
            world.pass(Duration::from_secs(2)).await;
        }
        assert_eq!(engine.health().resident(), 4);
        let reads = world.store.calls(Call::KnownKeys);
        for name in ["a", "c", "d", "e"] {
            of.ask(stay(name)).await.unwrap();
        }
        assert_eq!(world.store.calls(Call::KnownKeys), reads, "these stayed");
        assert_eq!(of.ask(stay("b")).await, Ok(2));
        assert_eq!(world.store.calls(Call::KnownKeys), reads + 1, "this one left");
    });
}

#[test]
fn no_more_are_resident_than_a_node_may_have() {
    for shards in [1, 2, 4] {
        simulate(move |world| async move {
            let engine = start(&world, EngineOptions { shards: Some(shards), ..options() }).await;
            let of = engine.client().of::<Guest>();
            for number in 0..60 {
                of.ask(stay(number)).await.unwrap();
            }
            assert!(engine.health().resident() <= 4, "one after another: {}", engine.health().resident());
            let mut all = Vec::new();
            for number in 0..60 {
                all.push(sent(of.ask(stay(number))).await);
            }
            assert!(answers(all).await.into_iter().all(|answer| answer == Ok(2)));
            world.quiet().await;
            assert!(engine.health().resident() <= 4, "all at once: {}", engine.health().resident());
        });
    }
}

#[test]
fn a_repeat_to_an_aggregate_that_left_is_done_once() {
    simulate(|world| async move {
        let engine = start(&world, options()).await;
        let of = engine.client().of::<Guest>();
        for key in ["old", "k1", "k2", "k3"] {
            of.ask(stay("a")).idempotency_key(key).await.unwrap();
        }
        for number in 0..20 {
            of.ask(stay(number)).await.unwrap();
        }
        for (key, reply) in [("k3", 4), ("old", 1)] {
            let repeat = of.ask(stay("a")).idempotency_key(key).answer().await.unwrap();
            assert!(repeat.replayed && repeat.reply == reply, "{key}");
        }
        assert_eq!(world.events("guest", "a").await.len(), 4);
    });
}

#[test]
fn asking_for_what_does_not_exist_leaves_nothing_in_memory() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        for number in 0..50 {
            let id = format!("made-up-{number}");
            assert_eq!(of.query(steps(&id)).await, Err(QueryError::NotFound));
            assert_eq!(of.query(Fail { tally: id.clone() }).await, Err(QueryError::NotFound));
            assert_eq!(of.ask(take(&id, 5)).await.unwrap_err().code(), Code::Rejected);
            assert_eq!(of.ask(top_up(&id, 5)).await, Err(AskError::NotFound { replayed: false }));
            assert_eq!(of.ask(touch(&id)).await, Ok(0));
        }
        let mut all = Vec::new();
        for number in 0..50 {
            all.push(sent(of.query(steps(&format!("made-up-{number}")))).await);
        }
        answers(all).await;
        world.quiet().await;
        assert_eq!(engine.health().resident(), 0);
        of.ask(add("real", 1)).await.unwrap();
        assert_eq!(engine.health().resident(), 1);
    });
}
