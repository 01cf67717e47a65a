//! What a client over a bus promises to those who call.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::testkit::bus::{BusFaults, FaultyBus};

use crate::tally::add;
use crate::wired::simulate_wired;
use crate::world::{answers, sent};

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
