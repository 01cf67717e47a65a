//! One command or query on its way from the bus to its outcome.

use std::sync::Arc;
use std::time::Duration;

use crate::bus::envelope::{Call, CallKind};
use crate::bus::port::Record;
use crate::domain::id::AggregateId;
use crate::domain::metadata::Envelope;
use crate::event_store::letters::{InboxKey, InboxRow, MOST_NAME_BYTES};
use crate::event_store::port::{Epoch, StreamId};

/// A call that was taken from a partition.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) partition: u16,
    /// Which assignment of the partition it belongs to.
    pub(super) assignment: u64,
    /// Which of all that came into memory.
    pub(super) serial: u64,
    /// Which of its lane: the order in which they are done. One that was read from the inbox is in front of others that
    /// have waited in memory for it.
    pub(super) place: u64,
    pub(super) offset: u64,
    /// The hash of its aggregate: that of its lane.
    pub(super) lane: u64,
    pub(super) call: Call,
    /// As it came.
    pub(super) record: Arc<Record>,
    /// When it first came back from the engine without an outcome, on the monotonic time.
    pub(super) failed: Option<Duration>,
    /// How often its handler panicked or took too long.
    pub(super) tries: u32,
    /// Whether it was with the engine before.
    pub(super) before: bool,
    /// Whether its lane lets it go to the engine in front of those that are held.
    pub(super) cleared: bool,
    /// Whether it may be what ended the process: then it is done while nothing else begins.
    pub(super) suspect: bool,
    /// The row of one that is tried alone, without this try.
    pub(super) uncounted: Option<Box<(InboxKey, InboxRow)>>,
    /// The epoch of its partition when it went to the engine.
    pub(super) epoch: Option<Epoch>,
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
}

/// The name under which the commands of an aggregate are held in the inbox; `None` for one that no store can hold, and
/// that the engine refuses as well.
pub(super) fn stream(call: &Call) -> Option<StreamId> {
    let aggregate = &call.aggregate;
    if aggregate.is_empty() || aggregate.len() > MOST_NAME_BYTES || aggregate.contains('\0') {
        return None;
    }
    let id = AggregateId::new(call.subject.as_str()).ok()?;
    Some(StreamId { aggregate: aggregate.as_str().into(), id })
}
