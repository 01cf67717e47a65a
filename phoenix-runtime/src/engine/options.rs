//! The engine's options.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// How many partitions there are where nobody says otherwise.
pub const DEFAULT_PARTITIONS: u16 = 16;

/// What becomes of a message that finds no room. Nothing that was taken is ever dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// It waits for a while, and is refused then.
    #[default]
    Wait,
    /// It is refused at once.
    Fail,
}

/// The engine's options; the defaults suit a service on a machine of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct EngineOptions {
    /// Single-writer loops; by default one a core.
    pub shards: Option<u16>,
    /// How many partitions the slices are dealt to, 1 to 1024: as many nodes can share the work at most. The first start
    /// fixes it in the store, for all nodes.
    pub partitions: u16,
    /// How many messages of each priority wait for a shard before it pushes back.
    pub mailbox_capacity: usize,
    /// How many messages wait for one aggregate that is busy or on its way into memory.
    pub aggregate_queue: usize,
    /// What becomes of a message that finds a mailbox or an aggregate's queue full, because the store is slow or does not
    /// answer, or because one aggregate gets more than it can decide.
    pub overflow: Overflow,
    /// The longest that a message waits for room, where `overflow` says that it waits.
    #[serde(with = "units::duration")]
    pub overflow_wait: Duration,
    /// The most bytes that the larger commands of a shard may have together, from when they are sent until they are told.
    #[serde(with = "units::size")]
    pub max_held_bytes: usize,
    /// The most commands and queries of a batch: one append makes them durable together.
    pub max_batch: usize,
    /// From how many bytes of events, outcomes and snapshots on a batch takes no more. As many bytes of snapshots wait at
    /// most for a database that is slow.
    #[serde(with = "units::size")]
    pub max_batch_bytes: usize,
    /// The largest command, event, reply or rejection, encoded, in bytes.
    #[serde(with = "units::size")]
    pub max_message_bytes: usize,
    /// The most bytes that the events of one command may have together.
    #[serde(with = "units::size")]
    pub max_decision_bytes: usize,
    /// How many idempotency keys a shard keeps in memory for all of its aggregates together.
    pub max_remembered_keys: usize,
    /// How long a caller waits who says nothing else.
    #[serde(with = "units::duration")]
    pub ask_timeout: Duration,
    /// How long an `async` handler may take.
    #[serde(with = "units::duration")]
    pub handler_deadline: Duration,
    /// How many events are read at once when an aggregate is brought into memory.
    pub replay_page: usize,
    /// The longest pause between two attempts to reach the store.
    #[serde(with = "units::duration")]
    pub max_store_backoff: Duration,
    /// How long a shard may have nothing to store before it asks whether the node still owns its partitions: a node that
    /// does not is found out within twice this time.
    #[serde(with = "units::duration")]
    pub idle_check: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            shards: None,
            partitions: DEFAULT_PARTITIONS,
            mailbox_capacity: 16 * 1024,
            aggregate_queue: 4 * 1024,
            overflow: Overflow::Wait,
            overflow_wait: Duration::from_secs(5),
            max_held_bytes: 256 * 1024 * 1024,
            max_batch: 2048,
            max_batch_bytes: 16 * 1024 * 1024,
            max_message_bytes: 256 * 1024,
            max_decision_bytes: 4 * 1024 * 1024,
            max_remembered_keys: 4_000_000,
            ask_timeout: Duration::from_secs(10),
            handler_deadline: Duration::from_secs(30),
            replay_page: 1000,
            max_store_backoff: Duration::from_secs(5),
            idle_check: Duration::from_secs(5),
        }
    }
}
