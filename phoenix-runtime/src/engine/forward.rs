//! Messages for aggregates of other nodes: a port takes them there, so that a client of any node reaches every aggregate.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::domain::error::{Code, Fault, QueryError};
use crate::domain::id::{AggregateId, Slice};
use crate::domain::metadata::{Envelope, Priority};
use crate::domain::pending::{Answer, NamedAnswer, Pending, PendingQuestion, Told};
use crate::engine::mailbox::{Body, CommandMail, Letter, Repeat};
use crate::event_store::port::Partition;

/// Takes messages to the nodes that own their aggregates.
///
/// It gets what this node does not own, and nothing of which anything was done here: messages that came for a partition
/// that is away or being given back, and those that were waiting, or decided and not yet sent, when it was lost. Those of
/// one aggregate and priority come in their order. An engine with `stays` calls only never gives it anything.
pub trait Forward: Send + Sync + fmt::Debug + 'static {
    /// Takes a message. It is called by a shard between its other work, so it only puts the message down for somebody else.
    /// A message that is dropped is told `outcome-unknown`.
    fn forward(&self, message: Forwarded);
}

/// A message for an aggregate of another node.
#[derive(Debug)]
pub enum Forwarded {
    /// A command.
    Command(ForwardedCommand),
    /// A query.
    Query(ForwardedQuery),
}

/// A command for an aggregate of another node.
pub struct ForwardedCommand {
    /// Which aggregate.
    pub id: AggregateId,
    /// Its slice.
    pub slice: Slice,
    /// The slice's partition.
    pub partition: Partition,
    /// The command; its time-out is what is left of its caller's.
    pub envelope: Envelope,
    /// Whether it may have been sent before.
    pub repeated: bool,
    pending: Box<dyn Pending>,
}

impl ForwardedCommand {
    /// Tells the caller what the owner answered, replies and rejections as JSON.
    pub fn answer(self, answer: NamedAnswer) {
        let pending = self.pending;
        if catch_unwind(AssertUnwindSafe(|| pending.tell(Told::Elsewhere(answer)))).is_err() {
            tracing::error!("handing over an answer panicked");
        }
    }
}

impl fmt::Debug for ForwardedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Envelope { aggregate, name, .. } = &self.envelope;
        write!(f, "ForwardedCommand({name} for {aggregate}/{})", self.id)
    }
}

/// A query for an aggregate of another node.
pub struct ForwardedQuery {
    /// The aggregate's wire name.
    pub aggregate: &'static str,
    /// Which aggregate.
    pub id: AggregateId,
    /// Its slice.
    pub slice: Slice,
    /// The slice's partition.
    pub partition: Partition,
    /// The query's wire name.
    pub name: &'static str,
    /// Its place in the mailbox.
    pub priority: Priority,
    /// What is left of the time that its caller waits.
    pub timeout: Option<Duration>,
    /// The query as JSON.
    pub payload: Vec<u8>,
    pending: Box<dyn PendingQuestion>,
}

impl ForwardedQuery {
    /// Tells the caller what the owner answered, as JSON.
    pub fn answer(self, answer: Result<Answer<Vec<u8>>, QueryError>) {
        let pending = self.pending;
        if catch_unwind(AssertUnwindSafe(|| pending.tell_elsewhere(answer))).is_err() {
            tracing::error!("handing over an answer panicked");
        }
    }
}

impl fmt::Debug for ForwardedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForwardedQuery({} for {}/{})", self.name, self.aggregate, self.id)
    }
}

/// Makes a message ready for its way. `None` where its caller was told why it can't go.
pub(crate) fn ready(letter: Letter, aggregate: &'static str, partition: Partition, now: Duration) -> Option<Forwarded> {
    let slice = Slice::from_hash(letter.hash);
    let Letter { id, deadline, priority, body, .. } = letter;
    let timeout = deadline.map(|deadline| deadline.saturating_sub(now));
    let expired = timeout == Some(Duration::ZERO);
    match body {
        Body::Command(command) => {
            let CommandMail { message, key, metadata, mut pending, repeat, .. } = command;
            let payload = match encoded(|| pending.encode().map(<[u8]>::to_vec)) {
                Ok(payload) if !expired => payload,
                Ok(_) => return told(expired_fault(), |fault| pending.tell(Told::Fault(fault))),
                Err(fault) => return told(fault, |fault| pending.tell(Told::Fault(fault))),
            };
            let envelope = Envelope {
                id: message,
                aggregate: aggregate.to_owned(),
                name: pending.facts().name.to_owned(),
                idempotency_key: key,
                priority,
                timeout,
                metadata: metadata.as_deref().cloned().unwrap_or_default(),
                payload,
            };
            let repeated = repeat == Repeat::Likely;
            Some(Forwarded::Command(ForwardedCommand { id, slice, partition, envelope, repeated, pending }))
        }
        Body::Query(mut pending) => {
            let payload = match encoded(|| pending.encode().map(<[u8]>::to_vec)) {
                Ok(payload) if !expired => payload,
                Ok(_) => return told(expired_fault(), |fault| pending.tell(Err(fault.into()))),
                Err(fault) => return told(fault, |fault| pending.tell(Err(fault.into()))),
            };
            let name = pending.name();
            let query = ForwardedQuery { aggregate, id, slice, partition, name, priority, timeout, payload, pending };
            Some(Forwarded::Query(query))
        }
        Body::Snapshot(asked) => {
            let text = "this node does not own the aggregate now: ask its owner for a snapshot";
            // whoever asked may be gone
            told(Fault::new(Code::OwnershipLost, text), |fault| drop(asked.send(Err(fault.into()))))
        }
    }
}

fn told(fault: Fault, tell: impl FnOnce(Fault)) -> Option<Forwarded> {
    tell(fault);
    None
}

fn expired_fault() -> Fault {
    Fault::new(Code::DeadlinePassed, "its caller's time-out passed before it went to its owner; not done")
}

/// What users wrote may panic.
fn encoded(encode: impl FnOnce() -> Result<Vec<u8>, crate::domain::codec::CodecError>) -> Result<Vec<u8>, Fault> {
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(payload)) => Ok(payload),
        Ok(Err(reason)) => Err(Fault::new(Code::InvalidMessage, reason.to_string())),
        Err(_) => Err(Fault::new(Code::Panicked, "encoding the message panicked; nothing was done")),
    }
}
