//! One command or query on its way from the bus to its outcome.

use std::sync::Arc;

use crate::bus::envelope::{Call, CallKind};
use crate::bus::port::Record;
use crate::domain::metadata::Envelope;

/// A call that was taken from a partition.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) partition: u16,
    /// Which assignment of the partition it belongs to.
    pub(super) assignment: u64,
    pub(super) offset: u64,
    /// The hash of its aggregate: that of its lane.
    pub(super) lane: u64,
    pub(super) call: Call,
    /// As it came.
    pub(super) record: Arc<Record>,
    /// How often its handler panicked or took too long.
    pub(super) tries: u32,
    /// Whether it was with the engine before.
    pub(super) before: bool,
}

impl Job {
    pub(super) fn envelope(&self) -> Envelope {
        let Call { id, aggregate, name, idempotency_key, priority, metadata, payload, .. } = &self.call;
        Envelope {
            id: *id,
            aggregate: aggregate.clone(),
            name: name.clone(),
            idempotency_key: idempotency_key.clone(),
            priority: *priority,
            timeout: None,
            metadata: metadata.clone(),
            payload: payload.clone(),
        }
    }

    pub(super) fn is_command(&self) -> bool {
        self.call.kind == CallKind::Command
    }

    /// What it counts.
    pub(super) fn bytes(&self) -> usize {
        self.record.bytes()
    }
}
