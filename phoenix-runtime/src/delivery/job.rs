//! One command or query on its way from the bus to its outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::work::Done;
use crate::bus::envelope::{Call, CallKind};
use crate::bus::port::Record;
use crate::domain::error::{Code, Fault};
use crate::domain::id::{AggregateId, identity_hash};
use crate::domain::pending::NamedAnswer;
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
    pub(super) call: Arc<Call>,
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

/// Which record is finished.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finished {
    pub(super) partition: u16,
    pub(super) assignment: u64,
    pub(super) serial: u64,
}

impl Finished {
    pub(super) fn of(job: &Job) -> Self {
        Self { partition: job.partition, assignment: job.assignment, serial: job.serial }
    }
}

impl Job {
    pub(super) fn is_command(&self) -> bool {
        self.call.kind == CallKind::Command
    }
}

/// A command that is with the engine. It comes back with its answer, also where the engine ends without one.
#[derive(Debug)]
pub(super) struct AtWork {
    job: Option<Box<Job>>,
    tell: mpsc::UnboundedSender<Done>,
}

impl AtWork {
    pub(super) fn new(job: Box<Job>, tell: mpsc::UnboundedSender<Done>) -> Self {
        Self { job: Some(job), tell }
    }

    pub(super) fn answered(mut self, answer: NamedAnswer) {
        self.come_back(answer);
    }

    fn come_back(&mut self, answer: NamedAnswer) {
        if let Some(job) = self.job.take() {
            // whoever waits may be gone
            let _ = self.tell.send(Done::Answered(job, answer));
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.come_back(Err(Fault::new(Code::OutcomeUnknown, "the engine ended before it answered").into()));
    }
}

/// The hash of its aggregate.
pub(super) fn identity(call: &Call) -> u64 {
    identity_hash(&call.aggregate, &call.subject)
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
