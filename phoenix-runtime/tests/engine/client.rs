//! The ways to an aggregate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::client::door::Receipt;
use phoenix_runtime::domain::metadata::{Envelope, MAX_HEADER_BYTES};
use phoenix_runtime::engine::{Engine, Owner};
use phoenix_runtime::event_store::memory::MemoryStore;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::scripted_store::{Call, ScriptedStore};
use serde::{Deserialize, Serialize};

use crate::tally::{Refused, Tally, add, harm, steps, take, top_up};
use crate::world::{sent, simulate, tallies};

#[test]
fn a_tell_returns_when_its_outcome_is_durable_whichever_it_is() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let mut told = sent(of.tell(add("a", 1))).await;
        world.quiet().await;
        assert!(!told.is_told().await);
        world.store.release(Call::Append);
        assert_eq!(told.answer().await, Ok(Receipt { version: Some(1), posted: None }));
        assert_eq!(
            of.tell(take("a", 100)).await,
            Ok(Receipt { version: Some(1), posted: None }),
            "a refusal is an outcome"
        );
        assert_eq!(of.tell(top_up("b", 1)).await, Ok(Receipt { version: None, posted: None }));
        let fault = of.tell(harm("a", crate::tally::Harm::PanicInDecide)).await;
        assert_eq!(fault.unwrap_err().code, Code::Panicked, "a fault is none");
    });
}

#[test]
fn an_ask_by_the_message_alone_finds_its_aggregate() {
    simulate(|world| async move {
        let engine = world.start().await;
        let client = engine.client();
        assert_eq!(client.ask(add("a", 5)).await, Ok(5));
        assert_eq!(client.ask(add("a", 5)).idempotency_key("k").await, Ok(10));
        assert_eq!(client.ask(add("a", 5)).idempotency_key("k").await, Ok(10));
        let refused = client.ask(take("a", 100)).priority(Priority::High).await;
        assert_eq!(refused.unwrap_err().rejection(), Some(Refused::Short { total: 10 }));
        world.store.hold(Call::Append);
        let late = client.ask(add("a", 1)).timeout(Duration::from_secs(1)).await;
        assert_eq!(late.unwrap_err().code(), Code::TimedOut);
    });
}

#[test]
fn a_tell_and_a_query_by_the_message_alone_find_their_aggregate() {
    simulate(|world| async move {
        let engine = world.start().await;
        let client = engine.client();
        assert_eq!(client.tell(add("a", 5)).idempotency_key("k").await, Ok(Receipt { version: Some(1), posted: None }));
        let answer = client.ask(add("a", 7)).idempotency_key("k2").answer().await.unwrap();
        assert_eq!((answer.reply, answer.version, answer.replayed), (12, 2, false));
        assert_eq!(client.query(steps("a")).await, Ok(vec![5, 7]));
        assert_eq!(client.query(steps("b")).await.unwrap_err().code(), Code::NotFound);
    });
}

/// Says an aggregate that has no such command, or is not there at all.
#[derive(Debug, Command, Serialize, Deserialize)]
#[command(id = id, aggregate = "tally")]
struct Foreign {
    id: String,
}

#[derive(Debug, Command, Serialize, Deserialize)]
#[command(id = id, aggregate = "stranger")]
struct Stranger {
    id: String,
}

#[test]
fn unknown_names_are_named() {
    simulate(|world| async move {
        let engine = world.start().await;
        let client = engine.client();
        let id = || "a".to_owned();
        for fault in
            [client.ask(Foreign { id: id() }).await.unwrap_err(), client.ask(Stranger { id: id() }).await.unwrap_err()]
        {
            assert_eq!(fault.code(), Code::UnknownName);
            assert!(fault.to_string().contains("tally") || fault.to_string().contains("stranger"), "{fault}");
        }
        for (aggregate, name) in [("tally", "nothing"), ("nobody", "steps")] {
            let asked = client.query_named(aggregate, name, br#"{"tally":"a"}"#, Duration::from_secs(1)).await;
            assert_eq!(asked.answer.unwrap_err().code(), Code::UnknownName);
        }
        // a typed ask to an aggregate that this node does not run
        let other = world.builder().start().await.unwrap();
        assert_eq!(tallies(&other).ask(add("a", 1)).await.unwrap_err().code(), Code::UnknownName);
        assert_eq!(tallies(&other).query(steps("a")).await.unwrap_err().code(), Code::UnknownName);
        assert_eq!(client.catalog().owner_of_command("add"), Owner::Unique("tally"));
        assert_eq!(client.catalog().owner_of_query("add"), Owner::Unknown);
    });
}

#[test]
fn commands_and_queries_by_name_are_json() {
    simulate(|world| async move {
        let engine = world.start().await;
        let client = engine.client();
        let envelope = |payload: &str| Envelope {
            id: client.next_message_id(),
            aggregate: "tally".to_owned(),
            name: "take".to_owned(),
            idempotency_key: Some("k".to_owned()),
            priority: Priority::Normal,
            timeout: None,
            metadata: Metadata::default(),
            payload: payload.as_bytes().to_vec(),
        };
        tallies(&engine).ask(add("a", 1)).await.unwrap();
        let bad = client.send(envelope(r#"{"tally":"a","amount":"much"}"#)).await.answer.unwrap_err();
        assert_eq!(bad.code(), Code::InvalidMessage);
        assert!(format!("{bad:?}").contains("amount"), "{bad:?}");
        for expected in [false, true] {
            let sent = client.send(envelope(r#"{"tally":"a","amount":5}"#)).await;
            assert_eq!(sent.id, Some(AggregateId::new("a").unwrap()));
            let Err(AskError::Rejected { rejection, version: 1, replayed }) = sent.answer else {
                panic!("no rejection")
            };
            assert_eq!(rejection, br#"{"Short":{"total":1}}"#);
            assert_eq!(replayed, expected);
        }
        let asked = client.query_named("tally", "steps", br#"{"tally":"a"}"#, Duration::from_secs(1)).await;
        assert_eq!(asked.answer.unwrap().reply, b"[1]");
    });
}

#[test]
fn an_envelope_that_is_sent_twice_is_done_once() {
    simulate(|world| async move {
        let engine = world.start().await;
        let client = engine.client();
        let envelope = Envelope {
            id: client.next_message_id(),
            aggregate: "tally".to_owned(),
            name: "add".to_owned(),
            idempotency_key: None,
            priority: Priority::Normal,
            timeout: None,
            metadata: Metadata::default(),
            payload: br#"{"tally":"a","amount":5}"#.to_vec(),
        };
        for replayed in [false, true, true] {
            let answer = client.send(envelope.clone()).await.answer.unwrap();
            assert_eq!((answer.reply.as_slice(), answer.replayed), (b"5".as_slice(), replayed));
        }
        assert_eq!(world.events("tally", "a").await.len(), 1);
    });
}

#[test]
fn an_ask_times_out_and_may_be_sent_again_with_its_key() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        let ask = || of.ask(add("a", 5)).idempotency_key("k").timeout(Duration::from_secs(2));
        let late = ask().await.unwrap_err();
        assert_eq!(late.code(), Code::TimedOut);
        assert!(late.is_retryable());
        let question = of.query(steps("a")).timeout(Duration::from_secs(2)).await;
        assert_eq!(question.unwrap_err().code(), Code::TimedOut);
        world.store.release(Call::Append);
        let again = ask().answer().await.unwrap();
        assert!(again.replayed && again.reply == 5, "it was done meanwhile, once");
    });
}

#[test]
fn what_travels_along_is_bounded() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        for (bytes, fits) in [(MAX_HEADER_BYTES, true), (MAX_HEADER_BYTES + 1, false)] {
            let headers = BTreeMap::from([("n".to_owned(), "v".repeat(bytes - 1))]);
            let by_header = Metadata { headers, ..Metadata::default() };
            let by_correlation = Metadata { correlation_id: Some("v".repeat(bytes)), ..Metadata::default() };
            for metadata in [by_header, by_correlation] {
                let alone = engine.client().ask(add("a", 1)).metadata(metadata.clone()).await;
                assert_eq!(alone.is_ok(), fits, "by the message alone");
                let told = of.ask(add("a", 1)).metadata(metadata).await.map_err(|e| e.code());
                assert_eq!(told.is_ok(), fits);
                assert!(fits || told == Err(Code::InvalidMessage));
            }
        }
    });
}

#[test]
fn an_id_has_1_to_255_bytes() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        for (length, fits) in [(0, false), (1, true), (255, true), (256, false)] {
            let id = "i".repeat(length);
            let told = of.ask(add(&id, 1)).await.map_err(|e| e.code());
            assert_eq!(told, if fits { Ok(1) } else { Err(Code::InvalidMessage) }, "{length}");
            let told = of.query(steps(&id)).await.map_err(|e| e.code());
            assert_eq!(told, if fits { Ok(vec![1]) } else { Err(Code::InvalidMessage) }, "{length}");
        }
    });
}

#[test]
fn a_command_is_done_also_if_its_caller_does_not_wait() {
    simulate(|world| async move {
        let engine = world.start().await;
        let of = tallies(&engine);
        world.store.hold(Call::Append);
        drop(sent(of.ask(add("a", 5))).await);
        drop(of.ask(add("a", 7)));
        world.quiet().await;
        world.store.release(Call::Append);
        assert_eq!(of.query(steps("a")).await.unwrap(), [5], "nothing is sent until it is awaited");
    });
}

#[test]
fn clones_are_used_from_many_threads() {
    const THREADS: usize = 8;
    const ASKS: usize = 200;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let store = Arc::new(MemoryStore::new());
    let engine = runtime.block_on(Engine::builder(store).aggregate::<Tally>().start()).unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (client, handle) = (engine.client(), runtime.handle().clone());
            std::thread::spawn(move || {
                handle.block_on(async {
                    for ask in 0..ASKS {
                        let id = format!("t{}", (thread + ask) % 4);
                        client.clone().of::<Tally>().ask(add(&id, 1)).await.unwrap();
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let total: i64 = (0..4)
        .map(|number| {
            let of = engine.client().of::<Tally>();
            runtime.block_on(async move { of.query(steps(&format!("t{number}"))).await }).unwrap().iter().sum::<i64>()
        })
        .sum();
    assert_eq!(total, i64::try_from(THREADS * ASKS).unwrap());
    assert!(runtime.block_on(engine.drain(Duration::from_secs(10))));
}

#[test]
fn asks_time_out_on_the_clock_of_the_machine_too() {
    const SHORT: Duration = Duration::from_millis(50);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let store = ScriptedStore::new(Arc::new(MemoryStore::new()));
        let engine = Engine::builder(Arc::new(store.clone())).aggregate::<Tally>().start().await.unwrap();
        let of = tallies(&engine);
        assert_eq!(of.ask(add("a", 1)).await, Ok(1));
        store.hold(Call::Append);
        let patient = tokio::spawn(of.ask(add("a", 2)).timeout(Duration::from_mins(1)));
        let began = std::time::Instant::now();
        let late = of.ask(add("b", 1)).timeout(SHORT).await.unwrap_err();
        assert_eq!((late.code(), began.elapsed() >= SHORT), (Code::TimedOut, true));
        let late = of.query(steps("a")).timeout(SHORT).await.unwrap_err();
        assert!(matches!(late, QueryError::Fault(fault) if fault.code == Code::TimedOut));
        assert!(!patient.is_finished());
        store.release(Call::Append);
        assert_eq!(patient.await.unwrap(), Ok(3));
    });
}
