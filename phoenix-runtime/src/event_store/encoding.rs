//! The one binary form of a record: what segments of the log and blocks of the archive are made of.
//!
//! ```text
//! form u8 = 1 | parts u8 | slice u16 | sequence u64 | time i64 | aggregate text | id text
//! event:   version varint | name text | schema version varint | codec u8 | payload bytes
//! command: id [16] | dedup [16] | payload hash u64 | kind u8 | codec u8 | version varint | name text | body bytes
//!          key text? | correlation id text? | causation id text?
//! ```
//!
//! Numbers are little endian, a varint has 7 bits a byte and is as short as it can be, and text and bytes have their
//! length before them as a varint. `parts` says which of the optional parts follow. There is exactly one encoding of a
//! record. It has no checksum of its own: who stores it puts one around it.
//!
//! Nothing that is read is trusted: a [`View`] borrows from its input and allocates nothing, so no length in a file can
//! ask for memory.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use uuid::Uuid;

use crate::domain::id::{AggregateId, Dedup, MessageId, Slice};
use crate::domain::outcome::{Outcome, OutcomeKind};
use crate::event_store::port::{CommandData, EventData, Record, StoredEvent, StreamId};

/// The form that is written. Another one gets another number, and this one stays readable.
const FORM: u8 = 1;

const EVENT: u8 = 1;
const COMMAND: u8 = 2;
const KEY: u8 = 4;
const CORRELATION: u8 = 8;
const CAUSATION: u8 = 16;
const PARTS: u8 = EVENT | COMMAND | KEY | CORRELATION | CAUSATION;

/// Bytes that are no record of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// They end too early, or a length in them is wrong.
    #[error("it ends in the middle")]
    Short,
    /// Something follows the record.
    #[error("something follows it")]
    Long,
    /// A later release wrote them.
    #[error("it has form {0}, and this program knows form {FORM}")]
    Form(u8),
    /// A part has a value that Phoenix does not write.
    #[error("its {0} is not what Phoenix writes")]
    Part(&'static str),
}

/// A record that borrows its bytes: from what is to be encoded, or from what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View<'a> {
    pub(crate) slice: Slice,
    pub(crate) sequence: u64,
    pub(crate) time_micros: i64,
    pub(crate) aggregate: &'a str,
    pub(crate) id: &'a str,
    pub(crate) event: Option<EventView<'a>>,
    pub(crate) command: Option<CommandView<'a>>,
}

/// An event that borrows its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventView<'a> {
    pub(crate) version: u64,
    pub(crate) name: &'a str,
    pub(crate) schema_version: u32,
    pub(crate) codec: u8,
    pub(crate) payload: &'a [u8],
}

/// A command that borrows its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandView<'a> {
    pub(crate) id: MessageId,
    pub(crate) dedup: Dedup,
    pub(crate) payload_hash: u64,
    pub(crate) kind: OutcomeKind,
    pub(crate) codec: u8,
    pub(crate) version: u64,
    pub(crate) name: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) key: Option<&'a str>,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) causation_id: Option<&'a str>,
}

impl<'a> From<&'a Record> for View<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            slice: record.slice,
            sequence: record.sequence,
            time_micros: record.time_micros,
            aggregate: &record.stream.aggregate,
            id: record.stream.id.as_str(),
            event: record.event.as_ref().map(EventView::from),
            command: record.command.as_deref().map(CommandView::from),
        }
    }
}

impl<'a> From<&'a StoredEvent> for View<'a> {
    fn from(stored: &'a StoredEvent) -> Self {
        Self {
            slice: stored.slice,
            sequence: stored.sequence,
            time_micros: stored.time_micros,
            aggregate: &stored.stream.aggregate,
            id: stored.stream.id.as_str(),
            event: Some(EventView::from(&stored.event)),
            command: stored.command.as_deref().map(CommandView::from),
        }
    }
}

impl<'a> From<&'a EventData> for EventView<'a> {
    fn from(event: &'a EventData) -> Self {
        let EventData { version, name, schema_version, codec, payload } = event;
        Self { version: *version, name, schema_version: *schema_version, codec: *codec, payload }
    }
}

impl<'a> From<&'a CommandData> for CommandView<'a> {
    fn from(command: &'a CommandData) -> Self {
        let Outcome { kind, version, codec, body } = &command.outcome;
        Self {
            id: command.id,
            dedup: command.dedup,
            payload_hash: command.payload_hash,
            kind: *kind,
            codec: *codec,
            version: *version,
            name: &command.name,
            body,
            key: command.key.as_deref(),
            correlation_id: command.correlation_id.as_deref(),
            causation_id: command.causation_id.as_deref(),
        }
    }
}

impl<'a> View<'a> {
    /// Appends the record's bytes.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let part = |there: bool, bit: u8| if there { bit } else { 0 };
        let texts = |command: &CommandView<'_>| {
            part(command.key.is_some(), KEY)
                | part(command.correlation_id.is_some(), CORRELATION)
                | part(command.causation_id.is_some(), CAUSATION)
        };
        let parts = part(self.event.is_some(), EVENT) | self.command.as_ref().map_or(0, |c| COMMAND | texts(c));
        into.extend_from_slice(&[FORM, parts]);
        into.extend_from_slice(&self.slice.0.to_le_bytes());
        into.extend_from_slice(&self.sequence.to_le_bytes());
        into.extend_from_slice(&self.time_micros.to_le_bytes());
        put_bytes(into, self.aggregate.as_bytes());
        put_bytes(into, self.id.as_bytes());
        if let Some(event) = &self.event {
            put_varint(into, event.version);
            put_bytes(into, event.name.as_bytes());
            put_varint(into, u64::from(event.schema_version));
            into.push(event.codec);
            put_bytes(into, event.payload);
        }
        if let Some(command) = &self.command {
            into.extend_from_slice(command.id.0.as_bytes());
            into.extend_from_slice(&command.dedup.0);
            into.extend_from_slice(&command.payload_hash.to_le_bytes());
            into.extend_from_slice(&[command.kind as u8, command.codec]);
            put_varint(into, command.version);
            put_bytes(into, command.name.as_bytes());
            put_bytes(into, command.body);
            for text in [command.key, command.correlation_id, command.causation_id].into_iter().flatten() {
                put_bytes(into, text.as_bytes());
            }
        }
    }

    /// Reads a record that is the whole of `bytes`.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut input = Input(bytes);
        let form = input.byte()?;
        if form != FORM {
            return Err(Malformed::Form(form));
        }
        let parts = input.byte()?;
        let texts = parts & (KEY | CORRELATION | CAUSATION);
        if parts & !PARTS != 0 || (texts != 0 && parts & COMMAND == 0) {
            return Err(Malformed::Part("list of parts"));
        }
        let view = Self {
            slice: Slice(u16::from_le_bytes(input.array()?)),
            sequence: u64::from_le_bytes(input.array()?),
            time_micros: i64::from_le_bytes(input.array()?),
            aggregate: input.text("aggregate")?,
            id: input.text("aggregate id")?,
            event: if parts & EVENT == 0 { None } else { Some(EventView::read(&mut input)?) },
            command: if parts & COMMAND == 0 { None } else { Some(CommandView::read(&mut input, parts)?) },
        };
        if input.0.is_empty() { Ok(view) } else { Err(Malformed::Long) }
    }

    /// Whose it is.
    pub(crate) fn stream(&self, names: &mut Names) -> Result<StreamId, Malformed> {
        let id = AggregateId::new(self.id).map_err(|_| Malformed::Part("aggregate id"))?;
        Ok(StreamId { aggregate: names.shared(self.aggregate), id })
    }

    /// The event as the port has it; `None` for an outcome without events.
    pub(crate) fn stored_event(&self, names: &mut Names) -> Result<Option<StoredEvent>, Malformed> {
        let Some(event) = &self.event else { return Ok(None) };
        Ok(Some(StoredEvent {
            stream: self.stream(names)?,
            slice: self.slice,
            sequence: self.sequence,
            time_micros: self.time_micros,
            event: event.data(names),
            command: self.command.map(|command| Box::new(command.data(names))),
        }))
    }
}

impl<'a> EventView<'a> {
    fn read(input: &mut Input<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            version: input.varint()?,
            name: input.text("event name")?,
            schema_version: u32::try_from(input.varint()?).map_err(|_| Malformed::Part("schema version"))?,
            codec: input.byte()?,
            payload: input.bytes()?,
        })
    }

    /// The event as the port has it.
    pub(crate) fn data(&self, names: &mut Names) -> EventData {
        EventData {
            version: self.version,
            name: names.shared(self.name),
            schema_version: self.schema_version,
            codec: self.codec,
            payload: self.payload.to_vec(),
        }
    }
}

impl<'a> CommandView<'a> {
    fn read(input: &mut Input<'a>, parts: u8) -> Result<Self, Malformed> {
        let mut view = Self {
            id: MessageId(Uuid::from_bytes(input.array()?)),
            dedup: Dedup(input.array()?),
            payload_hash: u64::from_le_bytes(input.array()?),
            kind: OutcomeKind::from_stored(input.byte()?).ok_or(Malformed::Part("kind of outcome"))?,
            codec: input.byte()?,
            version: input.varint()?,
            name: input.text("command name")?,
            body: input.bytes()?,
            key: None,
            correlation_id: None,
            causation_id: None,
        };
        let texts = [
            (KEY, &mut view.key, "key"),
            (CORRELATION, &mut view.correlation_id, "correlation id"),
            (CAUSATION, &mut view.causation_id, "causation id"),
        ];
        for (part, text, what) in texts {
            if parts & part != 0 {
                *text = Some(input.text(what)?);
            }
        }
        Ok(view)
    }

    /// The command as the port has it.
    pub(crate) fn data(&self, names: &mut Names) -> CommandData {
        CommandData {
            id: self.id,
            dedup: self.dedup,
            name: names.shared(self.name),
            key: self.key.map(str::to_owned),
            payload_hash: self.payload_hash,
            outcome: Outcome { kind: self.kind, version: self.version, codec: self.codec, body: self.body.to_vec() },
            correlation_id: self.correlation_id.map(str::to_owned),
            causation_id: self.causation_id.map(str::to_owned),
        }
    }
}

/// Shares the names that repeat from record to record.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<Arc<str>, RandomState>);

impl Names {
    /// Far more than a program has; what is read must not fill the memory.
    const MOST: usize = 4096;

    pub(crate) fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.0.len() < Self::MOST {
            self.0.insert(Arc::clone(&name));
        }
        name
    }
}

/// Appends a number, 7 bits a byte, the lowest first.
pub(crate) fn put_varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    into.push(number.to_le_bytes()[0]);
}

/// Appends bytes with their length before them.
pub(crate) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

/// What is left to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // the tenth byte has room for one bit
            if shift == 63 && bits > 1 {
                return Err(Malformed::Part("number"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                // one number has one form
                return if bits == 0 && shift != 0 { Err(Malformed::Part("number")) } else { Ok(number) };
            }
        }
        Err(Malformed::Part("number"))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        self.take(usize::try_from(length).map_err(|_| Malformed::Short)?)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Part(what))
    }
}

#[cfg(test)]
mod tests;
