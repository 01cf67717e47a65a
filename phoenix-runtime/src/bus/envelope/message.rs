//! Commands, queries and replies on their way.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::bus::port::TopicPartition;
use crate::domain::error::{AskError, Code, Fault};
use crate::domain::id::MessageId;
use crate::domain::metadata::{Metadata, Priority};
use crate::domain::pending::{Answer, NamedAnswer};

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Asks an aggregate for something.
    Call(Call),
    /// Says what became of a call.
    Reply(Replied),
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// To do something.
    Command,
    /// To tell something.
    Query,
}

/// A command or a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which of the two.
    pub kind: CallKind,
    /// The message's own id. A message that is sent again keeps it, and is done once.
    pub id: MessageId,
    /// The aggregate's wire name.
    pub aggregate: String,
    /// Which aggregate.
    pub subject: String,
    /// The wire name of the command or query.
    pub name: String,
    /// What makes it a repeat of another command.
    pub idempotency_key: Option<String>,
    /// Where it comes from.
    pub metadata: Metadata,
    /// Who is told what became of it.
    pub reply_to: Option<ReplyTo>,
    /// Its place among those that wait.
    pub priority: Priority,
    /// After which moment it is not to be done any more, in milliseconds since the Unix epoch. A time-out of whoever
    /// asks is none: what was accepted is done, whether somebody waits for it or not.
    pub deadline_millis: Option<i64>,
    /// How often it was sent before by whoever asks.
    pub attempt: u32,
    /// Its fields as JSON.
    pub payload: Vec<u8>,
}

impl Call {
    /// A command that nobody waits for, with nothing beside its fields as JSON.
    pub fn command(
        id: MessageId,
        aggregate: impl Into<String>,
        subject: impl Into<String>,
        name: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            kind: CallKind::Command,
            id,
            aggregate: aggregate.into(),
            subject: subject.into(),
            name: name.into(),
            idempotency_key: None,
            metadata: Metadata::default(),
            reply_to: None,
            priority: Priority::Normal,
            deadline_millis: None,
            attempt: 0,
            payload: payload.into(),
        }
    }
}

/// Where replies go: to a topic, and to one partition of it, because each caller reads one of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub TopicPartition);

impl fmt::Display for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReplyTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no `topic/partition`");
        let (topic, partition) = text.rsplit_once('/').ok_or_else(wrong)?;
        if topic.is_empty() {
            return Err(wrong());
        }
        Ok(Self(TopicPartition { topic: Arc::from(topic), partition: partition.parse().map_err(|_| wrong())? }))
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replied {
    /// The reply's own id.
    pub id: MessageId,
    /// The call that it answers.
    pub to: MessageId,
    /// The aggregate's wire name.
    pub aggregate: String,
    /// Which aggregate.
    pub subject: String,
    /// The wire name of the command or query.
    pub name: String,
    /// The call's own, with the call as the cause.
    pub metadata: Metadata,
    /// How it ended.
    pub outcome: ReplyOutcome,
    /// The aggregate's version that it rests on.
    pub version: Option<u64>,
    /// Whether this is the stored answer to an earlier attempt.
    pub replayed: bool,
    /// Whether what it rests on survives the node's process.
    pub durable: bool,
    /// Reply or rejection as JSON; what went wrong, as a JSON text, for a fault.
    pub payload: Vec<u8>,
}

/// What there is to say of how a call ended.
pub(super) struct Ended {
    pub(super) outcome: ReplyOutcome,
    pub(super) version: Option<u64>,
    pub(super) replayed: bool,
    pub(super) durable: bool,
    pub(super) payload: Vec<u8>,
}

impl From<NamedAnswer> for Ended {
    fn from(answer: NamedAnswer) -> Self {
        let (outcome, version, replayed, durable, payload) = match answer {
            Ok(Answer { reply, version, replayed, durable }) => {
                (ReplyOutcome::Replied, Some(version), replayed, durable, reply)
            }
            Err(AskError::Rejected { rejection, version, replayed }) => {
                (ReplyOutcome::Rejected, Some(version), replayed, true, rejection)
            }
            Err(AskError::NotFound { replayed }) => (ReplyOutcome::NotFound, None, replayed, true, b"null".to_vec()),
            Err(AskError::Fault(Fault { code, detail })) => {
                (ReplyOutcome::Fault(code), None, false, true, serde_json::Value::from(detail).to_string().into_bytes())
            }
        };
        Self { outcome, version, replayed, durable, payload }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyOutcome {
    /// With its reply.
    Replied,
    /// With a business "no".
    Rejected,
    /// There was no aggregate, and nothing creates one.
    NotFound,
    /// With no outcome: the command is a dead letter now, or was none that anybody can do.
    Fault(Code),
}

impl Replied {
    /// What to tell the sender of a call; a fault is told as well, so that nobody waits in vain.
    #[must_use]
    pub fn new(id: MessageId, call: &Call, answer: NamedAnswer) -> Self {
        let mut metadata = call.metadata.clone();
        metadata.causation_id = Some(call.id.to_string());
        let Ended { outcome, version, replayed, durable, payload } = answer.into();
        Self {
            id,
            to: call.id,
            aggregate: call.aggregate.clone(),
            subject: call.subject.clone(),
            name: call.name.clone(),
            metadata,
            outcome,
            version,
            replayed,
            durable,
            payload,
        }
    }

    /// What whoever asked is told.
    ///
    /// # Errors
    /// What the answer is where it is no reply.
    pub fn into_answer(self) -> NamedAnswer {
        let Self { outcome, version, replayed, durable, payload, .. } = self;
        let version = version.unwrap_or_default();
        match outcome {
            ReplyOutcome::Replied => Ok(Answer { reply: payload, version, replayed, durable }),
            ReplyOutcome::Rejected => Err(AskError::Rejected { rejection: payload, version, replayed }),
            ReplyOutcome::NotFound => Err(AskError::NotFound { replayed }),
            ReplyOutcome::Fault(code) => {
                let detail =
                    serde_json::from_slice(&payload).unwrap_or_else(|_| String::from_utf8_lossy(&payload).into_owned());
                Err(Fault { code, detail }.into())
            }
        }
    }
}
