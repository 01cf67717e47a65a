//! Commands over a bus while the store or the bus itself does not do what it should.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::bus::envelope::{Message, ReplyTo};
use phoenix_runtime::bus::{Bus, BusError, Happening, Received, Subscription, TopicPartition};
use phoenix_runtime::delivery::{DeliveryOptions, Grade};
use phoenix_runtime::domain::ports::Clock as _;
use phoenix_runtime::event_store::port::{EventStore as _, StoreError};
use phoenix_runtime::testkit::scripted_store::{Call as StoreCall, Step};

use crate::scripted_bus::ScriptedBus;
use crate::tally::{Tally, add, add_from, add_later, keep};
use crate::wired::{TOPIC, Wired, call, partition_of, simulate_wired};
use crate::world::{answers, beside, sent};

/// A world with a bus that does what the test says.
fn simulate_scripted<F: Future<Output = ()> + Send + 'static>(
    test: impl Fn(Wired, ScriptedBus) -> F + Clone + Send + 'static,
) {
    simulate_wired(move |mut wired| {
        let bus = ScriptedBus::new(Arc::clone(&wired.seen));
        wired.seen = Arc::new(bus.clone());
        test(wired, bus)
    });
}

#[test]
fn a_coordinator_that_does_not_answer_stops_no_answer() {
    simulate_scripted(|wired, bus| async move {
        let node = wired.node().await;
        let remote = wired.remote("a").await;
        let slow = sent(remote.of::<Tally>().ask(add_later("a", 1, 1000))).await;
        assert_eq!(remote.ask(add("b", 1)).await, Ok(1));
        bus.hold();
        wired.world.pass(Duration::from_millis(500)).await;
        assert_eq!(slow.answer().await, Ok(1), "no offset can be committed, and it is answered all the same");
        bus.release();
        assert_eq!(remote.ask(add("b", 1)).await, Ok(2));
        node.delivery.drain().await;
        let offsets = wired.bus.offsets(TopicPartition::new(TOPIC, partition_of("a")), "tallies").await.unwrap();
        assert_eq!(offsets.committed, Some(1));
    });
}

#[test]
fn while_the_coordinator_does_not_answer_commands_are_tried_again_however_many_are_answered() {
    simulate_scripted(|wired, bus| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        let soon = wired.world.simulation.clock().wall_micros() + 1_000_000;
        let mut early = sent(remote.of::<Tally>().ask(add_from("a", 1, soon))).await;
        let mut others = Vec::new();
        for n in 1..=100 {
            // one of them ends every 50 ms
            others.push(sent(remote.of::<Tally>().ask(add_later(&format!("t{n}"), 1, 50 * n))).await);
        }
        bus.hold();
        wired.world.pass(Duration::from_secs(3)).await;
        assert!(early.is_told().await);
        bus.release();
        assert_eq!(early.answer().await, Ok(1));
        for answer in answers(others).await {
            assert_eq!(answer, Ok(1));
        }
    });
}

#[test]
fn while_nothing_can_be_read_what_was_taken_comes_to_its_outcome_and_a_node_can_leave() {
    for grade in [Grade::Broker, Grade::Inbox] {
        simulate_scripted(move |wired, bus| async move {
            let node = wired.node_with(DeliveryOptions { grade, ..DeliveryOptions::default() }).await;
            let remote = wired.remote("a").await;
            let mut slow = Vec::new();
            for _ in 0..3 {
                slow.push(sent(remote.of::<Tally>().ask(add_later("a", 1, 20_000))).await);
            }
            wired.world.pass(Duration::from_secs(1)).await;
            bus.fail_reads(Some(BusError::Unavailable("it is down".to_owned())));
            assert_eq!(answers(slow).await, [Ok(1), Ok(2), Ok(3)]);
            wired.world.pass(Duration::from_secs(1)).await;
            let offsets = wired.bus.offsets(TopicPartition::new(TOPIC, partition_of("a")), "tallies").await.unwrap();
            assert_eq!(offsets.committed, Some(3), "it is committed meanwhile");
            let kept = wired.world.memory.letters().unwrap().backlog(None).await.unwrap();
            assert!(kept.is_empty(), "what is done is not in the inbox: {kept:?}");
            let began = wired.world.now();
            node.delivery.drain().await;
            assert!(wired.world.since(began) < Duration::from_secs(1), "{:?}", wired.world.since(began));
        });
    }
}

#[test]
fn a_bus_that_can_be_read_again_is_read_soon() {
    for error in [BusError::Unavailable("it is down".to_owned()), BusError::Damaged("for now".to_owned())] {
        simulate_scripted(move |wired, bus| {
            let error = error.clone();
            async move {
                let _node = wired.node().await;
                let remote = wired.remote("a").await;
                assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
                bus.fail_reads(Some(error));
                wired.world.pass(Duration::from_mins(10)).await;
                bus.fail_reads(None);
                let began = wired.world.now();
                assert_eq!(remote.ask(add("a", 2)).await, Ok(3));
                assert!(wired.world.since(began) < Duration::from_secs(3), "{:?}", wired.world.since(began));
            }
        });
    }
}

/// A command that fits no handler.
async fn misfit(wired: &Wired, number: u128) {
    let misfit = call("a", "add", serde_json::json!({"tally": "a", "amount": "many"}), number);
    wired.put(partition_of("a"), Message::Call(misfit).into_record(None, wired.bus.traits())).await;
}

#[test]
fn dead_letters_are_kept_in_their_order_also_where_the_store_does_not_take_the_first_at_once() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        for _ in 0..2 {
            wired.world.store.next(StoreCall::Bury, Step::Fail(StoreError::Unavailable("it is down".to_owned())));
        }
        for number in 1..4 {
            misfit(&wired, number).await;
        }
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1), "what is behind them does not wait for the store");
        assert!(wired.dead().await.is_empty());
        wired.world.pass(Duration::from_secs(5)).await;
        let offsets: Vec<_> = wired.dead().await.iter().map(|letter| letter.offset).collect();
        assert_eq!(offsets, [0, 1, 2]);
    });
}

#[test]
fn a_command_that_is_tried_for_long_is_a_dead_letter_before_one_behind_it_that_fails_at_once() {
    simulate_wired(|wired| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        // it fails after a while, each time
        let poison = sent(remote.of::<Tally>().ask(add_later("a", 13, 500))).await;
        wired.world.quiet().await;
        misfit(&wired, 1).await;
        misfit(&wired, 2).await;
        let began = wired.world.now();
        assert_eq!(remote.ask(add("b", 1)).await, Ok(1));
        assert!(wired.world.since(began) < Duration::from_millis(100), "another aggregate does not wait");
        poison.answer().await.unwrap_err();
        wired.world.pass(Duration::from_secs(2)).await;
        let offsets: Vec<_> = wired.dead().await.iter().map(|letter| letter.offset).collect();
        assert_eq!(offsets, [0, 1, 2]);
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
    });
}

/// A command that comes to no outcome, with a store that does not take its letter.
async fn refused_letter(wired: &Wired) -> TopicPartition {
    let refused = StoreError::Refused { index: 0, reason: "scripted: this letter can't be kept".to_owned() };
    wired.world.store.next(StoreCall::Bury, Step::Fail(refused));
    misfit(wired, 1).await;
    TopicPartition::new(TOPIC, partition_of("a"))
}

#[test]
fn a_dead_letter_that_the_store_does_not_take_is_kept_by_its_topic_before_its_offset_moves() {
    simulate_scripted(|wired, bus| async move {
        let _node = wired.node().await;
        let graveyard = format!("{TOPIC}.dead");
        bus.fail_sends(&graveyard, Some(BusError::Unavailable("it is down".to_owned())));
        let partition = refused_letter(&wired).await;
        // longer than whoever waits for a reply is looked for
        wired.world.pass(Duration::from_mins(2)).await;
        assert_eq!(wired.bus.offsets(partition.clone(), "tallies").await.unwrap().committed.unwrap_or(0), 0);
        bus.fail_sends(&graveyard, None);
        wired.world.pass(Duration::from_secs(10)).await;
        assert_eq!(wired.bus.offsets(partition, "tallies").await.unwrap().committed, Some(1));
        let copies = wired.bus.offsets(TopicPartition::new(graveyard, 0), "").await.unwrap();
        assert_eq!((copies.end, wired.dead().await), (1, vec![]));
    });
}

#[test]
fn the_offset_of_a_command_does_not_move_before_the_bus_has_its_reply() {
    simulate_scripted(|wired, bus| async move {
        let _node = wired.node().await;
        let (replies, partition) = (TopicPartition::new("answers", 0), partition_of("a"));
        wired.bus.create(Arc::clone(&replies.topic), 1).await.unwrap();
        bus.fail_sends(&replies.topic, Some(BusError::Unavailable("it is down".to_owned())));
        let mut message = call("a", "add", serde_json::json!({ "tally": "a", "amount": 1 }), 1);
        message.reply_to = Some(ReplyTo(replies.clone()));
        wired.put(partition, Message::Call(message).into_record(None, wired.bus.traits())).await;
        // not as long as whoever waits for a reply is looked for
        wired.world.pass(Duration::from_secs(20)).await;
        assert_eq!(wired.steps("a").await, [1], "it is done");
        let commands = TopicPartition::new(TOPIC, partition);
        assert_eq!(wired.bus.offsets(commands.clone(), "tallies").await.unwrap().committed.unwrap_or(0), 0);
        bus.fail_sends(&replies.topic, None);
        wired.world.pass(Duration::from_secs(5)).await;
        assert_eq!(wired.bus.offsets(commands, "tallies").await.unwrap().committed, Some(1));
        assert_eq!(wired.bus.offsets(replies, "").await.unwrap().end, 1, "once");
    });
}

#[test]
fn a_dead_letter_that_nothing_takes_does_not_stop_those_behind_it() {
    simulate_scripted(|wired, bus| async move {
        let _node = wired.node().await;
        let remote = wired.remote("a").await;
        bus.fail_sends(&format!("{TOPIC}.dead"), Some(BusError::Refused("it is full".to_owned())));
        let partition = refused_letter(&wired).await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
        wired.world.pass(Duration::from_secs(10)).await;
        assert_eq!(wired.bus.offsets(partition, "tallies").await.unwrap().committed, Some(2));
    });
}

#[test]
fn a_committed_offset_that_is_not_there_keeps_no_command_from_being_done() {
    simulate_wired(|wired| async move {
        wired.bus.create(TOPIC.into(), 16).await.unwrap();
        let partition = TopicPartition::new(TOPIC, partition_of("a"));
        // the topic was made anew, and the group's offsets are those of the old one
        let subscription =
            Subscription { group: "tallies".to_owned(), topics: vec![TOPIC.into()], fixed: None, max_records: 1 };
        let mut consumer = wired.bus.subscribe(subscription).await.unwrap();
        assert!(matches!(consumer.next().await, Ok(Happening::Assigned(_))));
        consumer.commit(vec![(partition, 1000)]).await.unwrap();
        drop(consumer);
        let remote = wired.remote("a").await;
        remote.tell(add("a", 1)).await.unwrap();
        let _node = wired.node().await;
        assert_eq!(remote.ask(add("a", 2)).await, Ok(3));
    });
}

#[test]
fn a_record_that_is_not_finished_is_not_committed_for_one_that_had_its_offset_before() {
    for grade in [Grade::Broker, Grade::Inbox] {
        simulate_scripted(move |wired, bus| async move {
            let options = DeliveryOptions { grade, inbox_messages: 1000, ..DeliveryOptions::default() };
            let _node = wired.node_with(options).await;
            let remote = wired.remote("a").await;
            let (partition, other) = (TopicPartition::new(TOPIC, partition_of("a")), beside("a"));
            let first = sent(remote.of::<Tally>().ask(add_later("a", 1, 5_000))).await;
            wired.world.pass(Duration::from_secs(1)).await;
            // the topic was made anew, and has another record there
            bus.happens(Happening::OutOfRange { partition: partition.clone(), wanted: 1, earliest: 0, end: 1 });
            let payload = serde_json::json!({"tally": other, "amount": 7, "millis": 20_000});
            let record = Message::Call(call(&other, "add-later", payload, 9)).into_record(None, wired.bus.traits());
            wired.world.store.hold_stream(&other);
            bus.happens(Happening::Records(vec![Received { from: partition.clone(), offset: 0, record }]));
            assert_eq!(first.answer().await, Ok(1), "what was taken is done");
            wired.world.pass(Duration::from_secs(2)).await;
            let committed = wired.bus.offsets(partition.clone(), "tallies").await.unwrap().committed.unwrap_or(0);
            let kept = wired.world.memory.letters().unwrap().backlog(None).await.unwrap();
            assert_eq!(committed, kept.values().map(|kept| kept.messages).sum::<u64>(), "{kept:?}");
            wired.world.store.release_stream(&other);
            wired.world.pass(Duration::from_mins(1)).await;
            assert_eq!((wired.steps("a").await, wired.steps(&other).await), (vec![1], vec![7]));
            assert_eq!(wired.bus.offsets(partition, "tallies").await.unwrap().committed, Some(1));
        });
    }
}

#[test]
fn partitions_that_the_engine_does_not_have_stop_none_of_the_others() {
    simulate_scripted(|wired, bus| async move {
        let stranger = TopicPartition::new(TOPIC, 16);
        bus.assign_with(stranger.clone());
        let node = wired.node().await;
        let remote = wired.remote("a").await;
        assert_eq!(remote.ask(add("a", 1)).await, Ok(1));
        assert_eq!(bus.paused().into_iter().collect::<Vec<_>>(), [stranger]);
        node.delivery.drain().await;
    });
}

#[test]
fn when_the_commands_of_a_node_have_too_many_bytes_its_partitions_rest_and_nothing_is_lost() {
    for grade in [Grade::Broker, Grade::Inbox] {
        simulate_scripted(move |wired, bus| async move {
            let options =
                DeliveryOptions { grade, max_unfinished_bytes: 20_000, max_records: 5, ..DeliveryOptions::default() };
            let _node = wired.node_with(options).await;
            let remote = wired.remote("a").await;
            wired.world.quiet().await;
            wired.world.store.hold(StoreCall::Append);
            let text = "x".repeat(1000);
            let mut calls = Vec::new();
            for n in 0..100 {
                calls.push(sent(remote.of::<Tally>().ask(keep(&format!("t{}", n % 20), &text))).await);
            }
            wired.world.pass(Duration::from_secs(2)).await;
            assert_eq!(bus.paused().len(), 16, "all of them, whichever has the bytes");
            wired.world.store.release(StoreCall::Append);
            for answer in answers(calls).await {
                answer.unwrap();
            }
            wired.world.pass(Duration::from_secs(1)).await;
            assert_eq!(bus.paused().len(), 0);
            for n in 0..20 {
                assert_eq!(wired.world.events("tally", &format!("t{n}")).await.len(), 5);
            }
        });
    }
}

#[test]
fn a_command_whose_engine_ends_without_an_answer_is_the_next_owners() {
    simulate_wired(|wired| async move {
        let node = wired.node().await;
        let remote = wired.remote("a").await;
        let slow = sent(remote.of::<Tally>().ask(add_later("a", 1, 20_000))).await;
        wired.world.pass(Duration::from_secs(1)).await;
        node.engine.stop().await;
        let began = wired.world.now();
        node.delivery.drain().await;
        let handover = DeliveryOptions::default().handover;
        assert!(wired.world.since(began) < handover / 2, "{:?}", wired.world.since(began));
        let partition = TopicPartition::new(TOPIC, partition_of("a"));
        assert_eq!(wired.bus.offsets(partition, "tallies").await.unwrap().committed.unwrap_or(0), 0);
        let _next = wired.node().await;
        assert_eq!(slow.answer().await, Ok(1));
        assert_eq!((wired.steps("a").await, wired.dead().await), (vec![1], vec![]));
    });
}
