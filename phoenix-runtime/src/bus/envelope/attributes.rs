//! A message as names and values: what both forms carry.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::VERSION;
use super::claim;
use super::error::Unreadable;
use super::message::{Call, CallKind, Message, Replied, ReplyOutcome};
use crate::domain::error::Code;
use crate::domain::id::MessageId;
use crate::domain::metadata::{MAX_HEADER_BYTES, Metadata, Priority};

/// The most bytes that the attributes of a message have together.
pub const MAX_ATTRIBUTE_BYTES: usize = 16 * 1024 + MAX_HEADER_BYTES;

pub(super) const COMMAND: &str = "phoenix.command";
pub(super) const QUERY: &str = "phoenix.query";
pub(super) const REPLY: &str = "phoenix.reply";

/// Names of `CloudEvents`, and of its extensions; ours begin with `phx`.
pub(super) mod name {
    pub(crate) const ID: &str = "id";
    pub(crate) const SOURCE: &str = "source";
    pub(crate) const SPEC: &str = "specversion";
    pub(crate) const TYPE: &str = "type";
    pub(crate) const SUBJECT: &str = "subject";
    pub(crate) const CORRELATION: &str = "correlationid";
    pub(crate) const CAUSATION: &str = "causationid";
    pub(crate) const TRACE: &str = "traceparent";
    pub(crate) const VERSION: &str = "phxversion";
    pub(crate) const AGGREGATE: &str = "phxaggregate";
    pub(crate) const NAME: &str = "phxname";
    pub(crate) const KEY: &str = "phxkey";
    pub(crate) const REPLY_TO: &str = "phxreplyto";
    pub(crate) const PRIORITY: &str = "phxpriority";
    pub(crate) const DEADLINE: &str = "phxdeadline";
    pub(crate) const ATTEMPT: &str = "phxattempt";
    pub(crate) const REPLY_OF: &str = "phxreplyof";
    pub(crate) const OUTCOME: &str = "phxoutcome";
    pub(crate) const CODE: &str = "phxcode";
    pub(crate) const STREAM_VERSION: &str = "phxstreamversion";
    pub(crate) const REPLAYED: &str = "phxreplayed";
    pub(crate) const DATA_REF: &str = "dataref";
    pub(crate) const CLAIM_ERROR: &str = "phxclaimerror";
    pub(crate) const VOLATILE: &str = "phxvolatile";
}

/// What the specification of `CloudEvents` calls its version.
const SPEC: &str = "1.0";

/// A message but for its payload.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) said: BTreeMap<String, String>,
    /// Further names and values of the caller.
    pub(super) headers: BTreeMap<String, String>,
}

impl Attributes {
    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.said.insert(name.to_owned(), value.into());
    }

    fn set_some(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    fn take(&mut self, name: &'static str) -> Result<String, Unreadable> {
        self.said.remove(name).ok_or(Unreadable::Missing(name))
    }

    fn read<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &'static str) -> Result<Option<T>, Unreadable> {
        let Some(text) = self.said.remove(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|reason: T::Err| wrong(name, reason.to_string()))
    }

    fn id(&mut self, name: &'static str) -> Result<MessageId, Unreadable> {
        let text = self.take(name)?;
        let id = text.parse().map_err(|reason| wrong(name, format!("`{}` is no UUID: {reason}", shown(&text))))?;
        Ok(MessageId(id))
    }

    fn metadata(&mut self) -> Metadata {
        Metadata {
            correlation_id: self.said.remove(name::CORRELATION),
            causation_id: self.said.remove(name::CAUSATION),
            traceparent: self.said.remove(name::TRACE),
            headers: std::mem::take(&mut self.headers),
        }
    }

    fn set_metadata(&mut self, metadata: Metadata) {
        self.set_some(name::CORRELATION, metadata.correlation_id);
        self.set_some(name::CAUSATION, metadata.causation_id);
        self.set_some(name::TRACE, metadata.traceparent);
        self.headers = metadata.headers;
    }
}

fn wrong(name: &str, reason: String) -> Unreadable {
    Unreadable::Attribute { name: name.to_owned(), reason }
}

/// As much of a stranger's text as is repeated.
fn shown(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

fn code_of(text: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.as_str() == text)
}

impl Message {
    pub(super) fn into_attributes(self) -> (Attributes, Vec<u8>) {
        let mut all = Attributes::default();
        all.set(name::SPEC, SPEC);
        all.set(name::SOURCE, "/phoenix");
        all.set(name::VERSION, VERSION);
        let payload = match self {
            Self::Call(call) => {
                all.set(name::TYPE, if call.kind == CallKind::Command { COMMAND } else { QUERY });
                all.set(name::ID, call.id.to_string());
                all.set(name::AGGREGATE, call.aggregate);
                all.set(name::SUBJECT, call.subject);
                all.set(name::NAME, call.name);
                all.set_some(name::KEY, call.idempotency_key);
                all.set_some(name::REPLY_TO, call.reply_to.map(|to| to.to_string()));
                all.set_some(
                    name::PRIORITY,
                    match call.priority {
                        Priority::High => Some("high"),
                        Priority::Normal => None,
                        Priority::Low => Some("low"),
                    },
                );
                all.set_some(name::DEADLINE, call.deadline_millis.map(|at| at.to_string()));
                all.set_some(name::ATTEMPT, (call.attempt > 0).then(|| call.attempt.to_string()));
                all.set_metadata(call.metadata);
                call.payload
            }
            Self::Reply(reply) => {
                all.set(name::TYPE, REPLY);
                all.set(name::ID, reply.id.to_string());
                all.set(name::REPLY_OF, reply.to.to_string());
                all.set(name::AGGREGATE, reply.aggregate);
                all.set(name::SUBJECT, reply.subject);
                all.set(name::NAME, reply.name);
                let (outcome, code) = match reply.outcome {
                    ReplyOutcome::Replied => ("replied", None),
                    ReplyOutcome::Rejected => ("rejected", None),
                    ReplyOutcome::NotFound => ("not-found", None),
                    ReplyOutcome::Fault(code) => ("fault", Some(code.as_str())),
                };
                all.set(name::OUTCOME, outcome);
                all.set_some(name::CODE, code);
                all.set_some(name::STREAM_VERSION, reply.version.map(|version| version.to_string()));
                all.set_some(name::REPLAYED, reply.replayed.then_some("true"));
                all.set_some(name::VOLATILE, (!reply.durable).then_some("true"));
                all.set_metadata(reply.metadata);
                reply.payload
            }
        };
        (all, payload)
    }

    pub(super) fn from_attributes(mut all: Attributes, payload: Vec<u8>) -> Result<Self, Unreadable> {
        let pairs = all.said.iter().chain(&all.headers);
        let bytes = pairs.map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_ATTRIBUTE_BYTES {
            return Err(Unreadable::TooLarge { bytes });
        }
        let spec = all.take(name::SPEC)?;
        if spec != SPEC {
            return Err(Unreadable::NoEnvelope(format!("`{}` has the value `{}`", name::SPEC, shown(&spec))));
        }
        let found = all.take(name::VERSION)?;
        if found != VERSION {
            return Err(Unreadable::Version { found: shown(&found).to_owned() });
        }
        if payload.is_empty() && all.said.contains_key(name::DATA_REF) {
            return Err(claim::unreadable(&mut all));
        }
        let kind = match &*all.take(name::TYPE)? {
            COMMAND => CallKind::Command,
            QUERY => CallKind::Query,
            REPLY => return all.reply(payload).map(Self::Reply),
            other => return Err(wrong(name::TYPE, format!("`{}` is none of ours", shown(other)))),
        };
        Ok(Self::Call(Call {
            kind,
            id: all.id(name::ID)?,
            aggregate: all.take(name::AGGREGATE)?,
            subject: all.take(name::SUBJECT)?,
            name: all.take(name::NAME)?,
            idempotency_key: all.said.remove(name::KEY),
            reply_to: all.read(name::REPLY_TO)?,
            priority: match all.said.remove(name::PRIORITY).as_deref() {
                None | Some("normal") => Priority::Normal,
                Some("high") => Priority::High,
                Some("low") => Priority::Low,
                Some(other) => {
                    return Err(wrong(name::PRIORITY, format!("`{}` is none of high, normal, low", shown(other))));
                }
            },
            deadline_millis: all.read(name::DEADLINE)?,
            attempt: all.read(name::ATTEMPT)?.unwrap_or_default(),
            metadata: all.metadata(),
            payload,
        }))
    }
}

impl Attributes {
    fn reply(mut self, payload: Vec<u8>) -> Result<Replied, Unreadable> {
        let outcome = match &*self.take(name::OUTCOME)? {
            "replied" => ReplyOutcome::Replied,
            "rejected" => ReplyOutcome::Rejected,
            "not-found" => ReplyOutcome::NotFound,
            // a code of a newer release is as good as none
            "fault" => ReplyOutcome::Fault(code_of(&self.take(name::CODE)?).unwrap_or(Code::OutcomeUnknown)),
            other => return Err(wrong(name::OUTCOME, format!("`{}` is none of ours", shown(other)))),
        };
        Ok(Replied {
            id: self.id(name::ID)?,
            to: self.id(name::REPLY_OF)?,
            aggregate: self.take(name::AGGREGATE)?,
            subject: self.take(name::SUBJECT)?,
            name: self.take(name::NAME)?,
            outcome,
            version: self.read(name::STREAM_VERSION)?,
            replayed: self.read(name::REPLAYED)?.unwrap_or(false),
            durable: !self.read(name::VOLATILE)?.unwrap_or(false),
            metadata: self.metadata(),
            payload,
        })
    }
}
