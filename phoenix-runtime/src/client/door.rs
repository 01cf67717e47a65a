//! The way that calls take by name, whichever it is: to an engine of this process, or over a bus.

use std::fmt;
use std::time::Duration;

use crate::bus::envelope::ReplyTo;
use crate::bus::port::TopicPartition;
use crate::domain::error::{Fault, QueryError};
use crate::domain::id::{AggregateId, MessageId};
use crate::domain::metadata::Envelope;
use crate::domain::pending::{Answer, NamedAnswer};
use crate::domain::ports::BoxFuture;

/// A command or a query on its way.
#[derive(Debug, Clone)]
pub struct Request {
    /// The message.
    pub envelope: Envelope,
    /// Which aggregate it is for.
    pub subject: AggregateId,
    /// The key of its record on a bus: for tools, and for compaction. The aggregate's id by default.
    pub record_key: Option<String>,
    /// Who is told the outcome, instead of whoever sends it.
    pub reply_to: Option<ReplyTo>,
    /// After how long a command is not to be begun any more.
    pub expires_after: Option<Duration>,
}

/// A way to aggregates.
pub trait Door: Send + Sync + fmt::Debug + 'static {
    /// A new message id.
    fn next_message_id(&self) -> MessageId;

    /// Sends a command and waits for its outcome.
    fn ask(&self, request: Request) -> BoxFuture<'static, NamedAnswer>;

    /// Sends a command and waits until it is accepted: its outcome is durable, or a bus has it durably.
    fn tell(&self, request: Request) -> BoxFuture<'static, Result<Receipt, Fault>>;

    /// Sends a query and waits for its answer.
    fn query(&self, request: Request) -> BoxFuture<'static, Result<Answer<Vec<u8>>, QueryError>>;
}

/// A command that was told is accepted: it reaches an outcome, whatever happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The aggregate's version after it, where the outcome is there already; `None` where there is no aggregate, and
    /// where the command is on its way over a bus.
    pub version: Option<u64>,
    /// Where it is on the bus, if it went over one.
    pub posted: Option<Posted>,
}

/// A command on a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The message's id: its outcome names it.
    pub id: MessageId,
    /// The partition that it waits in.
    pub partition: TopicPartition,
    /// Its place there.
    pub offset: u64,
}
