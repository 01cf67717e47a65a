//! The file: its tables, and the connections to it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::options::EmbeddedOptions;
use crate::event_store::sqlite::OpenError;

/// Tells the file of a bus from those of others.
const APPLICATION: i32 = i32::from_be_bytes(*b"PhBu");
/// Raised by every change of the tables.
const VERSION: i32 = 2;

/// A record's place: the number of its partition * 2^44 + its offset, which as the rowid makes them unique and readable in
/// order without an index.
pub(super) const OFFSET_BITS: u32 = 44;

const TABLES: &str = "
CREATE TABLE topics (
  name TEXT NOT NULL PRIMARY KEY,
  partitions INTEGER NOT NULL,
  newest INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE partitions (
  number INTEGER NOT NULL PRIMARY KEY,
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  earliest INTEGER NOT NULL,
  next INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  UNIQUE (topic, partition)
);
CREATE TABLE records (
  place INTEGER NOT NULL PRIMARY KEY,
  time_micros INTEGER NOT NULL,
  key BLOB,
  headers BLOB,
  value BLOB NOT NULL
);
CREATE TABLE committed (
  consumer_group TEXT NOT NULL,
  partition INTEGER NOT NULL,
  next INTEGER NOT NULL,
  PRIMARY KEY (consumer_group, partition)
) WITHOUT ROWID;
";

/// Version 1 kept the records of every topic until they were read.
const FROM_1: &str = "ALTER TABLE topics ADD COLUMN newest INTEGER NOT NULL DEFAULT 0";

/// The place of a record; `None` beyond what there is room for.
pub(super) fn place(partition: u32, offset: u64) -> Option<i64> {
    let fits = offset < 1 << OFFSET_BITS && partition < 1 << (63 - OFFSET_BITS);
    fits.then(|| (i64::from(partition) << OFFSET_BITS) + offset.cast_signed())
}

/// The offset of a place in this partition.
pub(super) fn offset(partition: u32, place: i64) -> u64 {
    (place - (i64::from(partition) << OFFSET_BITS)).cast_unsigned()
}

/// The connection that writes a file, which has its tables.
pub(super) fn writer(options: &EmbeddedOptions) -> Result<Connection, OpenError> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&options.path, flags)?;
        db.busy_timeout(options.busy_timeout)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", options.synchronous.to_string())?;
        db.pragma_update(None, "wal_autocheckpoint", options.wal_autocheckpoint_pages)?;
        Ok(db)
    };
    prepared(open().map_err(|e: rusqlite::Error| OpenError::database(&options.path, &e))?, options)
}

/// A database in memory, which has its tables.
pub(super) fn memory(options: &EmbeddedOptions) -> Result<Connection, OpenError> {
    let db = Connection::open_in_memory().map_err(|e| OpenError::database(&options.path, &e))?;
    prepared(db, options)
}

/// A connection that only reads.
pub(super) fn reader(options: &EmbeddedOptions) -> Result<Connection, OpenError> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&options.path, flags)?;
        db.busy_timeout(options.busy_timeout)?;
        Ok(db)
    };
    open().map_err(|e: rusqlite::Error| OpenError::database(&options.path, &e))
}

fn prepared(mut db: Connection, options: &EmbeddedOptions) -> Result<Connection, OpenError> {
    // a negative number counts in KiB instead of pages
    let cache = i64::try_from(options.cache / 1024).unwrap_or(i64::MAX);
    let set = db.pragma_update(None, "cache_size", -cache);
    set.map_err(|e| OpenError::database(&options.path, &e))?;
    migrate(&mut db, &options.path)?;
    Ok(db)
}

/// Makes the tables in an empty file, brings those of an older release up to date, and refuses a file of others or of a newer release.
fn migrate(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let database = |e: rusqlite::Error| OpenError::database(path, &e);
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database)?;
    let number = |pragma| transaction.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).map_err(database);
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(database)?;
    match (application, version) {
        (0, 0) if tables == 0 => {
            let make = || {
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.pragma_update(None, "user_version", VERSION)
            };
            make().map_err(database)?;
        }
        (APPLICATION, VERSION) => {}
        (APPLICATION, 1) => {
            let change = || {
                transaction.execute_batch(FROM_1)?;
                transaction.pragma_update(None, "user_version", VERSION)
            };
            change().map_err(database)?;
        }
        (APPLICATION, newer) => {
            let (found, known) = (format!("bus {newer}"), format!("bus {VERSION}"));
            return Err(OpenError::Newer { path: path.to_owned(), found, known });
        }
        _ => return Err(OpenError::database(path, &"it is a database of something else, and no bus")),
    }
    transaction.commit().map_err(database)
}
