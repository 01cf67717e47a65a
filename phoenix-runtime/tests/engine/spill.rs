//! One aggregate that takes long, and everything for it that waits in the inbox meanwhile.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::bus::envelope::Message;
use phoenix_runtime::bus::{Bus as _, TopicPartition};
use phoenix_runtime::client::remote::Remote;
use phoenix_runtime::delivery::{DeliveryOptions, Grade};
use phoenix_runtime::event_store::letters::Backlog;
use phoenix_runtime::event_store::port::{EventStore as _, StoreError};

use crate::tally::{Tally, add, add_later, steps};
use crate::wired::{TOPIC, Wired, call, partition_of, simulate_wired};
use crate::world::{answers, beside, sent};

fn narrow(grade: Grade) -> DeliveryOptions {
    DeliveryOptions { grade, max_unfinished: 64, max_per_aggregate: 8, max_records: 50, ..DeliveryOptions::default() }
}

async fn backlog(wired: &Wired) -> Backlog {
    let letters = wired.world.memory.letters().unwrap();
    let all = letters.backlog(Some(TOPIC.into())).await.unwrap();
    all.get(&(TOPIC.into(), partition_of("slow"))).copied().unwrap_or_default()
}

/// Commands as they come from a client that waits for no answer.
async fn tell(wired: &Wired, id: &str, amounts: std::ops::Range<i64>) {
    for amount in amounts {
        let number = u128::try_from(amount).unwrap() << 64 | u128::from(partition_of(id)) << 32 | id.len() as u128;
        let message = call(id, "add", serde_json::json!({"tally": id, "amount": amount}), number);
        wired.put(partition_of(id), Message::Call(message).into_record(None, wired.bus.traits())).await;
    }
}

async fn committed(wired: &Wired) -> (u64, u64) {
    let offsets = wired.bus.offsets(TopicPartition::new(TOPIC, partition_of("slow")), "tallies").await.unwrap();
    (offsets.committed.unwrap_or(0), offsets.end)
}

async fn all_steps(remote: &Remote, wired: &Wired, id: &str, expected: Vec<i64>) {
    assert_eq!(remote.query(steps(id)).await, Ok(expected.clone()), "{id}");
    assert_eq!(wired.steps(id).await, expected, "{id}");
}

#[test]
fn a_hot_aggregate_waits_in_the_inbox_and_the_others_are_answered_at_once() {
    for grade in [Grade::Broker, Grade::Inbox] {
        simulate_wired(move |wired| async move {
            let _node = wired.node_with(narrow(grade)).await;
            let remote = wired.remote("a").await;
            let other = beside("slow");
            let slow = sent(remote.of::<Tally>().ask(add_later("slow", 1, 20_000))).await;
            wired.world.quiet().await;
            let began = wired.world.now();
            for round in 0..20 {
                tell(&wired, "slow", 2 + round * 50..2 + (round + 1) * 50).await;
                assert_eq!(remote.ask(add(&other, 1)).await, Ok(round + 1));
            }
            assert!(wired.world.since(began) < Duration::from_secs(5), "{:?}", wired.world.since(began));
            wired.world.pass(Duration::from_secs(1)).await;
            let kept = backlog(&wired).await;
            assert_eq!(kept.messages, if grade == Grade::Broker { 1001 } else { kept.messages }, "{kept:?}");
            assert!(kept.rows < 100, "{kept:?}");
            let (committed, end) = committed(&wired).await;
            assert_eq!(committed, end, "the bus keeps nothing for it");
            assert_eq!(slow.answer().await, Ok(1));
            wired.world.pass(Duration::from_secs(10)).await;
            all_steps(&remote, &wired, "slow", (1..1002).collect()).await;
            wired.world.pass(Duration::from_secs(1)).await;
            assert_eq!(backlog(&wired).await, Backlog::default(), "nothing stays in the inbox");
            assert_eq!(wired.dead().await, []);
        });
    }
}

#[test]
fn what_waits_in_the_inbox_comes_first_after_a_crash() {
    for grade in [Grade::Broker, Grade::Inbox] {
        simulate_wired(move |wired| async move {
            let node = wired.node_with(narrow(grade)).await;
            let remote = wired.remote("a").await;
            let _slow = sent(remote.of::<Tally>().ask(add_later("slow", 1, 25_000))).await;
            wired.world.quiet().await;
            tell(&wired, "slow", 2..300).await;
            wired.world.pass(Duration::from_millis(wired.world.simulation.below(2000))).await;
            wired.kill(node);
            tell(&wired, "slow", 300..500).await;
            let other = beside("slow");
            let node = wired.node_with(narrow(grade)).await;
            assert_eq!(remote.ask(add(&other, 1)).await, Ok(1));
            // what was at work begins anew, and is in the way again
            tell(&wired, "slow", 500..600).await;
            wired.world.pass(Duration::from_secs(10)).await;
            wired.kill(node);
            let _node = wired.node_with(narrow(grade)).await;
            wired.world.pass(Duration::from_mins(1)).await;
            all_steps(&remote, &wired, "slow", (1..600).collect()).await;
            wired.world.pass(Duration::from_secs(1)).await;
            assert_eq!(backlog(&wired).await, Backlog::default());
        });
    }
}

#[test]
fn a_slow_command_does_not_hold_the_offset_of_those_that_overtake_it() {
    simulate_wired(|wired| async move {
        let _node = wired.node_with(narrow(Grade::Broker)).await;
        let remote = wired.remote("a").await;
        let slow = sent(remote.of::<Tally>().ask(add_later("slow", 1, 25_000))).await;
        let other = beside("slow");
        for round in 0..200 {
            assert_eq!(remote.ask(add(&other, 1)).await, Ok(round + 1));
        }
        wired.world.pass(Duration::from_secs(1)).await;
        let (committed, end) = committed(&wired).await;
        assert!(committed + 64 >= end, "{committed} of {end}");
        assert_eq!(backlog(&wired).await.messages, 1, "the slow one alone");
        assert_eq!(slow.answer().await, Ok(1));
    });
}

#[test]
fn a_full_inbox_pauses_the_partition_and_nothing_is_lost() {
    for grade in [Grade::Broker, Grade::Inbox] {
        simulate_wired(move |wired| async move {
            let _node = wired.node_with(DeliveryOptions { inbox_messages: 100, ..narrow(grade) }).await;
            let remote = wired.remote("a").await;
            let slow = sent(remote.of::<Tally>().ask(add_later("slow", 1, 20_000))).await;
            wired.world.quiet().await;
            tell(&wired, "slow", 2..1000).await;
            wired.world.pass(Duration::from_secs(5)).await;
            let kept = backlog(&wired).await;
            assert!(kept.messages >= 100 && kept.messages < 300, "{kept:?}");
            let (committed, end) = committed(&wired).await;
            assert!(committed < 400 && end == 999, "{committed} of {end}");
            assert_eq!(slow.answer().await, Ok(1));
            wired.world.pass(Duration::from_secs(10)).await;
            all_steps(&remote, &wired, "slow", (1..1000).collect()).await;
        });
    }
}

#[test]
fn without_an_inbox_a_partition_is_paused() {
    simulate_wired(|wired| async move {
        let _node = wired.node_with(DeliveryOptions { inbox_messages: 0, ..narrow(Grade::Broker) }).await;
        let remote = wired.remote("a").await;
        let mut calls = vec![sent(remote.of::<Tally>().ask(add_later("slow", 1, 5_000))).await];
        for _ in 0..200 {
            calls.push(sent(remote.of::<Tally>().ask(add_later("slow", 1, 0))).await);
        }
        wired.world.pass(Duration::from_secs(2)).await;
        assert_eq!(committed(&wired).await, (0, 201), "nothing behind the slow one is committed");
        assert_eq!(answers(calls).await.last(), Some(&Ok(201)));
        assert_eq!(backlog(&wired).await, Backlog::default());
    });
}

#[test]
fn the_inbox_takes_commands_before_the_offset_moves() {
    simulate_wired(|wired| async move {
        let node = wired.node_with(narrow(Grade::Inbox)).await;
        let remote = wired.remote("a").await;
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(sent(remote.of::<Tally>().ask(add_later("slow", 1, 5_000))).await);
        }
        wired.world.pass(Duration::from_secs(1)).await;
        assert_eq!(committed(&wired).await, (5, 5));
        let kept = backlog(&wired).await;
        assert_eq!(kept.messages, 5, "{kept:?}");
        wired.kill(node);
        // whatever the bus forgets
        let again = Arc::new(wired);
        let _node = again.node_with(narrow(Grade::Inbox)).await;
        assert_eq!(answers(calls).await, (1..6).map(Ok).collect::<Vec<_>>());
    });
}

#[test]
fn a_cold_aggregate_that_takes_long_to_load_stops_no_other() {
    // its load does not answer for a while, or fails
    for fails in [false, true] {
        for grade in [Grade::Broker, Grade::Inbox] {
            simulate_wired(move |wired| async move {
                let _node = wired.node_with(narrow(grade)).await;
                let remote = wired.remote("a").await;
                let (other, store) = (beside("slow"), &wired.world.store);
                if fails {
                    store.fail_stream("slow", StoreError::Unavailable("this one can't be read".to_owned()));
                } else {
                    store.hold_stream("slow");
                }
                tell(&wired, "slow", 1..300).await;
                let began = wired.world.now();
                for round in 0..20 {
                    assert_eq!(remote.ask(add(&other, 1)).await, Ok(round + 1));
                }
                assert!(wired.world.since(began) < Duration::from_secs(10), "{:?}", wired.world.since(began));
                wired.world.pass(Duration::from_secs(10)).await;
                let (committed, end) = committed(&wired).await;
                assert_eq!(committed, end, "the bus keeps nothing for it");
                assert_eq!(backlog(&wired).await.messages, 299, "all of it waits in the inbox");
                store.mend_stream("slow");
                store.release_stream("slow");
                wired.world.pass(Duration::from_mins(3)).await;
                all_steps(&remote, &wired, "slow", (1..300).collect()).await;
                wired.world.pass(Duration::from_secs(1)).await;
                assert_eq!(backlog(&wired).await, Backlog::default());
                assert_eq!(wired.dead().await, []);
            });
        }
    }
}
