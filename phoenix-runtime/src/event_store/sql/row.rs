//! From rows to what the port speaks of.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use sea_orm::sqlx;
use uuid::Uuid;

use crate::domain::id::{AggregateId, Dedup, MessageId, Slice};
use crate::domain::outcome::{Outcome, OutcomeKind};
use crate::event_store::port::{CommandData, EventData, Snapshot, StoreError, StoredEvent, StreamId};
use crate::event_store::rules::place;

/// The columns of an event as every statement that reads some has them, before columns of its own.
macro_rules! event_columns {
    () => {
        "e.position, e.version, e.time_micros, e.schema_version, e.codec, e.event_name, e.payload, e.dedup, \
         e.command_id, e.payload_hash, e.outcome_kind, e.outcome_version, e.outcome_codec, e.outcome_body, \
         e.command_name, e.key, e.correlation_id, e.causation_id"
    };
}
pub(super) use event_columns;

/// Their places.
pub(super) mod column {
    pub(in super::super) const POSITION: usize = 0;
    pub(in super::super) const VERSION: usize = 1;
    pub(in super::super) const TIME_MICROS: usize = 2;
    pub(super) const SCHEMA_VERSION: usize = 3;
    pub(super) const CODEC: usize = 4;
    pub(super) const EVENT_NAME: usize = 5;
    pub(in super::super) const PAYLOAD: usize = 6;
    pub(in super::super) const DEDUP: usize = 7;
    pub(super) const COMMAND_ID: usize = 8;
    pub(in super::super) const PAYLOAD_HASH: usize = 9;
    pub(super) const OUTCOME_KIND: usize = 10;
    pub(super) const OUTCOME_VERSION: usize = 11;
    pub(super) const OUTCOME_CODEC: usize = 12;
    pub(in super::super) const OUTCOME_BODY: usize = 13;
    pub(super) const COMMAND_NAME: usize = 14;
    pub(super) const KEY: usize = 15;
    pub(super) const CORRELATION_ID: usize = 16;
    pub(super) const CAUSATION_ID: usize = 17;
    /// The first column that belongs to a statement alone.
    pub(in super::super) const OWN: usize = 18;
}

/// A row of a database, read by the places of its columns. Each kind of number is one.
pub(super) trait Cells {
    fn number(&self, column: usize) -> Result<Option<i64>, sqlx::Error>;
    fn text(&self, column: usize) -> Result<Option<&str>, sqlx::Error>;
    fn bytes(&self, column: usize) -> Result<Option<&[u8]>, sqlx::Error>;
}

/// Turns rows into records, and shares the names that repeat.
pub(super) struct Rows<'a> {
    place: &'a str,
    names: HashSet<Arc<str>, RandomState>,
}

/// What is wrong with a row.
type Wrong = Option<sqlx::Error>;

impl<'a> Rows<'a> {
    pub(super) fn new(place: &'a str) -> Self {
        Self { place, names: HashSet::default() }
    }

    /// The row's place among all.
    pub(super) fn place(&self, row: &impl Cells) -> Result<(Slice, u64), StoreError> {
        match row.number(column::POSITION) {
            Ok(Some(position)) => place(position).ok_or_else(|| self.damaged(position, "its position", None)),
            other => Err(self.damaged(0, "its position", other.err())),
        }
    }

    /// The event of a row; `None` for an outcome without events.
    pub(super) fn event(&mut self, row: &impl Cells, stream: StreamId) -> Result<Option<StoredEvent>, StoreError> {
        let (slice, sequence) = self.place(row)?;
        let event = self.event_data(row).map_err(|wrong| self.damaged_row(row, "the event", wrong))?;
        let Some((event, time_micros)) = event else { return Ok(None) };
        let command = self.command(row)?;
        Ok(Some(StoredEvent { stream, slice, sequence, time_micros, event, command }))
    }

    fn event_data(&mut self, row: &impl Cells) -> Result<Option<(EventData, i64)>, Wrong> {
        let Some(version) = row.number(column::VERSION)? else { return Ok(None) };
        let event = EventData {
            version: u64::try_from(version).map_err(|_| None)?,
            name: self.name(needed(row.text(column::EVENT_NAME))?),
            // unsigned numbers are stored as the signed ones of the same bits
            schema_version: i32::try_from(needed(row.number(column::SCHEMA_VERSION))?)
                .map_err(|_| None)?
                .cast_unsigned(),
            codec: small(row.number(column::CODEC))?,
            payload: needed(row.bytes(column::PAYLOAD))?.to_vec(),
        };
        Ok(Some((event, needed(row.number(column::TIME_MICROS))?)))
    }

    /// The stream of a row that names it in two columns from here on.
    pub(super) fn stream(&mut self, row: &impl Cells, column: usize) -> Result<StreamId, StoreError> {
        let read = || Ok((needed(row.text(column))?, needed(row.text(column + 1))?));
        let (aggregate, id) = read().map_err(|wrong| self.damaged_row(row, "the aggregate", wrong))?;
        let id = AggregateId::new(id).map_err(|_| self.damaged_row(row, "the aggregate's id", None))?;
        Ok(StreamId { aggregate: self.name(aggregate), id })
    }

    /// The command of a row, if it is the first of one.
    pub(super) fn command(&mut self, row: &impl Cells) -> Result<Option<Box<CommandData>>, StoreError> {
        self.command_data(row).map_err(|wrong| self.damaged_row(row, "the command", wrong))
    }

    fn command_data(&mut self, row: &impl Cells) -> Result<Option<Box<CommandData>>, Wrong> {
        let Some(dedup) = row.bytes(column::DEDUP)? else { return Ok(None) };
        let text = |column| Ok::<_, Wrong>(row.text(column)?.map(str::to_owned));
        Ok(Some(Box::new(CommandData {
            id: MessageId(Uuid::from_slice(needed(row.bytes(column::COMMAND_ID))?).map_err(|_| None)?),
            dedup: Dedup(dedup.try_into().map_err(|_| None)?),
            name: self.name(needed(row.text(column::COMMAND_NAME))?),
            key: text(column::KEY)?,
            payload_hash: needed(row.number(column::PAYLOAD_HASH))?.cast_unsigned(),
            outcome: Outcome {
                kind: OutcomeKind::from_stored(small(row.number(column::OUTCOME_KIND))?).ok_or(None)?,
                version: needed(row.number(column::OUTCOME_VERSION))?.cast_unsigned(),
                codec: small(row.number(column::OUTCOME_CODEC))?,
                body: needed(row.bytes(column::OUTCOME_BODY))?.to_vec(),
            },
            correlation_id: text(column::CORRELATION_ID)?,
            causation_id: text(column::CAUSATION_ID)?,
        })))
    }

    /// The snapshot of a row that has its fingerprint where an event has its payload's hash.
    pub(super) fn snapshot(&self, row: &impl Cells, stream: StreamId) -> Result<Snapshot, StoreError> {
        let read = || {
            Ok(Snapshot {
                stream,
                version: u64::try_from(needed(row.number(column::VERSION))?).map_err(|_| None)?,
                time_micros: needed(row.number(column::TIME_MICROS))?,
                fingerprint: needed(row.number(column::PAYLOAD_HASH))?.cast_unsigned(),
                codec: small(row.number(column::CODEC))?,
                payload: needed(row.bytes(column::PAYLOAD))?.to_vec(),
            })
        };
        read().map_err(|wrong| self.damaged(0, "a snapshot", wrong))
    }

    /// A number that every row of a statement has.
    pub(super) fn number(&self, row: &impl Cells, column: usize) -> Result<i64, StoreError> {
        needed(row.number(column)).map_err(|wrong| self.damaged(0, "a number", wrong))
    }

    /// Bytes that every row of a statement has.
    pub(super) fn bytes<'r>(&self, row: &'r impl Cells, column: usize) -> Result<&'r [u8], StoreError> {
        needed(row.bytes(column)).map_err(|wrong| self.damaged(0, "bytes", wrong))
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    fn damaged_row(&self, row: &impl Cells, what: &str, wrong: Wrong) -> StoreError {
        self.damaged(row.number(column::POSITION).ok().flatten().unwrap_or(0), what, wrong)
    }

    fn damaged(&self, position: i64, what: &str, wrong: Wrong) -> StoreError {
        let wrong = wrong.map_or_else(String::new, |error| format!(": {error}"));
        let what = format_args!("{what} in the row at position {position} is not what Phoenix writes{wrong}");
        damaged(self.place, what)
    }
}

/// What is in the database is not what Phoenix wrote.
pub(super) fn damaged(place: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!(
        "`{place}`: {what}; stop the service, keep a copy of the database, and restore it from a backup"
    ))
}

fn needed<T>(cell: Result<Option<T>, sqlx::Error>) -> Result<T, Wrong> {
    cell?.ok_or(None)
}

fn small(cell: Result<Option<i64>, sqlx::Error>) -> Result<u8, Wrong> {
    u8::try_from(needed(cell)?).map_err(|_| None)
}
