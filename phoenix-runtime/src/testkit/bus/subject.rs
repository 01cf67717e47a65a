//! What an adapter brings to the suite.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use crate::bus::{Bus, BusError};
use crate::domain::ports::BoxFuture;

/// What not every bus has. A case that needs it is not for those that lack it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Records have headers: [`crate::bus::Traits::headers`].
    Headers,
    /// Partitions move between the consumers of a group: [`crate::bus::Traits::rebalances`].
    Rebalances,
    /// While some of a consumer's partitions are to be released, it gets records of those that it keeps.
    KeptGoOn,
    /// What was acknowledged is there after a restart: [`Bus::is_durable`].
    Durability,
    /// [`Bus::create`] makes topics. A subject without it makes them in [`Subject::create`] by other means.
    Create,
    /// The servers can be stopped and started: [`Subject::servers`].
    ServerFaults,
}

/// Opens buses for the suite. Each case has topics and groups of names that no other case has, so that all of them may
/// share servers.
pub trait Subject: Send + Sync {
    /// Opens the bus of this name: without topics of the case the first time; later, after everything of the one before
    /// was dropped, with what was acknowledged, if it is durable.
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Bus>, BusError>>;

    /// What this bus does not have.
    fn lacks(&self) -> &[Need] {
        &[]
    }

    /// Begins the names of topics and groups, where several runs share servers.
    fn prefix(&self) -> String {
        String::new()
    }

    /// Makes a topic.
    fn create<'a>(&'a self, bus: &'a dyn Bus, topic: Arc<str>, partitions: u16) -> BoxFuture<'a, Result<(), BusError>> {
        bus.create(topic, partitions)
    }

    /// Faults of the servers that stand behind the bus.
    fn servers(&self) -> Option<&dyn ServerFaults> {
        None
    }

    /// How long a case waits for what is to come before it fails.
    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }

    /// How many random histories a case tries; fewer where each takes long.
    fn histories(&self) -> u64 {
        30
    }

    /// The bytes of a record that is refused, and is no trouble to make: one more than the most by default.
    fn oversize(&self, bus: &dyn Bus) -> usize {
        bus.traits().max_record_bytes + 1
    }
}

/// Stops and starts the servers behind a bus.
pub trait ServerFaults: Send + Sync + fmt::Debug {
    /// They are gone, as by kill -9.
    fn kill(&self) -> BoxFuture<'_, Result<(), Failure>>;

    /// They are back, with what they had acknowledged.
    fn revive(&self) -> BoxFuture<'_, Result<(), Failure>>;

    /// They stand still: no call is answered, and what was sent is done when they go on.
    fn freeze(&self) -> BoxFuture<'_, Result<(), Failure>>;

    /// They go on.
    fn thaw(&self) -> BoxFuture<'_, Result<(), Failure>>;
}
