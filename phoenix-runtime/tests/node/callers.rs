//! How often callers may call the gateway, on a clock of the test's.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::http::{Gateway, HttpOptions, Readiness, Server};
use phoenix_runtime::telemetry::Metrics;
use phoenix_runtime::testkit::clock::VirtualClock;

use crate::call::{Response, request};

struct World {
    server: Server,
    clock: VirtualClock,
}

impl World {
    /// Two calls a second, three at once; who calls is said by a header. The node behind it never starts, so whoever gets
    /// through is told 503.
    async fn new(max_callers: usize) -> Self {
        let clock = VirtualClock::default();
        let mut options = HttpOptions::default();
        (options.port, options.max_callers) = (0, max_callers);
        (options.calls_per_second, options.caller_header) = (NonZeroU32::new(2), Some("x-client-id".to_owned()));
        options.burst_calls = NonZeroU32::new(3).expect("three");
        let time = Arc::new(clock.clone());
        let gateway = Arc::new(Gateway::new(options.clone(), Arc::new(Readiness::new()), Metrics::install(), time));
        Self { server: Server::start(&options, gateway).await.expect("a free port"), clock }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    async fn call(&self, caller: &str) -> Response {
        let headers: &[(&str, &str)] = if caller.is_empty() { &[] } else { &[("x-client-id", caller)] };
        request(self.address(), "POST", "/commands/account/deposit", headers, "{}").await
    }

    /// How many get through of so many.
    async fn through(&self, caller: &str, calls: usize) -> usize {
        let mut through = 0;
        for _ in 0..calls {
            through += usize::from(self.call(caller).await.status == 503);
        }
        through
    }
}

#[tokio::test]
async fn each_caller_has_its_rate() {
    let world = World::new(100).await;
    assert_eq!(world.through("a", 5).await, 3);
    let refused = world.call("a").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate-limited"));
    assert_eq!(refused.header("retry-after"), Some("1"), "half a second, in whole ones");
    assert!(refused.text.contains("2 calls a second, and 3 at once"), "{}", refused.text);
    assert_eq!(world.through("b", 5).await, 3, "others have theirs");
    assert_eq!(world.through("", 5).await, 3, "and who says nothing has that of the address");
    // what no caller asks is never refused
    assert_eq!(request(world.address(), "GET", "/health/live", &[], "").await.status, 200);
    world.clock.advance(Duration::from_millis(500));
    assert_eq!(world.through("a", 5).await, 1);
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.through("a", 5).await, 3);
}

#[tokio::test]
async fn callers_beyond_the_most_share_what_one_has() {
    let world = World::new(2).await;
    assert_eq!((world.through("a", 1).await, world.through("b", 1).await), (1, 1));
    let mut through = 0;
    for n in 0..10 {
        through += world.through(&format!("further {n}"), 1).await;
    }
    assert_eq!(through, 3);
    assert_eq!(world.through("a", 5).await, 2, "who is known keeps its own");
    // those who call no more make room
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.through("c", 5).await, 3);
    assert_eq!(world.through("d", 5).await, 3);
}
