//! The schema on MySQL and MariaDB.
//!
//! Their DDL commits by itself, so a migration may end in its middle; each of its statements may run again.

use sea_orm_migration::prelude::{DynIden, IntoIden as _};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

use super::super::schema::{MIGRATIONS, Statements};

/// `position` is slice * 2^44 + sequence, and a stream's number is the position of its first record. Rows are in the
/// order of their position, so that what one slice appends is beside what it appended last; the order of streams and
/// versions costs 1.5 times as much. `version` is null for the outcome of a command without events, `dedup` for all
/// but a command's first record; nulls are never equal in a unique index. Unsigned numbers are stored as the signed
/// ones of the same bits.
macro_rules! events {
    ($collation:literal) => {
        concat!(
            "CREATE TABLE IF NOT EXISTS streams (
  stream bigint NOT NULL PRIMARY KEY,
  aggregate varchar(255) NOT NULL,
  id varchar(255) NOT NULL,
  UNIQUE KEY streams_by_id (aggregate, id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE ",
            $collation,
            ";
CREATE TABLE IF NOT EXISTS events (
  position bigint NOT NULL PRIMARY KEY,
  stream bigint NOT NULL,
  version bigint,
  dedup_short bigint,
  time_micros bigint NOT NULL,
  payload_hash bigint,
  outcome_version bigint,
  schema_version int,
  codec smallint,
  outcome_kind smallint,
  outcome_codec smallint,
  dedup binary(16),
  command_id binary(16),
  event_name varchar(255),
  command_name varchar(255),
  `key` longtext,
  correlation_id longtext,
  causation_id longtext,
  outcome_body longblob,
  payload longblob,
  UNIQUE KEY events_by_version (stream, version),
  UNIQUE KEY events_by_dedup (stream, dedup_short)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE ",
            $collation,
            ";
CREATE TABLE IF NOT EXISTS event_names (
  aggregate varchar(255) NOT NULL,
  event_name varchar(255) NOT NULL,
  PRIMARY KEY (aggregate, event_name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE ",
            $collation,
            ";
CREATE TABLE IF NOT EXISTS partitions (
  `partition` int NOT NULL PRIMARY KEY,
  epoch bigint NOT NULL,
  moves bigint NOT NULL
) ENGINE=InnoDB;
INSERT INTO partitions (`partition`, epoch, moves)
SELECT a.n + 4 * b.n + 16 * c.n + 64 * d.n + 256 * e.n, 0, 0
FROM (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS a
CROSS JOIN (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS b
CROSS JOIN (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS c
CROSS JOIN (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS d
CROSS JOIN (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS e
WHERE TRUE
ON DUPLICATE KEY UPDATE epoch = partitions.epoch;
CREATE TABLE IF NOT EXISTS away_slices (
  slice int NOT NULL PRIMARY KEY
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS snapshots (
  stream bigint NOT NULL,
  version bigint NOT NULL,
  time_micros bigint NOT NULL,
  fingerprint bigint NOT NULL,
  codec smallint NOT NULL,
  payload longblob NOT NULL,
  PRIMARY KEY (stream, version)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
CREATE TABLE IF NOT EXISTS archive (
  stream bigint NOT NULL,
  to_version bigint NOT NULL,
  from_version bigint NOT NULL,
  block longblob NOT NULL,
  PRIMARY KEY (stream, to_version, from_version)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC"
        )
    };
}

/// Where several databases share the slices: what this one is to each, and small texts. `away_slices` repeats which of
/// them take no append.
macro_rules! sources {
    ($collation:literal) => {
        concat!(
            "CREATE TABLE IF NOT EXISTS slices (
  slice int NOT NULL PRIMARY KEY,
  hold smallint NOT NULL,
  since bigint NOT NULL
) ENGINE=InnoDB;
INSERT INTO slices (slice, hold, since)
SELECT p.`partition`, 0, 0 FROM partitions AS p WHERE TRUE
ON DUPLICATE KEY UPDATE hold = slices.hold;
CREATE TABLE IF NOT EXISTS documents (
  name varchar(255) NOT NULL PRIMARY KEY,
  version bigint NOT NULL,
  body longtext NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE ",
            $collation,
            ";
INSERT INTO documents (name, version, body) VALUES ('tenures', 0, '')
ON DUPLICATE KEY UPDATE version = documents.version"
        )
    };
}

/// How many partitions there are is a document; 16 where they were acquired before their number was kept. Programs that
/// do not know of it must not open this schema.
const PARTITIONS: &str = "
INSERT INTO documents (name, version, body)
SELECT 'partitions', 1, '16' FROM partitions AS p WHERE p.`partition` = 0
AND EXISTS (SELECT 1 FROM partitions AS q WHERE q.epoch > 0)
ON DUPLICATE KEY UPDATE version = documents.version
";

/// Commands that were taken from a bus, and those that came to no outcome. The index of what is due has all that is
/// counted, so that neither question reads bodies.
macro_rules! letters {
    ($collation:literal) => {
        concat!(
            "CREATE TABLE IF NOT EXISTS inbox (
  first_offset bigint NOT NULL,
  digest bigint NOT NULL,
  last_offset bigint NOT NULL,
  due_micros bigint NOT NULL,
  messages bigint NOT NULL,
  tries bigint NOT NULL,
  bytes int NOT NULL,
  topic_partition int NOT NULL,
  slice_group int NOT NULL,
  codec smallint NOT NULL,
  topic varchar(255) NOT NULL,
  hold_aggregate varchar(255),
  hold_id varchar(255),
  body longblob NOT NULL,
  PRIMARY KEY (topic, topic_partition, first_offset, digest),
  KEY inbox_by_due (topic, topic_partition, due_micros, first_offset, digest, bytes, messages)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE ",
            $collation,
            ";
CREATE TABLE IF NOT EXISTS dead_letters (
  number bigint NOT NULL PRIMARY KEY,
  record_offset bigint NOT NULL,
  time_micros bigint NOT NULL,
  settled_micros bigint,
  tries bigint NOT NULL,
  bytes int NOT NULL,
  topic_partition int NOT NULL,
  slice int,
  standing smallint NOT NULL,
  codec smallint NOT NULL,
  topic varchar(255) NOT NULL,
  aggregate varchar(255),
  id varchar(255),
  name varchar(255),
  message_id binary(16),
  code varchar(255) NOT NULL,
  reason longtext NOT NULL,
  body longblob NOT NULL,
  original longblob,
  UNIQUE KEY dead_letters_by_offset (topic, topic_partition, record_offset),
  KEY dead_letters_by_aggregate (aggregate, id, number),
  KEY dead_letters_by_code (standing, code, number)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE ",
            $collation,
            ";
CREATE TABLE IF NOT EXISTS dead_letter_numbers (
  id int NOT NULL PRIMARY KEY,
  last_number bigint NOT NULL
) ENGINE=InnoDB;
INSERT INTO dead_letter_numbers (id, last_number) VALUES (1, 0)
ON DUPLICATE KEY UPDATE last_number = dead_letter_numbers.last_number"
        )
    };
}

/// Rows that are changed to make durable what was seen; see `flush`.
const FLUSHES: &str = "
CREATE TABLE IF NOT EXISTS flushes (
  connection int NOT NULL PRIMARY KEY,
  flushed bigint NOT NULL
) ENGINE=InnoDB;
INSERT INTO flushes (connection, flushed)
SELECT p.`partition`, 0 FROM partitions AS p WHERE p.`partition` < 64
ON DUPLICATE KEY UPDATE flushed = flushes.flushed
";

/// The collation that compares bytes, trailing blanks included.
pub(super) const MARIADB_COLLATION: &str = "utf8mb4_nopad_bin";
/// The same on MySQL.
pub(super) const MYSQL_COLLATION: &str = "utf8mb4_0900_bin";

/// The schema on MariaDB.
pub(super) struct MariaDb;

/// The schema on MySQL, which differs by the name of the collation.
pub(super) struct MySql;

impl MigratorTrait for MariaDb {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(Statements { name: "0001_events", sql: events!("utf8mb4_nopad_bin") }),
            Box::new(Statements { name: "0002_sources", sql: sources!("utf8mb4_nopad_bin") }),
            Box::new(Statements { name: "0003_partitions", sql: PARTITIONS }),
            Box::new(Statements { name: "0004_letters", sql: letters!("utf8mb4_nopad_bin") }),
            Box::new(Statements { name: "0005_flushes", sql: FLUSHES }),
        ]
    }

    fn migration_table_name() -> DynIden {
        MIGRATIONS.into_iden()
    }
}

impl MigratorTrait for MySql {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(Statements { name: "0001_events", sql: events!("utf8mb4_0900_bin") }),
            Box::new(Statements { name: "0002_sources", sql: sources!("utf8mb4_0900_bin") }),
            Box::new(Statements { name: "0003_partitions", sql: PARTITIONS }),
            Box::new(Statements { name: "0004_letters", sql: letters!("utf8mb4_0900_bin") }),
            Box::new(Statements { name: "0005_flushes", sql: FLUSHES }),
        ]
    }

    fn migration_table_name() -> DynIden {
        MIGRATIONS.into_iden()
    }
}
