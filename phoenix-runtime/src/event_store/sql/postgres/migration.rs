//! The schema on PostgreSQL.

use sea_orm_migration::prelude::{DynIden, IntoIden as _};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

use super::super::schema::{MIGRATIONS, Statements};

pub(super) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(Statements { name: "0001_events", sql: EVENTS }),
            Box::new(Statements { name: "0002_sources", sql: SOURCES }),
            Box::new(Statements { name: "0003_partitions", sql: PARTITIONS }),
            Box::new(Statements { name: "0004_letters", sql: LETTERS }),
        ]
    }

    fn migration_table_name() -> DynIden {
        MIGRATIONS.into_iden()
    }
}

/// `position` is slice * 2^44 + sequence, and a stream's number is the position of its first record. `version` is null
/// for the outcome of a command without events, `dedup` for all but a command's first record; the indexes leave these
/// rows out. Unsigned numbers are stored as the signed ones of the same bits. Fixed columns come first, so that none
/// is padded.
const EVENTS: &str = r#"
CREATE TABLE streams (
  stream bigint NOT NULL PRIMARY KEY,
  aggregate text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  UNIQUE (aggregate, id)
);
CREATE TABLE events (
  position bigint NOT NULL PRIMARY KEY,
  stream bigint NOT NULL,
  version bigint,
  dedup_short bigint,
  time_micros bigint NOT NULL,
  payload_hash bigint,
  outcome_version bigint,
  schema_version integer,
  codec smallint,
  outcome_kind smallint,
  outcome_codec smallint,
  dedup bytea,
  command_id bytea,
  event_name text COLLATE "C",
  command_name text COLLATE "C",
  key text COLLATE "C",
  correlation_id text COLLATE "C",
  causation_id text COLLATE "C",
  outcome_body bytea,
  payload bytea
);
CREATE UNIQUE INDEX events_by_version ON events (stream, version) WHERE version IS NOT NULL;
CREATE UNIQUE INDEX events_by_dedup ON events (stream, dedup_short) WHERE dedup_short IS NOT NULL;
CREATE TABLE event_names (
  aggregate text COLLATE "C" NOT NULL,
  event_name text COLLATE "C" NOT NULL,
  PRIMARY KEY (aggregate, event_name)
);
CREATE TABLE partitions (
  partition integer NOT NULL PRIMARY KEY,
  epoch bigint NOT NULL,
  moves bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO partitions SELECT n, 0, 0 FROM generate_series(0, 1023) AS n;
CREATE TABLE away_slices (
  slice integer NOT NULL PRIMARY KEY
);
CREATE TABLE snapshots (
  stream bigint NOT NULL,
  version bigint NOT NULL,
  time_micros bigint NOT NULL,
  fingerprint bigint NOT NULL,
  codec smallint NOT NULL,
  payload bytea NOT NULL,
  PRIMARY KEY (stream, version)
);
CREATE TABLE archive (
  stream bigint NOT NULL,
  to_version bigint NOT NULL,
  from_version bigint NOT NULL,
  block bytea NOT NULL,
  PRIMARY KEY (stream, to_version, from_version)
);
"#;

/// Where several databases share the slices: what this one is to each, and small texts. `away_slices` repeats which of
/// them take no append.
const SOURCES: &str = r#"
CREATE TABLE slices (
  slice integer NOT NULL PRIMARY KEY,
  hold smallint NOT NULL,
  since bigint NOT NULL
);
INSERT INTO slices SELECT n, 0, 0 FROM generate_series(0, 1023) AS n;
CREATE TABLE documents (
  name text COLLATE "C" NOT NULL PRIMARY KEY,
  version bigint NOT NULL,
  body text NOT NULL
);
INSERT INTO documents VALUES ('tenures', 0, '');
"#;

/// How many partitions there are is a document; 16 where they were acquired before their number was kept. Programs that
/// do not know of it must not open this schema.
const PARTITIONS: &str = "
INSERT INTO documents SELECT 'partitions', 1, '16' WHERE EXISTS (SELECT 1 FROM partitions WHERE epoch > 0)
";

/// Commands that were taken from a bus, and those that came to no outcome. The index of what is due has all that is
/// counted, so that neither question reads bodies.
const LETTERS: &str = r#"
CREATE TABLE inbox (
  first_offset bigint NOT NULL,
  digest bigint NOT NULL,
  last_offset bigint NOT NULL,
  due_micros bigint NOT NULL,
  messages bigint NOT NULL,
  tries bigint NOT NULL,
  bytes integer NOT NULL,
  topic_partition integer NOT NULL,
  slice_group integer NOT NULL,
  codec smallint NOT NULL,
  topic text COLLATE "C" NOT NULL,
  hold_aggregate text COLLATE "C",
  hold_id text COLLATE "C",
  body bytea NOT NULL,
  PRIMARY KEY (topic, topic_partition, first_offset, digest)
);
CREATE INDEX inbox_by_due ON inbox (topic, topic_partition, due_micros, first_offset, digest, bytes, messages);
CREATE TABLE dead_letters (
  number bigint NOT NULL PRIMARY KEY,
  record_offset bigint NOT NULL,
  time_micros bigint NOT NULL,
  settled_micros bigint,
  tries bigint NOT NULL,
  bytes integer NOT NULL,
  topic_partition integer NOT NULL,
  slice integer,
  standing smallint NOT NULL,
  codec smallint NOT NULL,
  topic text COLLATE "C" NOT NULL,
  aggregate text COLLATE "C",
  id text COLLATE "C",
  name text COLLATE "C",
  message_id bytea,
  code text COLLATE "C" NOT NULL,
  reason text NOT NULL,
  body bytea NOT NULL,
  original bytea,
  UNIQUE (topic, topic_partition, record_offset)
);
CREATE INDEX dead_letters_by_aggregate ON dead_letters (aggregate, id, number);
CREATE INDEX dead_letters_by_code ON dead_letters (standing, code, number);
CREATE TABLE dead_letter_numbers (
  id integer NOT NULL PRIMARY KEY,
  last_number bigint NOT NULL
);
INSERT INTO dead_letter_numbers VALUES (1, 0);
"#;
