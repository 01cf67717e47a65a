//! Messages as they travel: what a record says besides its payload, in two forms.
//!
//! Both are `CloudEvents` 1.0, so that other tools can read them: where the bus has headers, attributes are headers and the
//! payload is the value (the Kafka protocol binding's binary mode); where it has none, the value is one JSON object
//! (structured mode). Whoever reads takes either. `docs/messages.md` lists the attributes.
//!
//! # Layout
//! - [`message`]: [`Message`]: commands, queries and replies; [`attributes`]: a message as names and values
//! - [`name`]: names of attributes; [`headers`], [`structured`]: the two forms
//! - `claim`: a body that is kept elsewhere
//! - [`error`]: what can't be read

pub mod attributes;
pub(in crate::bus) mod claim;
pub mod error;
mod headers;
pub mod message;
mod name;
mod structured;

pub use attributes::MAX_ATTRIBUTE_BYTES;
pub use claim::without_body;
pub use error::Unreadable;
pub use message::{Call, CallKind, Message, Replied, ReplyOutcome, ReplyTo};

use uuid::Uuid;

use self::attributes::Attributes;
use self::message::Ended;
use crate::bus::headers::Headers;
use crate::bus::port::{Record, Traits};
use crate::domain::id::MessageId;
use crate::domain::pending::NamedAnswer;

/// The version of the envelope; a reader parks what is newer.
pub const VERSION: &str = "1";

impl Message {
    /// The record that carries it on a bus. Its key is the aggregate's id, unless the caller named one.
    #[must_use]
    pub fn into_record(self, key: Option<Vec<u8>>, traits: Traits) -> Record {
        let attributes = self.attributes();
        if traits.headers {
            let headers = headers::write(&attributes);
            Record { key, headers, value: self.into_payload() }
        } else {
            let value = structured::write(&attributes, self.payload());
            Record { key, headers: Headers::new(), value }
        }
    }

    /// The record of [`Replied::new`], without a copy of what is in the call.
    #[must_use]
    pub fn record_of_reply(
        id: MessageId,
        call: &Call,
        answer: NamedAnswer,
        key: Option<Vec<u8>>,
        traits: Traits,
    ) -> Record {
        let (mut ours, mut theirs) = (Uuid::encode_buffer(), Uuid::encode_buffer());
        let ids = [&*id.0.hyphenated().encode_lower(&mut ours), &*call.id.0.hyphenated().encode_lower(&mut theirs)];
        let ended = Ended::from(answer);
        let attributes = Attributes::of_reply(call, ids, &ended);
        if traits.headers {
            Record { key, headers: headers::write(&attributes), value: ended.payload }
        } else {
            let value = structured::write(&attributes, &ended.payload);
            Record { key, headers: Headers::new(), value }
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::Call(call) => &call.payload,
            Self::Reply(reply) => &reply.payload,
        }
    }

    fn into_payload(self) -> Vec<u8> {
        match self {
            Self::Call(call) => call.payload,
            Self::Reply(reply) => reply.payload,
        }
    }

    /// Reads a record, in whichever form it is.
    ///
    /// # Errors
    /// What is no message, or one of a newer version.
    pub fn from_record(record: &Record) -> Result<Self, Unreadable> {
        let (mut attributes, payload) = match headers::read(&record.headers)? {
            Some(attributes) => (attributes, record.value.clone()),
            None => structured::read(&record.value)?,
        };
        Self::from_attributes(&mut attributes, payload)
    }
}

#[cfg(test)]
mod tests;
