//! Start, drain, stop.

use std::time::Duration;

use phoenix_runtime::domain::context::Resources;
use phoenix_runtime::engine::{EngineOptions, StartError};
use phoenix_runtime::event_store::port::StoreError;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, Step};
use serde::{Deserialize, Serialize};

use crate::tally::{Tally, add, add_later, relay, steps};
use crate::world::{World, answers, options, sent, simulate, tallies};

#[test]
fn a_drain_finishes_what_is_there_and_refuses_what_is_new() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        world.store.hold_stream("cold");
        let slow = sent(of.ask(add_later("slow", 5, 2000))).await;
        let mut all = vec![sent(of.ask(add("a", 1))).await];
        world.quiet().await;
        all.push(sent(of.ask(add("a", 2))).await);
        all.push(sent(of.ask(add("cold", 3))).await);
        world.quiet().await;
        let mut drained = sent(engine.drain(Duration::from_mins(1))).await;
        world.quiet().await;
        assert_eq!(of.ask(add("a", 100)).await.unwrap_err().code(), Code::Stopping);
        assert_eq!(of.query(steps("a")).await.unwrap_err().code(), Code::Stopping);
        assert!(!drained.is_told().await);
        world.store.release(Call::Append);
        world.store.release_stream("cold");
        assert_eq!(answers(all).await, [Ok(1), Ok(3), Ok(3)]);
        assert_eq!(slow.answer().await, Ok(5));
        assert!(drained.answer().await, "all was finished");
        assert_eq!(world.events("tally", "a").await.len(), 2);
    });
}

#[test]
fn a_handler_that_is_at_work_may_ask_until_a_drain_is_over() {
    for shards in [1, 2, 8] {
        simulate(move |world| async move {
            let engine = world.engine(EngineOptions { shards: Some(shards), ..options() }).await;
            let of = tallies(&engine);
            let mut all = Vec::new();
            for number in 0..8 {
                let (first, second) = (format!("a{number}"), format!("b{number}"));
                all.push(sent(of.ask(relay(&[&first, &second, "last"], 500))).await);
            }
            world.quiet().await;
            assert!(engine.drain(Duration::from_mins(1)).await, "all was finished");
            for told in answers(all).await {
                assert_eq!(told.as_deref(), Ok("added"));
            }
        });
    }
}

#[test]
fn a_drain_is_bounded() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let stuck = sent(of.ask(add("a", 1)).timeout(Duration::from_secs(100))).await;
        world.quiet().await;
        let began = world.now();
        assert!(!engine.drain(Duration::from_secs(3)).await, "not all was finished");
        let took = world.since(began);
        assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&took), "{took:?}");
        assert_eq!(stuck.answer().await.unwrap_err().code(), Code::OutcomeUnknown);
    });
}

/// Somebody waits in each place where one can wait.
async fn everywhere(world: &World, of: &phoenix_runtime::client::Of<Tally>) -> Vec<Waiting> {
    world.store.hold(Call::Append);
    world.store.hold_stream("cold");
    let mut all: Vec<Waiting> = Vec::new();
    for (id, amount) in [("a", 1), ("a", 2), ("b", 3), ("cold", 4)] {
        let of = of.clone();
        all.push(sent(waiting(async move { of.ask(add(id, amount)).await.map_err(|e| e.code()) })).await);
        world.quiet().await;
    }
    let of = of.clone();
    let slow = async move { of.ask(add_later("slow", 5, 2000)).await.map_err(|e| e.code()) };
    all.push(sent(waiting(slow)).await);
    world.quiet().await;
    all
}

type Waiting = crate::world::Sent<std::pin::Pin<Box<dyn Future<Output = Result<i64, Code>> + Send>>>;

fn waiting(
    call: impl Future<Output = Result<i64, Code>> + Send + 'static,
) -> std::pin::Pin<Box<dyn Future<Output = Result<i64, Code>> + Send>> {
    Box::pin(call)
}

#[test]
fn a_stop_tells_those_who_wait() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        let all = everywhere(&world, &of).await;
        let began = world.now();
        engine.stop().await;
        assert!(answers(all).await.iter().all(|told| *told == Err(Code::OutcomeUnknown)));
        assert_eq!(of.ask(add("a", 1)).await.unwrap_err().code(), Code::Stopping);
        assert_eq!(world.now(), began, "at once");
    });
}

#[test]
fn an_engine_that_is_dropped_stops() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        let all = everywhere(&world, &of).await;
        drop(engine);
        assert!(answers(all).await.iter().all(|told| *told == Err(Code::OutcomeUnknown)));
        assert_eq!(of.ask(add("a", 1)).await.unwrap_err().code(), Code::Stopping);
    });
}

#[test]
fn two_aggregates_of_one_name_do_not_start() {
    mod other {
        use phoenix_runtime::prelude::*;

        #[aggregate(name = "tally", snapshot_every = never)]
        #[derive(Debug, Default)]
        pub(super) struct Other;

        #[event_sourced]
        impl Other {}
    }
    simulate(|world| async move {
        let told = world.builder().aggregate::<Tally>().aggregate::<other::Other>().start().await.unwrap_err();
        assert_eq!(told, StartError::DuplicateAggregate("tally"));
        assert_eq!(world.store.calls(Call::Acquire), 0, "nobody lost the store for it");
    });
}

#[test]
fn all_missing_resources_are_named() {
    struct Rates;
    struct Calendar;

    #[aggregate(name = "deal", snapshot_every = never)]
    #[derive(Debug, Default)]
    struct Deal;

    #[derive(Command, Serialize, Deserialize)]
    #[command(id = deal)]
    struct Price {
        deal: String,
    }

    #[derive(Command, Serialize, Deserialize)]
    #[command(id = deal)]
    struct Settle {
        deal: String,
    }

    #[event_sourced]
    impl Deal {
        #[command_handler(uses(Rates, Calendar))]
        fn price(&self, _: Price) {}

        #[command_handler(uses(Rates))]
        async fn settle(&self, _: Settle, context: &Context) {
            assert!(context.resource::<Rates>().is_some());
        }
    }

    simulate(|world| async move {
        let told = world.builder().aggregate::<Deal>().start().await.unwrap_err();
        let StartError::MissingResources(missing) = told else { panic!("{told}") };
        assert_eq!(
            missing,
            [
                "`Rates` for the command `price` of `deal`",
                "`Calendar` for the command `price` of `deal`",
                "`Rates` for the command `settle` of `deal`"
            ]
        );
        let resources = Resources::default().with(Rates).with(Calendar);
        let engine = world.builder().aggregate::<Deal>().resources(resources).start().await.unwrap();
        assert_eq!(engine.client().of::<Deal>().ask(Settle { deal: "d".to_owned() }).await, Ok(()));
    });
}

#[test]
fn a_store_that_fails_does_not_start() {
    for call in [Call::Acquire, Call::LastSequences] {
        simulate(move |world| async move {
            let error = StoreError::Unavailable("scripted".to_owned());
            world.store.next(call, Step::Fail(error.clone()));
            let told = world.builder().aggregate::<Tally>().start().await.unwrap_err();
            assert_eq!(told, StartError::Store(error));
            let engine = world.start().await;
            assert_eq!(tallies(&engine).ask(add("a", 1)).await, Ok(1), "the next try is as good as the first");
        });
    }
}

#[test]
fn a_restart_knows_all_that_was_told() {
    simulate(|world| async move {
        let mut expected = 0;
        for shards in [1, 3, 2, 8] {
            let engine = world.engine(EngineOptions { shards: Some(shards), ..options() }).await;
            for amount in 1..=5 {
                expected += amount;
                assert_eq!(tallies(&engine).ask(add("a", amount)).await, Ok(expected));
            }
            engine.stop().await;
        }
    });
}
