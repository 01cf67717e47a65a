//! How often a client over a bus calls.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use phoenix_runtime::bus::{Bus, EmbeddedBus};
use phoenix_runtime::client::rate::RateLimit;
use phoenix_runtime::client::remote::{Remote, RemoteOptions, Replies};
use phoenix_runtime::domain::error::Code;
use phoenix_runtime::domain::ports::Clock as _;

use crate::tally::{Tally, add};
use crate::world::{World, sent, simulate};

/// Ten calls a second, two at once.
async fn remote(world: &World) -> Remote {
    let simulation = &world.simulation;
    let bus = Arc::new(EmbeddedBus::memory(Arc::new(simulation.clock())).unwrap());
    bus.create("tallies".into(), 1).await.unwrap();
    let mut options = RemoteOptions::new("tallies", Replies::Topic("replies".into()));
    let number = |n| NonZeroU32::new(n).unwrap();
    options.rate = Some(RateLimit { calls_per_second: number(10), burst_calls: number(2) });
    let spawn = simulation.spawner(simulation.group());
    Remote::start(bus, options, Arc::new(simulation.clock()), simulation.seed(), spawn).await.unwrap()
}

/// The times of these, in tenths of a second from now on.
fn tenths(world: &World, begun: Duration) -> u128 {
    world.simulation.clock().monotonic().saturating_sub(begun).as_millis() / 100
}

#[test]
fn calls_wait_for_their_turn_in_their_order() {
    simulate(|world| async move {
        let of = remote(&world).await.of::<Tally>();
        let begun = world.simulation.clock().monotonic();
        let all = (0..6).map(|n| {
            let (of, world) = (of.clone(), world.clone());
            async move {
                let receipt = of.tell(add("a", n)).await.unwrap();
                (receipt.posted.unwrap().offset, tenths(&world, begun))
            }
        });
        let told = join_all(all).await;
        // two at once, and then one each tenth of a second
        assert_eq!(told, [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]);
    });
}

#[test]
fn who_would_wait_too_long_is_refused_at_once() {
    simulate(|world| async move {
        let of = remote(&world).await.of::<Tally>();
        for n in 0..2 {
            of.tell(add("a", n)).await.unwrap();
        }
        let begun = world.simulation.clock().monotonic();
        let waiting: Vec<_> = join_all((0..3).map(|n| sent(of.tell(add("a", n))))).await;
        world.quiet().await;
        // there are three before it, of a tenth of a second each
        for timeout in [50, 350] {
            let refused = of.tell(add("b", 1)).timeout(Duration::from_millis(timeout)).await.unwrap_err();
            assert_eq!(refused.code, Code::RateLimited, "{refused}");
            assert!(refused.code.is_retryable() && refused.detail.contains("10 calls a second"), "{refused}");
        }
        let asked = of.ask(add("b", 1)).timeout(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(asked.code(), Code::RateLimited);
        assert_eq!(tenths(&world, begun), 0);
        // those who go make room
        drop(waiting);
        world.quiet().await;
        of.tell(add("b", 1)).timeout(Duration::from_millis(150)).await.unwrap();
        assert_eq!(tenths(&world, begun), 1);
    });
}
