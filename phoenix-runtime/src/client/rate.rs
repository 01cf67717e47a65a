//! How often somebody may call: by the crate `governor`, on the clock of the runtime.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::domain::ports::Clock;

/// So many calls a second on average, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many a second.
    pub calls_per_second: NonZeroU32,
    /// How many at once, after a time without any.
    pub burst_calls: NonZeroU32,
}

impl RateLimit {
    /// After how long without a call all of the burst may be used again.
    #[must_use]
    pub fn recovery(&self) -> Duration {
        Duration::from_secs(1) * self.burst_calls.get() / self.calls_per_second.get()
    }
}

/// The runtime's clock as governor asks for it.
#[derive(Clone)]
pub(crate) struct Time(pub(crate) Arc<dyn Clock>);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl GovernorClock for Time {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// The calls of one caller.
#[derive(Debug)]
pub(crate) struct Governed {
    limiter: RateLimiter<NotKeyed, InMemoryState, Time, NoOpMiddleware<Duration>>,
    clock: Arc<dyn Clock>,
}

impl Governed {
    pub(crate) fn new(limit: RateLimit, clock: Arc<dyn Clock>) -> Self {
        let quota = Quota::per_second(limit.calls_per_second).allow_burst(limit.burst_calls);
        Self { limiter: RateLimiter::direct_with_clock(quota, Time(Arc::clone(&clock))), clock }
    }

    /// Takes the permission for a call.
    ///
    /// # Errors
    /// How long it is until there is one.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|not| not.wait_time_from(self.clock.monotonic()))
    }
}
