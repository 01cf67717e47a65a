//! Where mail for an aggregate is left: which shard owns it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::id::{MessageId, Slice};
use crate::domain::ports::{Clock, Seed, next_message_id};
use crate::engine::catalog::Catalog;
use crate::engine::mailbox::MailboxHandle;
use crate::engine::options::{EngineOptions, Overflow};
use crate::engine::timers::Timers;

/// The addresses of an engine's shards, with what its callers share.
pub(crate) struct Router {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ask_timeout: Duration,
    /// Where asks wait for their time-outs, if they have no timer of the clock each.
    pub(crate) timers: Option<Timers>,
    /// How long mail waits for room in a full mailbox; `None` for not at all.
    pub(crate) waits: Option<Duration>,
    /// Whether what is stored survives the process.
    pub(crate) durable: bool,
    seed: Arc<dyn Seed>,
    shards: Vec<MailboxHandle>,
}

impl Router {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        shards: Vec<MailboxHandle>,
        clock: Arc<dyn Clock>,
        seed: Arc<dyn Seed>,
        timers: Option<Timers>,
        options: &EngineOptions,
        durable: bool,
    ) -> Self {
        let waits = (options.overflow == Overflow::Wait).then_some(options.overflow_wait);
        Self { catalog, clock, ask_timeout: options.ask_timeout, timers, waits, durable, seed, shards }
    }

    /// The shard of the aggregate with this identity hash.
    pub(crate) fn shard_of(&self, hash: u64) -> Option<&MailboxHandle> {
        self.shards.get(usize::from(Slice::from_hash(hash).0) % self.shards.len().max(1))
    }

    pub(crate) fn next_message_id(&self) -> MessageId {
        next_message_id(&*self.clock, &*self.seed)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Router({} shards, {:?})", self.shards.len(), self.catalog)
    }
}
