//! What a client over a bus promises to those who call.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::bus::envelope::{Call, Message, Replied, ReplyOutcome, ReplyTo};
use phoenix_runtime::bus::{Bus, BusError, Record, TopicPartition};
use phoenix_runtime::client::door::Request;
use phoenix_runtime::client::remote::{Remote, RemoteOptions, Replies};
use phoenix_runtime::delivery::settle;
use phoenix_runtime::domain::id::{AggregateId, MessageId};
use phoenix_runtime::domain::metadata::{Envelope, Metadata, Priority};
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::bus::{BusFaults, FaultyBus};

use crate::tally::{Known, Tally, Tell, add, add_later, steps};
use crate::wired::{TOPIC, Wired, call, partition_of, simulate_wired};
use crate::world::{answers, client, sent};

/// The topic of commands, where no node made it yet.
async fn topic(wired: &Wired) {
    wired.bus.create(TOPIC.into(), 16).await.unwrap();
}

/// To add one to a tally, with this message id.
fn one_more(tally: &str, id: MessageId) -> Request {
    let envelope = Envelope {
        id,
        aggregate: "tally".to_owned(),
        name: "add".to_owned(),
        idempotency_key: None,
        priority: Priority::Normal,
        timeout: None,
        metadata: Metadata::default(),
        payload: serde_json::to_vec(&add(tally, 1)).unwrap(),
    };
    let subject = AggregateId::new(tally).unwrap();
    Request { envelope, subject, record_key: None, reply_to: None, expires_after: None }
}

/// The records of a partition that come while `work` is done.
async fn records(wired: &Wired, of: &TopicPartition, work: impl Future<Output = ()>) -> Vec<Record> {
    let before = wired.bus.offsets(of.clone(), "").await.unwrap().end;
    let mut follower = wired.bus.follow(of.clone(), 1000).await.unwrap();
    work.await;
    let count = wired.bus.offsets(of.clone(), "").await.unwrap().end - before;
    let mut records = Vec::new();
    while (records.len() as u64) < count {
        records.extend(follower.next().await.unwrap().into_iter().map(|received| received.record));
    }
    records
}

fn code<T: std::fmt::Debug>(told: Result<T, AskError<impl std::fmt::Debug>>) -> Code {
    told.unwrap_err().code()
}

#[test]
fn calls_are_done_in_the_order_in_which_they_were_first_polled() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        // what is not slow makes room while calls are made
        let faults = BusFaults { slow: 0, rebalance: 0, lost: 0, ..BusFaults::MANY };
        let bus = Arc::new(FaultyBus::in_world(wired.seen.clone(), &wired.world.simulation, faults));
        let remote = wired.remote_over(bus, "a", |options| options.sender.max_waiting_bytes = 4000).await;
        let mut calls = Vec::new();
        for amount in 1..=300 {
            for tally in ["a", "b"] {
                calls.push(sent(remote.ask(add(tally, amount)).timeout(Duration::from_mins(10))).await);
            }
            tokio::task::yield_now().await;
            if amount % 20 == 0 {
                wired.world.pass(Duration::from_millis(50)).await;
            }
        }
        for answer in answers(calls).await {
            answer.unwrap();
        }
        for tally in ["a", "b"] {
            assert_eq!(wired.steps(tally).await, (1..=300).collect::<Vec<_>>(), "{tally}");
        }
    });
}

#[test]
fn a_call_whose_future_rests_holds_up_no_other() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote_with("a", |options| options.sender.max_waiting_bytes = 600).await;
        let resting: Vec<_> = [sent(remote.ask(add("a", 1))).await, sent(remote.ask(add("b", 1))).await].into();
        assert_eq!(remote.ask(add("b", 2)).await, Ok(3), "though nobody looks after those before it");
        for answer in answers(resting).await {
            assert_eq!(answer, Ok(1));
        }
    });
}

#[test]
fn a_place_among_those_who_wait_is_given_up_by_its_own_ask_alone() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let door = remote.door();
        let id = door.next_message_id();
        let first = sent(door.ask(one_more("a", id))).await;
        wired.world.pass(Duration::from_secs(1)).await;
        // it was told, and does not know yet
        let second = sent(door.ask(one_more("a", id))).await;
        assert_eq!(first.answer().await.unwrap().version, 1);
        let second = second.answer().await.unwrap();
        assert_eq!((second.version, second.replayed), (1, true));
    });
}

#[test]
fn as_many_asks_wait_as_may_and_each_id_once() {
    simulate_wired(|wired| async move {
        topic(&wired).await;
        let remote = wired.remote_with("a", |options| options.max_waiting = 2).await;
        let door = remote.door();
        let id = door.next_message_id();
        let first = sent(door.ask(one_more("a", id))).await;
        let taken = door.ask(one_more("a", id)).await.unwrap_err();
        assert_eq!(taken.code(), Code::InvalidMessage, "{taken}");
        assert!(taken.to_string().contains(&format!("the reply to the message {id} is waited for already")), "{taken}");
        let second = sent(remote.ask(add("b", 1))).await;
        let full = remote.ask(add("b", 2)).await.unwrap_err();
        assert_eq!(full.code(), Code::MailboxFull, "{full}");
        assert!(full.code().is_retryable() && full.to_string().contains("2 asks of this client wait"), "{full}");
        assert_eq!(remote.query(steps("b")).await.unwrap_err().code(), Code::MailboxFull);
        assert!(remote.tell(add("b", 3)).await.is_ok(), "one that is told waits for no reply");
        // one that goes makes room, and so does one that is told
        drop(second);
        let third = sent(remote.ask(add("b", 4))).await;
        let _node = wired.node().await;
        assert_eq!(first.answer().await.unwrap().version, 1);
        assert_eq!(third.answer().await, Ok(8));
        assert_eq!(remote.ask(add("b", 1)).await, Ok(9));
        assert_eq!(wired.steps("b").await, [1, 3, 4, 1], "what was refused was not sent");
    });
}

#[test]
fn the_topic_of_calls_is_none_for_replies() {
    simulate_wired(|wired| async move {
        topic(&wired).await;
        let mut options = RemoteOptions::new("replies.a", Replies::Topic(TOPIC.into()));
        options.topics.insert("tally".to_owned(), TOPIC.into());
        let simulation = &wired.world.simulation;
        let spawn = simulation.spawner(simulation.group());
        let clock = Arc::new(simulation.clock());
        let started = Remote::start(wired.seen.clone(), options, clock, simulation.seed(), spawn).await;
        assert!(matches!(started, Err(BusError::Refused(_))), "commands would be given up");
    });
}

#[test]
fn what_is_told_carries_all_that_its_caller_says() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let others = TopicPartition::new("others", 1);
        wired.bus.create("others".into(), 2).await.unwrap();
        let commands = TopicPartition::new(TOPIC, partition_of("a"));
        let headers = [("tenant".to_owned(), "x".to_owned())].into();
        let metadata = Metadata {
            correlation_id: Some("talk".to_owned()),
            causation_id: Some("cause".to_owned()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            headers,
        };
        let tell = remote.of::<Tally>().tell(Tell { tally: "a".to_owned() }).record_key("order-7").idempotency_key("k");
        let tell = tell.priority(Priority::High).metadata(metadata.clone()).reply_to(ReplyTo(others.clone()));
        let (mut sent, mut told) = (Vec::new(), Vec::new());
        told.extend(
            records(&wired, &others, async {
                let work = async {
                    tell.await.unwrap();
                    wired.world.pass(Duration::from_secs(1)).await;
                };
                sent.extend(records(&wired, &commands, work).await);
            })
            .await,
        );
        let [record] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(record.key.as_deref(), Some(&b"order-7"[..]));
        let Message::Call(call) = Message::from_record(record).unwrap() else { panic!("{record:?}") };
        let Call { id, idempotency_key, priority, reply_to, deadline_millis, attempt, .. } = call;
        assert_eq!((idempotency_key.as_deref(), priority, attempt), (Some("k"), Priority::High, 0));
        assert_eq!((call.metadata, reply_to, deadline_millis), (metadata.clone(), Some(ReplyTo(others.clone())), None));

        let [record] = &told[..] else { panic!("{told:?}") };
        let Message::Reply(reply) = Message::from_record(record).unwrap() else { panic!("{record:?}") };
        let Replied { to, outcome, version, payload, .. } = reply;
        assert_eq!((to, outcome, version), (id, ReplyOutcome::Replied, Some(1)));
        let caused = Metadata { causation_id: Some(id.to_string()), ..metadata.clone() };
        assert_eq!(reply.metadata, caused);
        let known: Known = serde_json::from_slice(&payload).unwrap();
        assert_eq!((&*known.id, &*known.correlation, known.message), ("a", "talk", id.to_string()));
        let stored = wired.world.events("tally", "a").await[0].command.clone().unwrap();
        assert_eq!((stored.key.as_deref(), stored.causation_id.as_deref()), (Some("k"), Some("cause")));
    });
}

#[test]
fn commands_of_a_priority_keep_their_order_over_a_bus() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let busy = sent(remote.of::<Tally>().ask(add_later("a", 1000, 1_000))).await;
        wired.world.pass(Duration::from_millis(100)).await;
        let of = [Priority::Low, Priority::Normal, Priority::High];
        for number in 0..30 {
            remote.tell(add("a", number)).priority(of[usize::try_from(number % 3).unwrap()]).await.unwrap();
        }
        assert_eq!(busy.answer().await, Ok(1000));
        wired.world.pass(Duration::from_secs(1)).await;
        let steps = wired.steps("a").await;
        assert_eq!(steps.len(), 31);
        for priority in 0..3 {
            let of_it: Vec<_> = steps[1..].iter().copied().filter(|number| number % 3 == priority).collect();
            assert_eq!(of_it, (0..30).filter(|number| number % 3 == priority).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_message_of_a_newer_table_is_kept_for_a_release_that_knows_it() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let record = |number, id| {
            let call = call("a", "add", serde_json::json!({"tally": "a", "amount": number}), id);
            Message::Call(call).into_record(None, wired.bus.traits())
        };
        let mut newer = record(2, 2);
        let version = |(name, value)| (name, if name == "ce_phxversion" { &b"2"[..] } else { value });
        newer.headers = newer.headers.iter().map(version).collect();
        for record in [record(1, 1), newer.clone(), record(3, 3)] {
            wired.put(partition_of("a"), record).await;
        }
        assert_eq!(remote.query(steps("a")).await, Ok(vec![1, 3]), "the rest of its partition goes on");
        wired.world.pass(Duration::from_secs(1)).await;
        let dead = wired.dead().await;
        let codes: Vec<_> = dead.iter().map(|letter| &*letter.code).collect();
        assert_eq!(codes, ["unreadable"]);
        assert!(dead[0].reason.contains('2'), "{}", dead[0].reason);
        assert_eq!(settle::decode(&dead[0]), Ok(newer), "with all that it is made of");
        let place = TopicPartition::new(TOPIC, partition_of("a"));
        assert_eq!(wired.bus.offsets(place, "tallies").await.unwrap().committed, Some(4), "and nothing waits for it");
    });
}

#[test]
fn a_command_is_not_begun_after_its_deadline() {
    simulate_wired(|wired| async move {
        topic(&wired).await;
        let remote = wired.remote("a").await;
        let (short, long) = (Duration::from_secs(5), Duration::from_secs(50));
        let late = sent(remote.ask(add("a", 1)).expires_after(short)).await;
        let told = remote.of::<Tally>().tell(add("a", 2)).expires_after(short).await;
        assert!(told.is_ok(), "the bus has it");
        let in_time = sent(remote.ask(add("a", 4)).expires_after(long)).await;
        // its caller waits no longer, and it is done all the same
        let impatient = sent(remote.ask(add("a", 8)).timeout(short)).await;
        wired.world.pass(short).await;
        assert_eq!(code(impatient.answer().await), Code::TimedOut);
        let _node = wired.node().await;
        assert_eq!(in_time.answer().await, Ok(4));
        assert_eq!(code(late.answer().await), Code::Expired);
        wired.world.pass(Duration::from_secs(1)).await;
        assert_eq!(wired.steps("a").await, [4, 8]);
        let dead = wired.dead().await;
        assert_eq!(dead.iter().map(|letter| &*letter.code).collect::<Vec<_>>(), ["expired", "expired"]);
        // one that was begun in time is finished
        let slow = remote.of::<Tally>().ask(add_later("a", 16, 9_000)).expires_after(short);
        assert_eq!(slow.await, Ok(28));
    });
}

#[test]
fn an_engine_of_this_process_begins_nothing_after_its_deadline() {
    simulate_wired(|wired| async move {
        let engine = wired.world.start().await;
        let here = client(&engine);
        let busy = sent(here.of::<Tally>().ask(add_later("a", 1, 3_000))).await;
        let late = sent(here.ask(add("a", 2)).expires_after(Duration::from_secs(1))).await;
        let in_time = sent(here.ask(add("a", 4)).expires_after(Duration::from_secs(5))).await;
        assert_eq!(busy.answer().await, Ok(1));
        assert_eq!(in_time.answer().await, Ok(5));
        assert_eq!(code(late.answer().await), Code::DeadlinePassed);
    });
}
