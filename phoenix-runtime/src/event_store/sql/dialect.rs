//! What differs between databases: the statements that must be fast, and what their errors mean.

use std::fmt;
use std::future::Future;

use super::database::Database;
use super::known::Stream;
use super::page::Page;
use super::row::Cells;
use crate::domain::id::{Dedup, Slice};
use crate::event_store::letters::{InboxKey, Sealed};
use crate::event_store::port::{Epoch, Load, Partition, Record, StoreError, StreamId};

/// Everything that one append writes, if the fence holds.
#[derive(Debug, Default)]
pub(super) struct Insert<'a> {
    /// In ascending order, each once.
    pub(super) fence: Vec<Held>,
    /// Names of events that are perhaps not in their table: (aggregate, event).
    pub(super) names: Vec<(&'a str, &'a str)>,
    /// Streams that are new, with their numbers.
    pub(super) streams: Vec<(i64, &'a StreamId)>,
    /// The rows, in any order.
    pub(super) rows: Vec<Row<'a>>,
    /// [`Dialect::connections`] before anything was learned that this rests on.
    pub(super) connections: u64,
}

impl Insert<'_> {
    /// The row with the most bytes: the one to blame where the database says that something is too large, and not what.
    pub(super) fn largest(&self) -> usize {
        let size = |record: &Record| {
            let command = record.command.as_deref();
            let key = command.and_then(|command| command.key.as_ref()).map_or(0, String::len);
            let event = record.event.as_ref().map_or(0, |event| event.payload.len());
            event + key + command.map_or(0, |command| command.outcome.body.len())
        };
        let sizes = self.rows.iter().map(|row| size(row.record)).enumerate();
        sizes.max_by_key(|(_, size)| *size).map_or(0, |(index, _)| index)
    }
}

/// A row of the table of events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) position: i64,
    pub(super) stream: i64,
    pub(super) version: Option<i64>,
    /// By which the stream is remembered; of no use where it is not.
    pub(super) hash: u64,
    /// The record's place in its batch.
    pub(super) index: usize,
    pub(super) record: &'a Record,
}

/// A partition as it is in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) partition: Partition,
    pub(super) epoch: Epoch,
    pub(super) moves: i64,
}

/// What became of an append that the database answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is durable.
    Done,
    /// An epoch, or the number of moves, is another one. Nothing is stored.
    NotHeld,
    /// A connection has been made since, perhaps to another server, which may know less. Nothing was sent.
    OtherServer,
}

/// Why an append was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// A unique index has one of the rows already. Nothing is stored.
    Taken,
    /// Anything else.
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A database.
///
/// Whatever is asked in bulk is one statement, and its answers carry the number of the question, from 0.
pub(super) trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// A row of a result.
    type Row: Cells + Send + Sync;

    /// The database with its version, and how durable it is, for logs.
    fn name(&self) -> String;

    /// Whether what was acknowledged survives the power of its machine.
    fn is_durable(&self) -> bool;

    /// Which database, without a password, for errors.
    fn place(&self) -> &str;

    /// For what sea-orm asks.
    fn database(&self) -> &Database;

    /// What an error of [`Dialect::database`] means, of a statement that only reads, or whose transaction is not committed.
    fn failed(&self, error: &sea_orm::DbErr) -> StoreError;

    /// What an error of a commit means, or of a statement that commits by itself: perhaps it is done.
    fn perhaps_done(&self, error: &sea_orm::DbErr) -> StoreError;

    /// How many connections have been made so far, but for those of [`Dialect::database`].
    fn connections(&self) -> u64;

    /// Raises the epochs of partitions, durably, once all open appends under the old ones have ended.
    fn raise(&self, partitions: &[Partition]) -> impl Future<Output = Result<Vec<Held>, StoreError>> + Send;

    /// Inserts everything, durably, if the fence holds until then: whoever raises an epoch meanwhile waits, or this
    /// one is not done. Sends nothing if a connection has been made meanwhile.
    fn insert(&self, insert: &Insert<'_>) -> impl Future<Output = Result<Inserted, Failure>> + Send;

    /// Makes durable what anybody can see by now: there are databases where a commit is seen before it is durable.
    fn flush(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// These partitions as they are now.
    fn held(&self, partitions: &[Partition]) -> impl Future<Output = Result<Vec<Held>, StoreError>> + Send;

    /// The streams that have a record, with their last version.
    fn streams(&self, streams: &[&StreamId]) -> impl Future<Output = Result<Vec<(usize, Stream)>, StoreError>> + Send;

    /// The stored keys with these streams and short hashes.
    fn keys(&self, keys: &[(i64, i64)]) -> impl Future<Output = Result<Vec<(usize, Dedup)>, StoreError>> + Send;

    /// The last positions of slices that have one.
    fn last_positions(&self, slices: &[Slice]) -> impl Future<Output = Result<Vec<i64>, StoreError>> + Send;

    /// Events of a stream from a version on, in order, as far as there is room for them.
    fn stream_page(
        &self,
        stream: &StreamId,
        from: i64,
        limit: i64,
        page: &mut Page,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// Records behind each of these positions, within its slice, in their order; the positions in the order of the
    /// question; as far as there is room for them. Own columns: aggregate and id.
    fn page_after(
        &self,
        positions: &[i64],
        limit: i64,
        page: &mut Page,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// First records of commands by stream and short hash. Own column: the question.
    fn commands(
        &self,
        commands: &[(StreamId, Dedup)],
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// What aggregates need to come into memory, as far as there is room for it. Own columns: the question, and a [`Part`].
    fn load(&self, loads: &[Load], page: &mut Page) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// Keeps rows of the inbox, durably; those that are there stay as they are.
    fn put_rows(&self, rows: &[Sealed<Vec<u8>>]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Counts a try of rows of the inbox, durably.
    fn note_tries(&self, keys: &[InboxKey], due_micros: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes rows of the inbox, durably.
    fn finish_rows(&self, keys: &[InboxKey]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What a row of [`Dialect::load`] is; the rows of each stream come in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A snapshot, its fingerprint in the place of the payload's hash, and where the stream begins (as position).
    Snapshot = 1,
    /// Where the stream begins (as position), whether its keys are complete (as version, 1 or 0), and short hashes of
    /// keys, eight bytes each, the highest first (as payload). A stream without any record, or with a snapshot, has no such row.
    Keys = 2,
    /// An event.
    Event = 3,
}

impl Part {
    pub(super) const fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Snapshot),
            2 => Some(Self::Keys),
            3 => Some(Self::Event),
            _ => None,
        }
    }
}
