//! A message as names and values: what both forms carry.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use super::VERSION;
use super::claim;
use super::error::Unreadable;
use super::message::{Call, CallKind, Ended, Message, Replied, ReplyOutcome};
use super::name::Name;
use crate::domain::error::Code;
use crate::domain::id::MessageId;
use crate::domain::metadata::{MAX_HEADER_BYTES, Metadata, Priority};

/// The most bytes that the attributes of a message have together.
pub const MAX_ATTRIBUTE_BYTES: usize = 16 * 1024 + MAX_HEADER_BYTES;

const COMMAND: &str = "phoenix.command";
const QUERY: &str = "phoenix.query";
const REPLY: &str = "phoenix.reply";

/// What the specification of `CloudEvents` calls its version.
const SPEC: &str = "1.0";

type Text<'a> = Cow<'a, str>;

/// A message but for its payload; borrowed, as far as possible, from the message or from the record.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    said: [Option<Text<'a>>; Name::ALL.len()],
    /// Further names and values of the caller.
    headers: Vec<(Text<'a>, Text<'a>)>,
    /// How long all that was read is, also what nobody knows.
    read: usize,
}

impl<'a> Attributes<'a> {
    pub(super) fn set(&mut self, name: Name, value: impl Into<Text<'a>>) {
        self.said[name as usize] = Some(value.into());
    }

    fn set_some(&mut self, name: Name, value: Option<impl Into<Text<'a>>>) {
        self.said[name as usize] = value.map(Into::into);
    }

    /// Adds what was read under a name, which may be none of ours.
    pub(super) fn add(&mut self, name: &[u8], value: Text<'a>) {
        self.read += name.len() + value.len();
        if let Some(name) = Name::of(name) {
            self.set(name, value);
        }
    }

    /// Adds a header of the caller that was read.
    pub(super) fn add_header(&mut self, name: impl Into<Text<'a>>, value: impl Into<Text<'a>>) {
        let (name, value) = (name.into(), value.into());
        self.read += name.len() + value.len();
        self.headers.push((name, value));
    }

    /// What is said, by the order of the names.
    pub(super) fn said(&self) -> impl Iterator<Item = (Name, &str)> {
        let pairs = Name::ALL.into_iter().zip(&self.said);
        pairs.filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// Headers of the caller.
    pub(super) fn headers(&self) -> &[(Text<'a>, Text<'a>)] {
        &self.headers
    }

    /// What is said under a name.
    pub(super) fn get(&self, name: Name) -> Option<&str> {
        self.said[name as usize].as_deref()
    }

    pub(super) fn take_some(&mut self, name: Name) -> Option<Text<'a>> {
        self.said[name as usize].take()
    }

    fn take(&mut self, name: Name) -> Result<Text<'a>, Unreadable> {
        self.take_some(name).ok_or(Unreadable::Missing(name.as_str()))
    }

    fn text(&mut self, name: Name) -> Result<String, Unreadable> {
        self.take(name).map(Cow::into_owned)
    }

    fn read<T: FromStr<Err: std::fmt::Display>>(&mut self, name: Name) -> Result<Option<T>, Unreadable> {
        let Some(text) = self.take_some(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|reason: T::Err| wrong(name, reason.to_string()))
    }

    fn id(&mut self, name: Name) -> Result<MessageId, Unreadable> {
        let text = self.take(name)?;
        let id = text.parse().map_err(|reason| wrong(name, format!("`{}` is no UUID: {reason}", shown(&text))))?;
        Ok(MessageId(id))
    }

    fn metadata(&mut self) -> Metadata {
        let mut some = |name| self.take_some(name).map(Cow::into_owned);
        let (correlation_id, causation_id, traceparent) =
            (some(Name::Correlation), some(Name::Causation), some(Name::Trace));
        let owned = |(name, value): (Text<'_>, Text<'_>)| (name.into_owned(), value.into_owned());
        let headers: BTreeMap<_, _> = std::mem::take(&mut self.headers).into_iter().map(owned).collect();
        Metadata { correlation_id, causation_id, traceparent, headers }
    }

    fn set_metadata(&mut self, metadata: &'a Metadata) {
        self.set_some(Name::Correlation, metadata.correlation_id.as_deref());
        self.set_some(Name::Causation, metadata.causation_id.as_deref());
        self.set_some(Name::Trace, metadata.traceparent.as_deref());
        self.headers = metadata.headers.iter().map(|(name, value)| (name.into(), value.into())).collect();
    }
}

fn wrong(name: Name, reason: String) -> Unreadable {
    Unreadable::Attribute { name: name.as_str().to_owned(), reason }
}

/// As much of a stranger's text as is repeated.
fn shown(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

fn code_of(text: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.as_str() == text)
}

impl Message {
    pub(super) fn attributes(&self) -> Attributes<'_> {
        let mut all = Attributes::of_ours();
        match self {
            Self::Call(call) => all.set_call(call),
            Self::Reply(reply) => all.set_reply(reply),
        }
        all
    }

    pub(super) fn from_attributes(all: &mut Attributes<'_>, payload: Vec<u8>) -> Result<Self, Unreadable> {
        if all.read > MAX_ATTRIBUTE_BYTES {
            return Err(Unreadable::TooLarge { bytes: all.read });
        }
        let spec = all.take(Name::Spec)?;
        if spec != SPEC {
            let text = format!("`{}` has the value `{}`", Name::Spec.as_str(), shown(&spec));
            return Err(Unreadable::NoEnvelope(text));
        }
        let found = all.take(Name::Version)?;
        if found != VERSION {
            return Err(Unreadable::Version { found: shown(&found).to_owned() });
        }
        if payload.is_empty() && all.get(Name::DataRef).is_some() {
            return Err(claim::unreadable(all));
        }
        match &*all.take(Name::Type)? {
            COMMAND => all.call(CallKind::Command, payload).map(Self::Call),
            QUERY => all.call(CallKind::Query, payload).map(Self::Call),
            REPLY => all.reply(payload).map(Self::Reply),
            other => Err(wrong(Name::Type, format!("`{}` is none of ours", shown(other)))),
        }
    }
}

impl<'a> Attributes<'a> {
    fn of_ours() -> Self {
        let mut all = Self::default();
        all.set(Name::Spec, SPEC);
        all.set(Name::Source, "/phoenix");
        all.set(Name::Version, VERSION);
        all
    }

    /// Those of the reply to a call, with the texts of both ids.
    pub(super) fn of_reply(call: &'a Call, [id, to]: [&'a str; 2], ended: &Ended) -> Self {
        let mut all = Self::of_ours();
        all.set(Name::Id, id);
        all.set(Name::ReplyOf, to);
        all.set_target(&call.aggregate, &call.subject, &call.name);
        all.set_metadata(&call.metadata);
        all.set(Name::Causation, to);
        let Ended { outcome, version, replayed, durable, .. } = *ended;
        all.set_ended(outcome, version, replayed, durable);
        all
    }

    fn set_call(&mut self, call: &'a Call) {
        self.set(Name::Type, if call.kind == CallKind::Command { COMMAND } else { QUERY });
        self.set(Name::Id, call.id.to_string());
        self.set_target(&call.aggregate, &call.subject, &call.name);
        self.set_some(Name::Key, call.idempotency_key.as_deref());
        self.set_some(Name::ReplyTo, call.reply_to.as_ref().map(ToString::to_string));
        let priority = match call.priority {
            Priority::High => Some("high"),
            Priority::Normal => None,
            Priority::Low => Some("low"),
        };
        self.set_some(Name::Priority, priority);
        self.set_some(Name::Deadline, call.deadline_millis.map(|at| at.to_string()));
        self.set_some(Name::Attempt, (call.attempt > 0).then(|| call.attempt.to_string()));
        self.set_metadata(&call.metadata);
    }

    fn call(&mut self, kind: CallKind, payload: Vec<u8>) -> Result<Call, Unreadable> {
        Ok(Call {
            kind,
            id: self.id(Name::Id)?,
            aggregate: self.text(Name::Aggregate)?,
            subject: self.text(Name::Subject)?,
            name: self.text(Name::Message)?,
            idempotency_key: self.take_some(Name::Key).map(Cow::into_owned),
            reply_to: self.read(Name::ReplyTo)?,
            priority: match self.take_some(Name::Priority).as_deref() {
                None | Some("normal") => Priority::Normal,
                Some("high") => Priority::High,
                Some("low") => Priority::Low,
                Some(other) => {
                    let text = format!("`{}` is none of high, normal, low", shown(other));
                    return Err(wrong(Name::Priority, text));
                }
            },
            deadline_millis: self.read(Name::Deadline)?,
            attempt: self.read(Name::Attempt)?.unwrap_or_default(),
            metadata: self.metadata(),
            payload,
        })
    }

    fn set_reply(&mut self, reply: &'a Replied) {
        self.set(Name::Id, reply.id.to_string());
        self.set(Name::ReplyOf, reply.to.to_string());
        self.set_target(&reply.aggregate, &reply.subject, &reply.name);
        self.set_metadata(&reply.metadata);
        let Replied { outcome, version, replayed, durable, .. } = *reply;
        self.set_ended(outcome, version, replayed, durable);
    }

    fn set_target(&mut self, aggregate: &'a str, subject: &'a str, name: &'a str) {
        self.set(Name::Aggregate, aggregate);
        self.set(Name::Subject, subject);
        self.set(Name::Message, name);
    }

    fn set_ended(&mut self, outcome: ReplyOutcome, version: Option<u64>, replayed: bool, durable: bool) {
        self.set(Name::Type, REPLY);
        let (outcome, code) = match outcome {
            ReplyOutcome::Replied => ("replied", None),
            ReplyOutcome::Rejected => ("rejected", None),
            ReplyOutcome::NotFound => ("not-found", None),
            ReplyOutcome::Fault(code) => ("fault", Some(code.as_str())),
        };
        self.set(Name::Outcome, outcome);
        self.set_some(Name::Code, code);
        self.set_some(Name::StreamVersion, version.map(|version| version.to_string()));
        self.set_some(Name::Replayed, replayed.then_some("true"));
        self.set_some(Name::Volatile, (!durable).then_some("true"));
    }

    fn reply(&mut self, payload: Vec<u8>) -> Result<Replied, Unreadable> {
        let outcome = match &*self.take(Name::Outcome)? {
            "replied" => ReplyOutcome::Replied,
            "rejected" => ReplyOutcome::Rejected,
            "not-found" => ReplyOutcome::NotFound,
            // a code of a newer release is as good as none
            "fault" => ReplyOutcome::Fault(code_of(&self.take(Name::Code)?).unwrap_or(Code::OutcomeUnknown)),
            other => return Err(wrong(Name::Outcome, format!("`{}` is none of ours", shown(other)))),
        };
        Ok(Replied {
            id: self.id(Name::Id)?,
            to: self.id(Name::ReplyOf)?,
            aggregate: self.text(Name::Aggregate)?,
            subject: self.text(Name::Subject)?,
            name: self.text(Name::Message)?,
            outcome,
            version: self.read(Name::StreamVersion)?,
            replayed: self.read(Name::Replayed)?.unwrap_or(false),
            durable: !self.read(Name::Volatile)?.unwrap_or(false),
            metadata: self.metadata(),
            payload,
        })
    }
}
