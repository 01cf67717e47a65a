//! Where time and randomness come from, so that a simulation can give both.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::id::MessageId;

/// A future that may be moved between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Time, for the whole runtime.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Microseconds since the Unix epoch. May jump, also backwards.
    fn wall_micros(&self) -> i64;

    /// Time since some fixed moment. Never goes back.
    fn monotonic(&self) -> Duration;

    /// Resolves when `duration` has passed on the monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Randomness, for the whole runtime.
pub trait Seed: Send + Sync + fmt::Debug + 'static {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// `SplitMix64` over a counter: fast, shareable, repeatable from its start.
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Debug)]
pub struct SplitMix(AtomicU64);

impl SplitMix {
    /// A generator that repeats itself for an equal start.
    #[must_use]
    pub const fn new(start: u64) -> Self {
        Self(AtomicU64::new(start))
    }

    /// A generator that starts at a random place.
    #[must_use]
    pub fn from_entropy() -> Self {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self::new(high ^ low.rotate_left(32))
    }
}

impl Seed for SplitMix {
    fn next_u64(&self) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A message id of this moment.
pub fn next_message_id(clock: &dyn Clock, seed: &dyn Seed) -> MessageId {
    // one draw, because all threads share the seed; 64 bits at random are enough for ids of one millisecond, and the
    // last two bytes repeat some of them, spread
    let drawn = seed.next_u64();
    let mut random = [0; 10];
    random[..8].copy_from_slice(&drawn.to_le_bytes());
    random[8..].copy_from_slice(&drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[..2]);
    MessageId::generate(u64::try_from(clock.wall_micros() / 1000).unwrap_or_default(), random)
}
