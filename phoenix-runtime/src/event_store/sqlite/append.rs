//! One batch inside an open transaction.

use std::path::Path;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension as _, params};

use super::error::write_failed;
use super::row::{SEQUENCE_BITS, place, position};
use crate::domain::id::{Dedup, SLICES, Slice};
use crate::event_store::port::{Batch, Epoch, Partition, Record, StoreError, StreamId};
use crate::event_store::rules::{self, Stored};

const INSERT: &str = "INSERT INTO events (position, aggregate, id, version, dedup, time_micros, event_name, \
     schema_version, codec, command_id, command_name, key, payload_hash, outcome_kind, outcome_version, outcome_codec, \
     correlation_id, causation_id, outcome_body, payload) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
const NOTE_NAME: &str = "INSERT OR IGNORE INTO event_names (aggregate, event_name) VALUES (?1, ?2)";
const HAS_VERSION: &str = "SELECT 1 FROM events WHERE aggregate = ?1 AND id = ?2 AND version = ?3";
const HAS_KEY: &str = "SELECT 1 FROM events WHERE aggregate = ?1 AND id = ?2 AND dedup = ?3";
const LAST_VERSION: &str =
    "SELECT version FROM events WHERE aggregate = ?1 AND id = ?2 AND version IS NOT NULL ORDER BY version DESC LIMIT 1";
const LAST_POSITION: &str = "SELECT max(position) FROM events WHERE position > ?1 AND position < ?2";
const EPOCH: &str = "SELECT epoch FROM partitions WHERE partition = ?1";

/// What the writer remembers of the database between transactions, so that it need not ask for each row. It counts
/// only while nobody else writes, which `PRAGMA data_version` tells.
#[derive(Default)]
pub(super) struct Known {
    data_version: Option<i64>,
    epochs: HashMap<Partition, Epoch, RandomState>,
    sequences: HashMap<Slice, u64, RandomState>,
    /// Names of events that are in their table, by aggregate.
    names: HashMap<Arc<str>, HashSet<Arc<str>, RandomState>, RandomState>,
}

impl Known {
    /// Drops what is remembered if another connection has written: it may be another owner, whose lock file was taken
    /// away from under this one. Asked at the start of each transaction.
    pub(super) fn check(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let version = db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.data_version != Some(version) {
            self.forget();
            self.data_version = Some(version);
        }
        Ok(())
    }

    /// What is remembered may be wrong, after a rollback for example.
    pub(super) fn forget(&mut self) {
        self.epochs.clear();
        self.sequences.clear();
        self.names.clear();
    }

    pub(super) fn epoch(&mut self, db: &Connection, partition: Partition) -> rusqlite::Result<Epoch> {
        match self.epochs.entry(partition) {
            Entry::Occupied(entry) => Ok(*entry.get()),
            Entry::Vacant(entry) => {
                let stored =
                    db.prepare_cached(EPOCH)?.query_row([partition.0], |row| row.get::<_, i64>(0)).optional()?;
                Ok(*entry.insert(Epoch(stored.unwrap_or(0).cast_unsigned())))
            }
        }
    }

    pub(super) fn set_epoch(&mut self, partition: Partition, epoch: Epoch) {
        self.epochs.insert(partition, epoch);
    }

    /// Notes the name of an event that is stored, so that a start need not look through all events.
    fn note_name(&mut self, db: &Connection, aggregate: &Arc<str>, name: &Arc<str>) -> rusqlite::Result<()> {
        if self.names.get(aggregate).is_some_and(|names| names.contains(name)) {
            return Ok(());
        }
        db.prepare_cached(NOTE_NAME)?.execute(params![&**aggregate, &**name])?;
        self.names.entry(Arc::clone(aggregate)).or_default().insert(Arc::clone(name));
        Ok(())
    }

    fn sequence(&mut self, db: &Connection, slice: Slice) -> rusqlite::Result<&mut u64> {
        match self.sequences.entry(slice) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let start = i64::from(slice.0) << SEQUENCE_BITS;
                let last: Option<i64> = db
                    .prepare_cached(LAST_POSITION)?
                    .query_row([start, start + (1 << SEQUENCE_BITS)], |row| row.get(0))?;
                let sequence = last.and_then(place).map_or(0, |(_, sequence)| sequence);
                Ok(entry.insert(sequence))
            }
        }
    }
}

/// Why a batch was not inserted.
pub(super) enum Failed {
    /// Before any of its rows was.
    Before(StoreError),
    /// A row can't be taken. Rows before it may have been inserted: roll back.
    Refused(StoreError),
    /// A row is in conflict. Rows before it may have been inserted: roll back, then ask for the [`conflicts`].
    Conflict,
    /// The database failed, and with it everything of the transaction.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// Checks and inserts a batch.
pub(super) fn append(db: &Connection, path: &Path, known: &mut Known, batch: &Batch) -> Result<(), Failed> {
    rules::fence(&batch.epochs, |partition| known.epoch(db, partition).map_err(|e| write_failed(path, &e)))
        .and_then(|()| rules::well_formed(batch))
        .map_err(Failed::Before)?;
    if batch.records.is_empty() {
        return Ok(());
    }
    let mut insert = db.prepare_cached(INSERT)?;
    let mut has_version = db.prepare_cached(HAS_VERSION)?;
    let mut versions: HashMap<&StreamId, u64, RandomState> = HashMap::default();
    for (index, record) in batch.records.iter().enumerate() {
        let sequence = known.sequence(db, record.slice)?;
        if record.sequence != *sequence + 1 {
            return Err(Failed::Conflict);
        }
        let Some(position) = position(record.slice, record.sequence) else {
            let reason = format!("slice {} is full: it takes 2^{SEQUENCE_BITS} records", record.slice.0);
            return Err(Failed::Refused(StoreError::Refused { index, reason }));
        };
        *sequence = record.sequence;
        let version = match &record.event {
            None => None,
            Some(event) => {
                known.note_name(db, &record.stream.aggregate, &event.name)?;
                let proven = match versions.entry(&record.stream) {
                    Entry::Occupied(mut entry) => entry.insert(event.version) + 1 == event.version,
                    Entry::Vacant(entry) => {
                        entry.insert(event.version);
                        // the unique index refuses a second version 1
                        event.version == 1 || has(&mut has_version, &record.stream, event.version - 1)?
                    }
                };
                let (true, Ok(version)) = (proven, i64::try_from(event.version)) else { return Err(Failed::Conflict) };
                Some(version)
            }
        };
        insert_record(&mut insert, record, position, version).map_err(|e| match e.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Failed::Conflict,
            Some(ErrorCode::TooBig) => {
                let reason = format!("it is larger than SQLite's limit for a row ({e}); events should be small");
                Failed::Refused(StoreError::Refused { index, reason })
            }
            _ => Failed::Database(e),
        })?;
    }
    Ok(())
}

fn has(statement: &mut CachedStatement<'_>, stream: &StreamId, version: u64) -> rusqlite::Result<bool> {
    // no version is as high as those that do not fit
    let Ok(version) = i64::try_from(version) else { return Ok(false) };
    statement.exists(params![&*stream.aggregate, stream.id.as_str(), version])
}

fn insert_record(
    insert: &mut CachedStatement<'_>,
    record: &Record,
    position: i64,
    version: Option<i64>,
) -> rusqlite::Result<usize> {
    let (event, command) = (record.event.as_ref(), record.command.as_deref());
    let outcome = command.map(|command| &command.outcome);
    insert.execute(params![
        position,
        &*record.stream.aggregate,
        record.stream.id.as_str(),
        version,
        command.map(|command| &command.dedup.0[..]),
        record.time_micros,
        event.map(|event| &*event.name),
        event.map(|event| event.schema_version),
        event.map(|event| event.codec),
        command.map(|command| &command.id.0.as_bytes()[..]),
        command.map(|command| &*command.name),
        command.and_then(|command| command.key.as_deref()),
        command.map(|command| command.payload_hash.cast_signed()),
        outcome.map(|outcome| outcome.kind as u8),
        outcome.map(|outcome| outcome.version.cast_signed()),
        outcome.map(|outcome| outcome.codec),
        command.and_then(|command| command.correlation_id.as_deref()),
        command.and_then(|command| command.causation_id.as_deref()),
        outcome.map(|outcome| &outcome.body[..]),
        event.map(|event| &event.payload[..]),
    ])
}

/// Names every conflict of a batch of which nothing is in the database.
pub(super) fn conflicts(db: &Connection, path: &Path, batch: &Batch) -> StoreError {
    rules::conflicts(batch, &mut Questions { db, path }).map_or_else(|e| e, StoreError::Conflict)
}

struct Questions<'a> {
    db: &'a Connection,
    path: &'a Path,
}

impl Questions<'_> {
    fn ask<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        ask(self.db).map_err(|e| write_failed(self.path, &e))
    }
}

impl Stored for Questions<'_> {
    fn last_sequence(&mut self, slice: Slice) -> Result<u64, StoreError> {
        if slice.0 >= SLICES {
            return Ok(0);
        }
        self.ask(|db| Known::default().sequence(db, slice).copied())
    }

    fn last_version(&mut self, stream: &StreamId) -> Result<u64, StoreError> {
        self.ask(|db| {
            let key = params![&*stream.aggregate, stream.id.as_str()];
            let last = db.prepare_cached(LAST_VERSION)?.query_row(key, |row| row.get::<_, i64>(0)).optional()?;
            Ok(last.unwrap_or(0).cast_unsigned())
        })
    }

    fn has_key(&mut self, stream: &StreamId, dedup: Dedup) -> Result<bool, StoreError> {
        let key = params![&*stream.aggregate, stream.id.as_str(), &dedup.0[..]];
        self.ask(|db| db.prepare_cached(HAS_KEY)?.exists(key))
    }
}
