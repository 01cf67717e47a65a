//! What can be chosen about the delivery of commands.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// When the bus may forget a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// When it has its outcome: until then the bus keeps it.
    #[default]
    Broker,
    /// When it is in the inbox of the event store: from there it is driven to its outcome, whatever the bus forgets, and
    /// also where it ends the process.
    Inbox,
}

/// How commands come from a topic to their aggregates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct DeliveryOptions {
    /// When the bus may forget a command.
    pub grade: Grade,
    /// The most commands of a partition that are in memory without an outcome: then it is paused, or, in the grade of the
    /// inbox, what comes is left there.
    pub max_unfinished: usize,
    /// The most commands of one aggregate in memory without an outcome; at most half of `max_unfinished`. Those behind them
    /// wait in the inbox of the event store, and the other aggregates go on.
    pub max_per_aggregate: usize,
    /// The most commands of a partition that are in the inbox. With 0 nothing is put there, and one aggregate that takes
    /// long may pause its partition.
    pub inbox_messages: u64,
    /// The most bytes of them.
    #[serde(with = "units::size")]
    pub inbox_bytes: usize,
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
    /// The longest pause before a command is tried again.
    #[serde(with = "units::duration")]
    pub max_pause: Duration,
    /// For how long a command is tried, since it first came to no outcome on this node, before it is a dead letter, whatever
    /// the reason. A store that is down for longer makes dead letters then.
    #[serde(with = "units::duration_or_never")]
    pub max_age: Option<Duration>,
    /// The most commands of this node that are tried again in a tenth of a second; the others follow in their order.
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
            grade: Grade::Broker,
            max_unfinished: 8192,
            max_per_aggregate: 1024,
            inbox_messages: 100_000,
            inbox_bytes: 256 << 20,
            max_unfinished_bytes: 128 << 20,
            max_records: 1000,
            max_tries: 5,
            first_pause: Duration::from_millis(100),
            max_pause: Duration::from_mins(1),
            max_age: None,
            max_resends: 50,
            commit_every: Duration::from_millis(200),
            handover: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(30),
        }
    }
}

/// When a command that came to no outcome is tried again, and when it is given up.
pub trait Redelivery: Send + Sync + fmt::Debug + 'static {
    /// How long to wait after so many failures; `draw` is a random number.
    fn pause(&self, failures: u32, draw: u64) -> Duration;

    /// How long a command is tried, since it first came to no outcome: what has none by then is a dead letter. `None`, where
    /// nothing else is said, for as long as it takes.
    fn max_age(&self) -> Option<Duration> {
        None
    }
}

/// Twice as long after each failure, between half of that and all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exponential {
    /// The longest first pause.
    pub first: Duration,
    /// The longest of all.
    pub longest: Duration,
    /// For how long a command is tried.
    pub max_age: Option<Duration>,
}

impl Redelivery for Exponential {
    fn pause(&self, failures: u32, draw: u64) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        let micros = u64::try_from(doubled.min(self.longest).as_micros()).unwrap_or(u64::MAX).max(2);
        Duration::from_micros(micros / 2 + draw % (micros / 2))
    }

    fn max_age(&self) -> Option<Duration> {
        self.max_age
    }
}
