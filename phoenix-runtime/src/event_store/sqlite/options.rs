//! What can be chosen about a `SQLite` store.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a `SQLite` store is, and how it trades durability and memory for speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SqliteOptions {
    /// The database file. Beside it are `-wal` and `-shm`, which belong to it, and `.lock`, which its owner holds.
    pub path: PathBuf,
    /// When the disk is waited for. Anything but `full` may lose acknowledged events when the power fails.
    pub synchronous: Synchronous,
    /// After how many pages of the write-ahead log it is moved into the database. Fewer keep the log small, more write
    /// a page less often.
    pub wal_autocheckpoint_pages: u32,
    /// How long another process may hold the database, in milliseconds, before an append or a read fails.
    pub busy_timeout_millis: u32,
    /// How many reads run at once.
    pub read_connections: u32,
    /// How many records are made durable by one commit at most; a single batch is never divided.
    pub records_a_commit: usize,
    /// How much of the database the writer keeps in memory, in KiB. Appends slow down when the indexes outgrow it.
    pub cache_kib: u32,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::from("phoenix.db"),
            synchronous: Synchronous::Full,
            wal_autocheckpoint_pages: 10_000,
            busy_timeout_millis: 5_000,
            read_connections: 4,
            records_a_commit: 10_000,
            cache_kib: 64 * 1024,
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
