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

use crate::bus::headers::Headers;
use crate::bus::port::{Record, Traits};

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
        let (attributes, payload) = match headers::read(&record.headers)? {
            Some(attributes) => (attributes, record.value.clone()),
            None => structured::read(&record.value)?,
        };
        Self::from_attributes(attributes, payload)
    }
}

#[cfg(test)]
mod tests;
