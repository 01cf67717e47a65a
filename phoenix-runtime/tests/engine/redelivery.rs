//! Commands that are tried again: when, how many at once, and for how long.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::delivery::{DeliveryOptions, Exponential, Redelivery};
use phoenix_runtime::domain::error::Code;
use phoenix_runtime::domain::ports::Clock as _;
use proptest::prelude::*;

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

/// Every second, for ten of them.
#[derive(Debug)]
struct Steady;

impl Redelivery for Steady {
    fn pause(&self, _: u32, _: u64) -> Duration {
        Duration::from_secs(1)
    }

    fn max_age(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }
}

#[test]
fn commands_are_tried_again_as_a_policy_of_ones_own_says() {
    simulate_wired(|mut wired| async move {
        wired.redelivery = Some(Arc::new(Steady));
        let _node = wired.node_with(DeliveryOptions { max_tries: 1000, ..DeliveryOptions::default() }).await;
        let remote = wired.remote("a").await;
        let (world, of) = (&wired.world, remote.of::<Tally>());
        let began = world.now();
        let soon = world.simulation.clock().wall_micros() + 3_500_000;
        assert_eq!(of.ask(add_from("a", 1, soon)).await, Ok(1));
        let took = world.since(began);
        assert!(took >= Duration::from_secs(4) && took < Duration::from_millis(4600), "{took:?}");
        assert_eq!(world.tries.count(), 5, "at once, and after each second");
        let began = world.now();
        let never = world.simulation.clock().wall_micros() + 3_600_000_000;
        let given_up = of.ask(add_from("a", 1, never)).await.unwrap_err();
        assert_eq!(given_up.code(), Code::Expired, "{given_up:?}");
        let took = world.since(began);
        assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(13), "{took:?}");
        assert_eq!(wired.dead().await.len(), 1);
    });
}

proptest! {
    #[test]
    fn pauses_double_up_to_the_longest_and_are_at_least_half_as_long(
        first in 2..10_000_000_u64,
        longest in 2..100_000_000_u64,
        failures in 1..200_u32,
        draws in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let policy = Exponential {
            first: Duration::from_micros(first),
            longest: Duration::from_micros(longest),
            max_age: Some(Duration::from_micros(longest)),
        };
        let most = u128::from(longest).min(u128::from(first) << (failures - 1).min(64));
        for draw in draws {
            let pause = policy.pause(failures, draw).as_micros();
            prop_assert!((most / 2..=most).contains(&pause), "{pause} of {most}");
        }
        // both ends are reached, so that many that failed together do not come back together
        let spread = u64::try_from(most / 2).expect("it is less than the longest");
        prop_assert_eq!(policy.pause(failures, spread - 1).as_micros(), 2 * (most / 2) - 1);
        prop_assert_eq!(policy.pause(failures, spread).as_micros(), most / 2);
        prop_assert_eq!(policy.max_age(), Some(Duration::from_micros(longest)));
    }
}
