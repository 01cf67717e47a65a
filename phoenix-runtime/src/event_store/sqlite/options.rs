//! What can be chosen about a `SQLite` store.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// Where a `SQLite` store is, and how it trades durability and memory for speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct SqliteOptions {
    /// The database file. Beside it are `-wal` and `-shm`, which belong to it, and `.lock`, which its owner holds.
    #[serde(skip)]
    pub path: PathBuf,
    /// When the disk is waited for. Anything but `full` may lose acknowledged events when the power fails.
    pub synchronous: Synchronous,
    /// After how many pages of the write-ahead log it is moved into the database. Fewer keep the log small, more write
    /// a page less often.
    pub wal_autocheckpoint_pages: u32,
    /// How long another process may hold the database before an append or a read fails.
    #[serde(with = "units::duration")]
    pub busy_timeout: Duration,
    /// How many reads run at once.
    pub read_connections: u32,
    /// How many records are made durable by one commit at most; a single batch is never divided.
    pub records_a_commit: usize,
    /// How much of the database the writer keeps in memory. Appends slow down when the indexes outgrow it.
    #[serde(with = "units::size")]
    pub cache: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::from("phoenix.db"),
            synchronous: Synchronous::Full,
            wal_autocheckpoint_pages: 10_000,
            busy_timeout: Duration::from_secs(5),
            read_connections: 4,
            records_a_commit: 10_000,
            cache: 64 << 20,
        }
    }
}

impl SqliteOptions {
    /// The defaults for this file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

/// When an append waits for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Synchronous {
    /// Before every acknowledgement: what was acknowledged survives the power.
    #[default]
    Full,
    /// Only when the log is moved into the database: survives the process, not always the power.
    Normal,
    /// Never: survives the process; a power failure may damage the file.
    Off,
}

impl fmt::Display for Synchronous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Normal => "normal",
            Self::Off => "off",
        })
    }
}
