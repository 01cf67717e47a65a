//! What can be chosen about the delivery of commands.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// How commands come from a topic to their aggregates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct DeliveryOptions {
    /// The most commands of a partition that have no outcome yet: then it is paused.
    pub max_unfinished: usize,
    /// The most bytes of all commands of this node that have no outcome yet: then all partitions are paused.
    #[serde(with = "units::size")]
    pub max_unfinished_bytes: usize,
    /// The most records that are taken from the bus at once.
    pub max_records: usize,
    /// How often a command is tried whose handler panics or takes too long, before it is a dead letter. Failures of the
    /// store and the bus are never counted.
    pub max_tries: u32,
    /// The first pause before a command is tried again; it doubles with each try.
    #[serde(with = "units::duration")]
    pub first_pause: Duration,
    /// The longest pause.
    #[serde(with = "units::duration")]
    pub max_pause: Duration,
    /// How many commands are tried again at once, each tenth of a second.
    pub max_resends: usize,
    /// How often offsets are committed. A restart reads again what was finished since.
    #[serde(with = "units::duration")]
    pub commit_every: Duration,
    /// How long the commands of a partition that leaves may take to come to their outcomes.
    #[serde(with = "units::duration")]
    pub handover: Duration,
    /// How long the sender of a command may be unreachable before its reply is given up; whoever repeats the command
    /// gets it again.
    #[serde(with = "units::duration")]
    pub reply_timeout: Duration,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            max_unfinished: 8192,
            max_unfinished_bytes: 128 << 20,
            max_records: 1000,
            max_tries: 5,
            first_pause: Duration::from_millis(100),
            max_pause: Duration::from_mins(1),
            max_resends: 50,
            commit_every: Duration::from_millis(200),
            handover: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(30),
        }
    }
}

/// When a command that came to no outcome is tried again.
pub trait Redelivery: Send + Sync + fmt::Debug + 'static {
    /// How long to wait after so many failures; `draw` is a random number.
    fn pause(&self, failures: u32, draw: u64) -> Duration;
}

/// Twice as long after each failure, between half of that and all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exponential {
    /// The longest first pause.
    pub first: Duration,
    /// The longest of all.
    pub longest: Duration,
}

impl Redelivery for Exponential {
    fn pause(&self, failures: u32, draw: u64) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        let micros = u64::try_from(doubled.min(self.longest).as_micros()).unwrap_or(u64::MAX).max(2);
        Duration::from_micros(micros / 2 + draw % (micros / 2))
    }
}
