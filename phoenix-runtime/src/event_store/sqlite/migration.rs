//! The schema, in versions. What was released is never edited: a change is another migration at the end.

use std::path::Path;

use sea_orm::DatabaseConnection;
use sea_orm_migration::prelude::{ConnectionTrait as _, DbErr, DynIden, IntoIden as _, SchemaManager, async_trait};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait};

use super::error::OpenError;

pub(super) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(Statements { name: "0001_events", sql: EVENTS }),
            Box::new(Statements { name: "0002_archive", sql: ARCHIVE }),
            Box::new(Statements { name: "0003_partitions", sql: PARTITIONS }),
            Box::new(Statements { name: "0004_letters", sql: LETTERS }),
        ]
    }

    fn migration_table_name() -> DynIden {
        "schema_migrations".into_iden()
    }
}

/// `position` is slice * 2^44 + sequence: as the rowid it makes (slice, sequence) unique and readable in order without
/// an index. `version` is null for the outcome of a command without events, `dedup` for all but a command's first
/// record; the indexes leave these rows out. Unsigned numbers are stored as the signed ones of the same bits.
const EVENTS: &str = "
CREATE TABLE events (
  position INTEGER NOT NULL PRIMARY KEY,
  aggregate TEXT NOT NULL,
  id TEXT NOT NULL,
  version INTEGER,
  dedup BLOB,
  time_micros INTEGER NOT NULL,
  event_name TEXT,
  schema_version INTEGER,
  codec INTEGER,
  command_id BLOB,
  command_name TEXT,
  key TEXT,
  payload_hash INTEGER,
  outcome_kind INTEGER,
  outcome_version INTEGER,
  outcome_codec INTEGER,
  correlation_id TEXT,
  causation_id TEXT,
  outcome_body BLOB,
  payload BLOB
);
CREATE UNIQUE INDEX events_by_version ON events (aggregate, id, version) WHERE version IS NOT NULL;
CREATE UNIQUE INDEX events_by_dedup ON events (aggregate, id, dedup) WHERE dedup IS NOT NULL;
CREATE TABLE event_names (
  aggregate TEXT NOT NULL,
  event_name TEXT NOT NULL,
  PRIMARY KEY (aggregate, event_name)
) WITHOUT ROWID;
CREATE TABLE partitions (
  partition INTEGER NOT NULL PRIMARY KEY,
  epoch INTEGER NOT NULL
);
CREATE TABLE snapshots (
  aggregate TEXT NOT NULL,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  time_micros INTEGER NOT NULL,
  fingerprint INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  payload BLOB NOT NULL,
  PRIMARY KEY (aggregate, id, version)
);
";

/// By the last version, because who looks for a version takes the first block that ends at or behind it.
const ARCHIVE: &str = "
CREATE TABLE archive (
  aggregate TEXT NOT NULL,
  id TEXT NOT NULL,
  to_version INTEGER NOT NULL,
  from_version INTEGER NOT NULL,
  block BLOB NOT NULL,
  PRIMARY KEY (aggregate, id, to_version, from_version)
);
";

/// How many partitions there are, in one row; 16 where they were acquired before their number was kept.
const PARTITIONS: &str = "
CREATE TABLE partition_count (
  one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  count INTEGER NOT NULL
);
INSERT INTO partition_count (one, count) SELECT 1, 16 WHERE EXISTS (SELECT 1 FROM partitions);
";

/// Commands that were taken from a bus, and those that came to no outcome. The index of what is due has all that is
/// counted, so that neither question reads bodies.
const LETTERS: &str = "
CREATE TABLE inbox (
  topic TEXT NOT NULL,
  topic_partition INTEGER NOT NULL,
  first_offset INTEGER NOT NULL,
  digest INTEGER NOT NULL,
  last_offset INTEGER NOT NULL,
  due_micros INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  tries INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  slice_group INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  hold_aggregate TEXT,
  hold_id TEXT,
  body BLOB NOT NULL,
  PRIMARY KEY (topic, topic_partition, first_offset, digest)
);
CREATE INDEX inbox_by_due ON inbox (topic, topic_partition, due_micros, first_offset, digest, bytes, messages);
CREATE TABLE dead_letters (
  number INTEGER NOT NULL PRIMARY KEY,
  record_offset INTEGER NOT NULL,
  time_micros INTEGER NOT NULL,
  settled_micros INTEGER,
  tries INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  topic_partition INTEGER NOT NULL,
  slice INTEGER,
  standing INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  topic TEXT NOT NULL,
  aggregate TEXT,
  id TEXT,
  name TEXT,
  message_id BLOB,
  code TEXT NOT NULL,
  reason TEXT NOT NULL,
  body BLOB NOT NULL,
  original BLOB,
  UNIQUE (topic, topic_partition, record_offset)
);
CREATE INDEX dead_letters_by_aggregate ON dead_letters (aggregate, id, number);
CREATE INDEX dead_letters_by_code ON dead_letters (standing, code, number);
CREATE TABLE dead_letter_numbers (
  id INTEGER NOT NULL PRIMARY KEY,
  last_number INTEGER NOT NULL
);
INSERT INTO dead_letter_numbers VALUES (1, 0);
";

struct Statements {
    name: &'static str,
    sql: &'static str,
}

impl MigrationName for Statements {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Statements {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(self.sql).await.map(drop)
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Brings the schema up to this program's, and refuses a newer one.
pub(super) async fn migrate(db: &DatabaseConnection, path: &Path) -> Result<(), OpenError> {
    refuse_newer(db, path).await?;
    Migrator::up(db, None).await.map_err(|e| OpenError::database(path, &e))
}

/// Refuses a schema that is not this program's, without writing.
pub(super) async fn check(db: &DatabaseConnection, path: &Path) -> Result<(), OpenError> {
    refuse_newer(db, path).await?;
    let pending = Migrator::get_pending_migrations_read_only(db).await.map_err(|e| OpenError::database(path, &e))?;
    match pending.first() {
        Some(first) => Err(OpenError::Older { path: path.to_owned(), missing: first.name().to_owned() }),
        None => Ok(()),
    }
}

async fn refuse_newer(db: &DatabaseConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |e: DbErr| OpenError::database(path, &e);
    let manager = SchemaManager::new(db);
    if !manager.has_table("schema_migrations").await.map_err(failed)? {
        return Ok(());
    }
    let applied = Migrator::get_migration_models(db).await.map_err(failed)?;
    let known: Vec<_> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    match applied.into_iter().find(|model| !known.contains(&model.version)) {
        Some(newer) => Err(OpenError::Newer {
            path: path.to_owned(),
            found: newer.version,
            known: known.last().cloned().unwrap_or_default(),
        }),
        None => Ok(()),
    }
}
