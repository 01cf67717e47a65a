//! Commands over a bus: from a client's call to its aggregate and back, whatever happens to nodes, store and handlers.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use phoenix_runtime::bus::envelope::{Message, ReplyTo};
use phoenix_runtime::bus::{Bus, Headers, Record, TopicPartition};
use phoenix_runtime::client::door::Receipt;
use phoenix_runtime::delivery::{DeliveryOptions, settle};
use phoenix_runtime::domain::error::{AskError, Code};
use phoenix_runtime::domain::ports::Clock as _;
use phoenix_runtime::event_store::port::{EventStore as _, Partition, StoreError};
use phoenix_runtime::testkit::scripted_store::{Call as StoreCall, Step};

use crate::tally::{Harm, Order, Refused, Tally, add, add_from, add_later, harm, order, steps, take, top_up};
use crate::wired::{TOPIC, call, partition_of, simulate_wired};
use crate::world::{answers, sent};

#[test]
fn an_ask_over_the_bus_gets_what_its_aggregate_says() {
    simulate_wired(|wired| async move {
        let node = wired.node().await;
        let remote = wired.remote("a").await;
        assert_eq!(remote.ask(add("a", 5)).await, Ok(5));
        assert_eq!(remote.of::<Tally>().ask(add("a", 2)).await, Ok(7));
        let answer = remote.ask(add("b", 1)).answer().await.unwrap();
        assert_eq!((answer.version, answer.replayed), (1, false));
        let refused = remote.ask(take("a", 100)).await;
        assert!(
            matches!(refused, Err(AskError::Rejected { rejection: Refused::Short { total: 7 }, version: 2, .. })),
            "{refused:?}"
        );
        let absent = remote.of::<Tally>().ask(top_up("nobody", 1)).await;
        assert!(matches!(absent, Err(AskError::NotFound { .. })), "{absent:?}");
        assert_eq!(remote.query(steps("a")).await, Ok(vec![5, 2]));
        let told = remote.tell(add("a", 1)).await.unwrap();
        let Receipt { posted: Some(posted), .. } = told else { panic!("{told:?}") };
        assert_eq!(posted.partition, TopicPartition::new(TOPIC, partition_of("a")));
        assert_eq!(
            remote.query(steps("a")).await,
            Ok(vec![5, 2, 1]),
            "what was told is done before what comes after it"
        );
        node.delivery.drain().await;
        assert!(node.engine.drain(Duration::from_secs(1)).await);
    });
}

#[test]
fn a_message_that_comes_twice_is_done_once_and_answered_twice() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let mut message = call("a", "add", serde_json::json!({"tally": "a", "amount": 3}), 7);
        message.reply_to = Some(ReplyTo(TopicPartition::new("others", 0)));
        wired.bus.create("others".into(), 1).await.unwrap();
        for _ in 0..3 {
            let record = Message::Call(message.clone()).into_record(None, wired.bus.traits());
            wired.put(partition_of("a"), record).await;
        }
        assert_eq!(remote.query(steps("a")).await, Ok(vec![3]));
        wired.world.pass(Duration::from_secs(1)).await;
        let ends = wired.bus.offsets(TopicPartition::new("others", 0), "").await.unwrap();
        assert_eq!(ends.end, 3, "every repeat has its reply");
        // a business key does the same over different messages
        assert_eq!(remote.of::<Tally>().ask(order("a", 4, 1)).await, Ok(7));
        let repeat: Order = order("a", 4, 1);
        let repeated = remote.of::<Tally>().ask(repeat).answer().await.unwrap();
        assert_eq!((repeated.reply, repeated.replayed), (7, true));
    });
}

#[test]
fn a_message_that_was_refused_stays_refused_also_without_a_key() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
        let message = call("a", "take", serde_json::json!({"tally": "a", "amount": 5}), 7);
        let record = Message::Call(message).into_record(None, wired.bus.traits());
        wired.put(partition_of("a"), record.clone()).await;
        assert_eq!(remote.ask(add("a", 10)).await, Ok(11));
        // now it would be done
        wired.put(partition_of("a"), record).await;
        assert_eq!(remote.query(steps("a")).await, Ok(vec![1, 10]));
        assert_eq!(remote.of::<Tally>().ask(take("a", 5)).await, Ok(6), "another message is another command");
    });
}

#[test]
fn those_behind_a_command_that_fails_once_are_done_after_it() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let soon = wired.world.simulation.clock().wall_micros() + 250_000;
        let first = sent(remote.of::<Tally>().ask(add_from("a", 1, soon))).await;
        let mut behind = Vec::new();
        for amount in 2..8 {
            behind.push(sent(remote.ask(add("a", amount))).await);
        }
        assert_eq!(first.answer().await, Ok(1));
        for answer in answers(behind).await {
            answer.unwrap();
        }
        assert_eq!(wired.steps("a").await, (1..8).collect::<Vec<_>>());
        assert_eq!(wired.dead().await, []);
    });
}

#[test]
fn a_command_whose_handler_panics_is_a_dead_letter_and_those_behind_it_go_on_in_their_order() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let mut calls = Vec::new();
        calls.push(sent(remote.tell(add("a", 1))).await);
        let poison = sent(remote.of::<Tally>().ask(harm("a", Harm::PanicInDecide))).await;
        for amount in 2..6 {
            calls.push(sent(remote.tell(add("a", amount))).await);
        }
        for told in answers(calls).await {
            told.unwrap();
        }
        // a neighbour does not wait for it
        assert_eq!(remote.ask(add("b", 1)).await, Ok(1));
        let fault = poison.answer().await.unwrap_err();
        assert_eq!(fault.code(), Code::Panicked, "{fault:?}");
        assert_eq!(remote.query(steps("a")).await, Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(wired.steps("a").await, vec![1, 2, 3, 4, 5]);
        let dead = wired.dead().await;
        let facts: Vec<_> = dead.iter().map(|letter| (&*letter.code, letter.id.as_deref(), letter.tries)).collect();
        assert_eq!(facts, [("panicked", Some("a"), DeliveryOptions::default().max_tries)]);
        let copies = wired.bus.offsets(TopicPartition::new(format!("{TOPIC}.dead"), 0), "").await.unwrap();
        assert_eq!(copies.end, 1, "a copy is on the topic of dead letters");
    });
}

#[test]
fn what_nobody_can_read_or_do_is_a_dead_letter_with_its_bytes() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let partition = partition_of("a");
        let rubbish = Record { key: Some(vec![0xff, 1]), headers: Headers::new(), value: vec![0, 159, 146, 150] };
        wired.put(partition, rubbish.clone()).await;
        let unknown = call("a", "no-such-command", serde_json::json!({}), 1);
        wired.put(partition, Message::Call(unknown).into_record(None, wired.bus.traits())).await;
        let misfit = call("a", "add", serde_json::json!({"tally": "a", "amount": "many"}), 2);
        wired.put(partition, Message::Call(misfit).into_record(None, wired.bus.traits())).await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1), "what is behind them goes on");
        wired.world.pass(Duration::from_secs(1)).await;
        let dead = wired.dead().await;
        let codes: Vec<_> = dead.iter().map(|letter| &*letter.code).collect();
        assert_eq!(codes, ["unreadable", "unknown-name", "invalid-message"], "in the order in which they came");
        assert_eq!(settle::decode(&dead[0]), Ok(rubbish));
    });
}

#[test]
fn a_command_in_the_wrong_partition_is_sent_on_and_not_decided_there() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let message = call("a", "add", serde_json::json!({"tally": "a", "amount": 3}), 7);
        let record = Message::Call(message).into_record(None, wired.bus.traits());
        wired.put((partition_of("a") + 1) % 16, record).await;
        wired.world.pass(Duration::from_secs(1)).await;
        assert_eq!(remote.query(steps("a")).await, Ok(vec![3]));
        let right = wired.bus.offsets(TopicPartition::new(TOPIC, partition_of("a")), "tallies").await.unwrap();
        assert_eq!(right.end, 2, "the command that was sent on, and the query");
    });
}

#[test]
fn a_store_that_is_down_makes_no_dead_letters() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
        for _ in 0..20 {
            wired.world.store.next(StoreCall::Append, Step::Fail(StoreError::Unavailable("it is down".to_owned())));
        }
        let asked: Vec<_> = [sent(remote.ask(add("a", 2))).await, sent(remote.ask(add("b", 5))).await].into();
        assert_eq!(answers(asked).await, [Ok(3), Ok(5)]);
        assert_eq!(wired.dead().await, []);
    });
}

#[test]
fn an_aggregate_that_takes_long_stops_no_other_of_its_partition() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let partition = partition_of("slow");
        let neighbour = (0..10_000).map(|n| format!("n{n}")).find(|id| partition_of(id) == partition).unwrap();
        let slow = sent(remote.of::<Tally>().ask(add_later("slow", 1, 5_000))).await;
        let behind = sent(remote.ask(add("slow", 2))).await;
        let began = wired.world.now();
        assert_eq!(remote.ask(add(&neighbour, 1)).await, Ok(1));
        assert!(wired.world.since(began) < Duration::from_secs(1));
        assert_eq!((slow.answer().await, behind.answer().await), (Ok(1), Ok(3)));
    });
}

#[test]
fn a_partition_with_too_much_unfinished_is_paused_and_goes_on_later() {
    simulate_wired(|wired| async move {
        let _node = wired
            .node_with(DeliveryOptions {
                max_unfinished: 10,
                max_records: 5,
                inbox_messages: 0,
                ..DeliveryOptions::default()
            })
            .await;
        let remote = wired.remote("a").await;
        let slow = sent(remote.of::<Tally>().ask(add_later("slow", 1, 5_000))).await;
        let mut calls = Vec::new();
        for _ in 0..50 {
            calls.push(sent(remote.ask(add("slow", 1))).await);
        }
        wired.world.pass(Duration::from_secs(2)).await;
        let offsets = wired.bus.offsets(TopicPartition::new(TOPIC, partition_of("slow")), "tallies").await.unwrap();
        assert_eq!((offsets.end, offsets.committed.unwrap_or(0)), (51, 0), "nothing behind the slow one is committed");
        assert_eq!(slow.answer().await, Ok(1));
        let answers = answers(calls).await;
        assert_eq!(answers.last(), Some(&Ok(51)));
    });
}

#[test]
fn a_command_that_came_too_late_is_told_so_and_not_done() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let mut message = call("a", "add", serde_json::json!({"tally": "a", "amount": 3}), 7);
        let now = wired.world.simulation.clock().wall_micros() / 1000;
        message.deadline_millis = Some(now - 1);
        wired.put(partition_of("a"), Message::Call(message).into_record(None, wired.bus.traits())).await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
        wired.world.pass(Duration::from_secs(1)).await;
        let codes: Vec<_> = wired.dead().await.iter().map(|letter| letter.code.to_string()).collect();
        assert_eq!(codes, ["expired"]);
    });
}

#[test]
fn a_partition_that_was_taken_away_by_mistake_is_taken_back() {
    simulate_wired(|wired| async move {
        let node = wired.node().await;
        let remote = wired.remote("a").await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
        // somebody who is no consumer of the group
        let partition = Partition(partition_of("a"));
        wired.world.memory.acquire(vec![partition]).await.unwrap();
        assert_eq!(remote.ask(add("a", 2)).await, Ok(3));
        assert!(node.engine.owned().borrow().contains(&partition));
        assert_eq!(wired.dead().await, []);
    });
}

#[test]
fn a_client_asks_again_until_it_is_answered() {
    simulate_wired(|wired| async move {
        wired.bus.create(TOPIC.into(), 16).await.unwrap();
        let remote = wired.remote("a").await;
        // nobody is there
        let asked = remote.ask(add("a", 1));
        let Either::Right(((), asked)) = select(asked, pin!(wired.world.pass(Duration::from_secs(25)))).await else {
            panic!("nobody is there")
        };
        let end = wired.bus.offsets(TopicPartition::new(TOPIC, partition_of("a")), "").await.unwrap().end;
        assert_eq!(end, 3, "sent, and again after ten seconds, and again");
        let _node = wired.node().await;
        assert_eq!(asked.await, Ok(1));
        assert_eq!(remote.query(steps("a")).await, Ok(vec![1]), "and done once");
        // one that nobody ever answers is given up
        let other = wired.remote_with("b", |options| options.topic = "nobody".into()).await;
        wired.bus.create("nobody".into(), 1).await.unwrap();
        let began = wired.world.now();
        let given_up = other.ask(add("a", 1)).await.unwrap_err();
        assert_eq!(given_up.code(), Code::TimedOut);
        assert_eq!(wired.world.since(began), Duration::from_mins(10));
    });
}

#[test]
fn nodes_that_come_and_go_do_every_command_once_and_in_order() {
    simulate_wired(|wired| async move {
        let remote = {
            wired.bus.create(TOPIC.into(), 16).await.unwrap();
            wired.remote("a").await
        };
        let simulation = wired.world.simulation.clone();
        let mut nodes = vec![wired.node().await];
        let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut asked = Vec::new();
        for round in 0..40_i64 {
            for n in 0..12 {
                let id = format!("t{n}");
                // told one after the other: so they are in this order on the bus
                remote.tell(add(&id, round)).await.unwrap();
                told.entry(id).or_default().push(round);
            }
            asked.push(sent(remote.of::<Tally>().ask(order("asked", 1, u64::try_from(round).unwrap()))).await);
            match simulation.below(8) {
                0 if nodes.len() < 3 => nodes.push(wired.node().await),
                1 if nodes.len() > 1 => {
                    let node = nodes.remove(usize::try_from(simulation.below(nodes.len() as u64)).unwrap());
                    wired.kill(node);
                }
                2 if nodes.len() > 1 => {
                    let node = nodes.remove(0);
                    node.delivery.drain().await;
                    node.engine.stop().await;
                }
                _ => wired.world.pass(Duration::from_millis(simulation.below(300))).await,
            }
        }
        let mut answered: Vec<i64> = answers(asked).await.into_iter().map(Result::unwrap).collect();
        answered.sort_unstable();
        assert_eq!(answered, (1..=40).collect::<Vec<_>>(), "each order counts once");
        for (id, told) in told {
            assert_eq!(remote.query(steps(&id)).await, Ok(told.clone()), "{id}");
            assert_eq!(wired.steps(&id).await, told, "{id}");
        }
        assert_eq!(wired.dead().await, []);
    });
}
