//! What can be chosen about a log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// Where a log is, and how it trades memory and disk for speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct LogStoreOptions {
    /// The folder. Beside it is a file of the same name with `.lock`, which its owner holds.
    #[serde(skip)]
    pub path: PathBuf,
    /// How large a segment is. The disk's room for it is reserved before it is written to. A batch that does not fit
    /// gets a larger one. At most 2 GiB.
    #[serde(with = "units::size")]
    pub segment_size: usize,
    /// How much memory the newest part of the index takes before it is sorted into a file. More makes a start after a
    /// crash slower, because this part is read from the log again.
    #[serde(with = "units::size")]
    pub index_memory: usize,
    /// How many streams the writer remembers the ends of. Another one costs a read of the log when it is appended to.
    pub streams_in_memory: usize,
    /// How many records are made durable by one sync at most; a single batch is never divided.
    pub records_a_commit: usize,
    /// How many percent of a segment must be bytes that moved to an archive, or were those of snapshots that are gone,
    /// before it is written anew without them. Above 100 none ever is.
    pub compact_above: u8,
    /// How much of the log is read a second to write segments anew.
    #[serde(with = "units::size")]
    pub compact_rate: usize,
}

impl Default for LogStoreOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::from("phoenix-log"),
            segment_size: 64 << 20,
            index_memory: 32 << 20,
            streams_in_memory: 200_000,
            records_a_commit: 10_000,
            compact_above: 25,
            compact_rate: 32 << 20,
        }
    }
}

/// No address in a segment reaches 4 GiB, not even behind the largest batch.
pub(super) const LARGEST_SEGMENT: usize = 2 << 30;

impl LogStoreOptions {
    /// The defaults for this folder.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// How large a segment is made.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_size.clamp(4096, LARGEST_SEGMENT) as u64
    }

    /// Values that make no sense: the key and what is wrong with it.
    pub(crate) fn contradictions(&self) -> Vec<(&'static str, String)> {
        if self.segment_size <= LARGEST_SEGMENT {
            return Vec::new();
        }
        let most = units::format_size(LARGEST_SEGMENT);
        vec![("log_store.segment_size", format!("{} is larger than {most}", units::format_size(self.segment_size)))]
    }
}
