//! From rows to what the port speaks of.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::entity::{events, snapshots};
use super::error::damaged;
use crate::domain::id::{AggregateId, Dedup, MessageId, Slice};
use crate::domain::outcome::{Outcome, OutcomeKind};
use crate::event_store::port::{CommandData, EventData, Snapshot, StoreError, StoredEvent, StreamId};
pub(super) use crate::event_store::rules::{SEQUENCE_BITS, place, position};

/// Turns rows into records, and shares the names that repeat.
pub(super) struct Rows<'a> {
    path: &'a Path,
    names: HashSet<Arc<str>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        Self { path, names: HashSet::new() }
    }

    pub(super) fn place(&self, row: i64) -> Result<(Slice, u64), StoreError> {
        place(row).ok_or_else(|| self.damaged(row, "its position"))
    }

    fn damaged(&self, row: i64, what: &str) -> StoreError {
        damaged(self.path, format_args!("{what} in the row at position {row} is not what Phoenix writes"))
    }

    fn name(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.names.get(name.as_str()) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// The event of a row; `None` for an outcome without events.
    pub(super) fn event(&mut self, mut row: events::Model) -> Result<Option<StoredEvent>, StoreError> {
        let at = row.position;
        let (slice, sequence) = self.place(at)?;
        let Some(version) = row.version else { return Ok(None) };
        let command = self.command(&mut row)?;
        let missing = |what| move || (at, what);
        let event = (|| {
            Ok(EventData {
                version: u64::try_from(version).map_err(|_| (at, "the version"))?,
                name: row.event_name.take().map(|name| self.name(name)).ok_or_else(missing("the event's name"))?,
                schema_version: number(row.schema_version).ok_or_else(missing("the event's schema version"))?,
                codec: number(row.codec).ok_or_else(missing("the event's codec"))?,
                payload: row.payload.take().ok_or_else(missing("the event's payload"))?,
            })
        })();
        let event = event.map_err(|(at, what)| self.damaged(at, what))?;
        let id = AggregateId::new(&row.id).map_err(|_| self.damaged(at, "the aggregate's id"))?;
        let stream = StreamId { aggregate: self.name(row.aggregate), id };
        Ok(Some(StoredEvent { stream, slice, sequence, time_micros: row.time_micros, event, command }))
    }

    /// The command of a row, if it is the first of one.
    pub(super) fn command(&mut self, row: &mut events::Model) -> Result<Option<Box<CommandData>>, StoreError> {
        let Some(dedup) = row.dedup.take() else { return Ok(None) };
        let at = row.position;
        let command = (|| {
            Some(CommandData {
                id: MessageId(Uuid::from_slice(row.command_id.as_deref()?).ok()?),
                dedup: Dedup(dedup.try_into().ok()?),
                name: self.name(row.command_name.take()?),
                key: row.key.take(),
                payload_hash: row.payload_hash?.cast_unsigned(),
                outcome: Outcome {
                    kind: OutcomeKind::from_stored(number(row.outcome_kind)?)?,
                    version: row.outcome_version?.cast_unsigned(),
                    codec: number(row.outcome_codec)?,
                    body: row.outcome_body.take()?,
                },
                correlation_id: row.correlation_id.take(),
                causation_id: row.causation_id.take(),
            })
        })();
        match command {
            Some(command) => Ok(Some(Box::new(command))),
            None => Err(self.damaged(at, "the command")),
        }
    }

    pub(super) fn snapshot(&self, row: snapshots::Model, stream: StreamId) -> Result<Snapshot, StoreError> {
        let (Ok(version), Some(codec)) = (u64::try_from(row.version), number(Some(row.codec))) else {
            return Err(damaged(self.path, format_args!("version or codec of a snapshot of {stream}")));
        };
        Ok(Snapshot {
            stream,
            version,
            time_micros: row.time_micros,
            fingerprint: row.fingerprint.cast_unsigned(),
            codec,
            payload: row.payload,
        })
    }
}

fn number<T: TryFrom<i64>>(stored: Option<i64>) -> Option<T> {
    T::try_from(stored?).ok()
}
