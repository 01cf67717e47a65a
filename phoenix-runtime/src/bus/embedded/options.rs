//! What can be chosen about an embedded bus.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;
use crate::event_store::sqlite::Synchronous;

/// Where an embedded bus is, what it holds, and how it trades durability and memory for speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct EmbeddedOptions {
    /// The file. Beside it are `-wal` and `-shm`, which belong to it, and `.lock`, which its owner holds.
    #[serde(skip)]
    pub path: PathBuf,
    /// When the disk is waited for. Anything but `full` may lose acknowledged records when the power fails.
    pub synchronous: Synchronous,
    /// The most bytes of a record, key and headers included; at most 256 MiB.
    #[serde(with = "units::size")]
    pub max_record_bytes: usize,
    /// How much a partition holds, 64 bytes a record included. A full one refuses what comes until its groups, or
    /// without any whoever follows it, have read on: nothing is dropped for want of room. Topics of replies and of copies of
    /// dead letters give up their oldest instead.
    #[serde(with = "units::size")]
    pub partition_bytes: usize,
    /// How long a record stays that every group has read. What is not read stays, however old it is.
    #[serde(with = "units::duration")]
    pub retention: Duration,
    /// How much stays of a partition that every group has read, however new it is; at most half of `partition_bytes`.
    #[serde(with = "units::size")]
    pub retention_bytes: usize,
    /// How long a consumer has for giving back a partition that shall go to another one.
    #[serde(with = "units::duration")]
    pub release_timeout: Duration,
    /// How much may wait to be written before producers have to wait.
    #[serde(with = "units::size")]
    pub waiting_bytes: usize,
    /// How many records are made durable by one commit at most; those of one call are never divided.
    pub records_a_commit: usize,
    /// After how many pages of the write-ahead log it is moved into the database.
    pub wal_autocheckpoint_pages: u32,
    /// How long another process may hold the database before a call fails.
    #[serde(with = "units::duration")]
    pub busy_timeout: Duration,
    /// How much of the database the writer keeps in memory.
    #[serde(with = "units::size")]
    pub cache: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::from("phoenix-bus.db"),
            synchronous: Synchronous::Full,
            max_record_bytes: 1 << 20,
            partition_bytes: 1 << 30,
            retention: Duration::from_hours(1),
            retention_bytes: 64 << 20,
            release_timeout: Duration::from_secs(30),
            waiting_bytes: 64 << 20,
            records_a_commit: 10_000,
            wal_autocheckpoint_pages: 10_000,
            busy_timeout: Duration::from_secs(5),
            cache: 16 << 20,
        }
    }
}

impl EmbeddedOptions {
    /// The defaults for this file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Brought into the bounds that their descriptions name.
    pub(super) fn bounded(mut self) -> Self {
        self.max_record_bytes = self.max_record_bytes.min(256 << 20);
        self.retention_bytes = self.retention_bytes.min(self.partition_bytes / 2);
        self.records_a_commit = self.records_a_commit.max(1);
        self
    }
}
