//! Commands that are tried again: when, how many at once, and for how long.

use std::time::Duration;

use phoenix_runtime::delivery::DeliveryOptions;
use phoenix_runtime::domain::ports::Clock as _;

use crate::tally::{Tally, add_from};
use crate::wired::simulate_wired;
use crate::world::{answers, sent};

#[test]
fn never_more_than_so_many_commands_are_tried_again_in_a_tick() {
    const MOST: usize = 7;
    const TICK: Duration = Duration::from_millis(100);
    simulate_wired(|wired| async move {
        let options = DeliveryOptions {
            max_resends: MOST,
            max_tries: 1000,
            max_pause: Duration::from_millis(300),
            ..DeliveryOptions::default()
        };
        let _node = wired.node_with(options).await;
        let remote = wired.remote("a").await;
        let (world, of) = (&wired.world, remote.of::<Tally>());
        let soon = world.simulation.clock().wall_micros() + 5_000_000;
        let (mut calls, others) = (Vec::new(), (0..40).map(|n| format!("other{n}")).collect::<Vec<_>>());
        for amount in 1..=60 {
            calls.push(sent(of.ask(add_from("hot", amount, soon))).await);
        }
        for id in &others {
            calls.push(sent(of.ask(add_from(id, 1, soon))).await);
        }
        // what comes at the very beginning of a tick is not to count for the one before
        let into_tick = u64::try_from(world.now().as_nanos() % TICK.as_nanos()).unwrap();
        world.pass(TICK.saturating_sub(Duration::from_nanos(into_tick + 1))).await;
        let (mut before, mut most) = (world.tries.count(), 0);
        assert!(before > 0, "all of them were tried once");
        for _ in 0..200 {
            world.pass(TICK).await;
            let tried = world.tries.count() - before;
            assert!(tried <= MOST, "{tried} in a tick");
            (before, most) = (before + tried, most.max(tried));
        }
        assert_eq!(most, MOST, "as many as may be");
        for answer in answers(calls).await {
            answer.unwrap();
        }
        assert_eq!(wired.steps("hot").await, (1..=60).collect::<Vec<_>>());
        for id in others {
            assert_eq!(wired.steps(&id).await, [1]);
        }
        assert_eq!(wired.dead().await, []);
    });
}
