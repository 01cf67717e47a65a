//! What is kept beside the events for those who take commands from a bus: commands that were taken and must come to an
//! outcome, whatever the bus forgets, and commands that came to none.
//!
//! - What a call has changed is durable when it returns, whole or not at all, and the same call again changes nothing.
//!   Only [`Letters::note_try`] counts each time: a try too many is safe, and one too few is not.
//! - A row of the inbox holds records of one partition of a topic, in its own encoding. Rows with the same first offset
//!   and other contents are other rows: a batch that was taken again may be cut in another way, and no record is lost by
//!   that. So whoever encodes a row anew writes the same bytes; and a record may be there twice, as on a bus.
//! - A dead letter is there once for each (topic, partition, offset), in the order in which they were buried, and stays
//!   until it is forgotten: numbers grow, are never used again, and none appears below one that was seen.
//! - No answer holds more than [`PAGE_BYTES`], and one row more.
//!
//! Nobody is fenced here. A former owner that comes late may put a row that was finished, which is a repeat then; before
//! it buries a command it has to ask whether its epochs still hold.
//!
//! # Layout
//! - `change`: what is changed, as one value, and what is refused
//! - `book`: the rows in memory
//! - `table`, `read`, `write`: the rows in a database

mod book;
mod change;
mod read;
mod table;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use self::book::{Body, Book, Grave};
pub(crate) use self::change::{Buried, Change, Sealed};
pub(crate) use self::read::{Tables, backlog, dead, dead_counts, dead_letter, due};
pub(crate) use self::write::write;

use crate::domain::id::{MessageId, Slice};
use crate::domain::ports::BoxFuture;
use crate::event_store::port::{PAGE_BYTES, Partition, StoreError, StreamId};

/// The largest body of a row or a dead letter, whatever the store: a bus for an inbox takes smaller records.
pub const MOST_BODY_BYTES: usize = 4 << 20;

/// How long the name of a topic, an aggregate, a command or a code is at most, in bytes.
pub const MOST_NAME_BYTES: usize = 255;

/// How much of a reason is kept, in bytes.
pub const MOST_REASON_BYTES: usize = 4096;

/// What a row counts besides its own bytes.
pub(crate) const ROW_BYTES: usize = 256;

/// More rows than this are in no answer.
pub(crate) const MOST_ROWS: usize = PAGE_BYTES / ROW_BYTES;

/// Names a row of the inbox. The order is that of topics, partitions and offsets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InboxKey {
    /// The topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u16,
    /// The offset of the row's first record.
    pub first: u64,
    /// A hash of the row's contents, of 63 bits.
    pub digest: u64,
}

impl fmt::Display for InboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at {} ({:016x})", self.topic, self.partition, self.first, self.digest)
    }
}

/// Commands that were taken from one partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxRow {
    /// The topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u16,
    /// The offset of the first record.
    pub first: u64,
    /// The offset of the last record. Those in between need not all be in this row.
    pub last: u64,
    /// How many records it holds.
    pub messages: u32,
    /// The group of slices that its commands are of.
    pub group: Partition,
    /// How often it was tried.
    pub tries: u32,
    /// When it is to be tried next, in microseconds since the Unix epoch.
    pub due_micros: i64,
    /// The aggregate that the row is spilled for; `None` for one that holds records as they came.
    pub hold: Option<StreamId>,
    /// The encoding of `body`.
    pub codec: u8,
    /// The records.
    pub body: Vec<u8>,
}

impl InboxRow {
    /// Its name. It depends on contents, not on tries and times.
    #[must_use]
    pub fn key(&self) -> InboxKey {
        InboxKey {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            first: self.first,
            digest: digest(self.codec, &self.body),
        }
    }

    /// What it counts in an answer, and in a [`Backlog`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        ROW_BYTES + self.body.len()
    }
}

/// 63 bits, so that its order is the same where numbers have a sign.
fn digest(codec: u8, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, u64::from(codec)) >> 1
}

/// A question about rows of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Of which topic.
    pub topic: Arc<str>,
    /// Of which partitions: those that have room for more.
    pub partitions: Vec<u16>,
    /// Those that are due until then, in microseconds since the Unix epoch; `i64::MAX` for all.
    pub until_micros: i64,
    /// Only rows behind this one.
    pub after: Option<InboxKey>,
    /// How many rows at most.
    pub limit: usize,
    /// The answer ends with the row that reaches so many bytes; at most [`PAGE_BYTES`].
    pub bytes: usize,
}

/// What waits in the inbox for one partition of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many rows.
    pub rows: u64,
    /// How many records are in them.
    pub messages: u64,
    /// What they count.
    pub bytes: u64,
    /// When the first of them is due, in microseconds since the Unix epoch.
    pub due_micros: Option<i64>,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It waits for somebody to look at it.
    #[default]
    Waiting,
    /// It was sent again.
    Replayed,
    /// Somebody decided that it is not needed.
    Discarded,
}

impl Standing {
    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Waiting => 0,
            Self::Replayed => 1,
            Self::Discarded => 2,
        }
    }

    pub(crate) const fn from_number(number: i16) -> Option<Self> {
        match number {
            0 => Some(Self::Waiting),
            1 => Some(Self::Replayed),
            2 => Some(Self::Discarded),
            _ => None,
        }
    }
}

/// A record that came to no outcome.
///
/// Names come from records that perhaps nobody could read, so they are kept as far as they fit: what is too long is cut,
/// and NUL characters become question marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The store's own number, given when it is buried: whatever stands here then does not count.
    pub number: u64,
    /// The topic that it came from.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u16,
    /// Its offset.
    pub offset: u64,
    /// The wire name of the aggregate that it is addressed to, as far as it could be read.
    pub aggregate: Option<Arc<str>>,
    /// Which one.
    pub id: Option<Arc<str>>,
    /// The command's wire name.
    pub name: Option<Arc<str>>,
    /// The message's own id.
    pub message_id: Option<MessageId>,
    /// The slice of the aggregate.
    pub slice: Option<Slice>,
    /// Why, in a word that stays the same.
    pub code: Arc<str>,
    /// Why, for people. The first [`MOST_REASON_BYTES`] are kept.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was given up, in microseconds since the Unix epoch.
    pub time_micros: i64,
    /// What became of it. It is [`Standing::Waiting`] when it is buried.
    pub standing: Standing,
    /// Since when it is no longer waiting, in microseconds since the Unix epoch.
    pub settled_micros: Option<i64>,
    /// The encoding of `body` and `original`.
    pub codec: u8,
    /// The record, as it would be sent again.
    pub body: Vec<u8>,
    /// The record as it came, if it was amended.
    pub original: Option<Vec<u8>>,
}

impl DeadLetter {
    /// What it counts in an answer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        ROW_BYTES + self.reason.len() + self.body.len() + self.original.as_ref().map_or(0, Vec::len)
    }
}

/// Which dead letters; everything that is named must be equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Of this topic.
    pub topic: Option<Arc<str>>,
    /// Addressed to aggregates of this type.
    pub aggregate: Option<Arc<str>>,
    /// Addressed to the aggregate of this id.
    pub id: Option<Arc<str>>,
    /// With this code.
    pub code: Option<Arc<str>>,
    /// That became this.
    pub standing: Option<Standing>,
}

/// What can be asked of the inbox and the dead letters of an event store, also while a node owns it.
///
/// # Cancel safety
/// Dropping a future has no effect.
pub trait ReadLetters: Send + Sync + fmt::Debug {
    /// Rows that are due, in the order of their keys: by partition, and in each by offset. An answer without any means
    /// that there are none.
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>>;

    /// What waits in each partition of a topic, or of all topics; partitions without rows are left out. It costs a look
    /// at the index of each row: ask at the start, and count on from there.
    fn backlog(&self, topic: Option<Arc<str>>)
    -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>>;

    /// At most `limit` dead letters behind a number, in the order of their numbers.
    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>>;

    /// One of them.
    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>>;

    /// How many dead letters wait, by their codes.
    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>>;
}

/// The inbox and the dead letters of an event store: see the module's promises.
///
/// # Cancel safety
/// Dropping the future of what changes something leaves open whether it is done; ask for the same again.
pub trait Letters: ReadLetters {
    /// Keeps rows. Those that are there already stay as they are.
    ///
    /// # Errors
    /// `Refused` names a row that no store takes, of which the body is larger than [`MOST_BODY_BYTES`] for example.
    fn put(&self, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Counts a try of each of these rows, and says when they are due again: asked before the try, so that one which ends
    /// the process is counted. Rows that are not there are passed over.
    fn note_try(&self, keys: Vec<InboxKey>, due_micros: i64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Puts rows in the place of one: its records one by one, for example. False, and nothing changed, where it is not
    /// there.
    ///
    /// # Errors
    /// As [`Letters::put`].
    fn replace(&self, key: InboxKey, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes rows. Those that are not there are passed over.
    fn finish(&self, keys: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps dead letters in their order, and removes rows of the inbox with them. A letter that was buried before stays
    /// as it is.
    ///
    /// # Errors
    /// `Refused` names a letter that no store takes.
    fn bury(&self, letters: Vec<DeadLetter>, finished: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Puts another body in the place of a waiting letter's; the first one is kept. False where none waits under this
    /// number.
    ///
    /// # Errors
    /// `Refused` where it is larger than [`MOST_BODY_BYTES`].
    fn amend(&self, number: u64, body: Vec<u8>) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Notes what became of letters, and when, or that they wait again. Says for how many of them that is new.
    fn settle(&self, numbers: Vec<u64>, standing: Standing, time_micros: i64)
    -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Removes letters that do not wait any more since before this time, and says how many they were. Their offsets could
    /// be buried again from then on.
    fn forget(&self, settled_before_micros: i64) -> BoxFuture<'_, Result<u64, StoreError>>;
}
