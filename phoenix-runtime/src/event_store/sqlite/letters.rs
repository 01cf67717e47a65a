//! The inbox and the dead letters: written by the one thread, with the commit of whatever else waits.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use sea_orm::{DatabaseConnection, DbErr};

use super::SqliteStore;
use super::error::damaged;
use super::reader::{SqliteReader, signed};
use super::writer::Job;
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::{
    self, Backlog, Buried, Change, DeadFilter, DeadLetter, Due, InboxKey, InboxRow, Letters, ReadLetters, Sealed,
    Standing, Tables,
};
use crate::event_store::port::StoreError;

const PUT: &str = "INSERT INTO inbox (topic, topic_partition, first_offset, digest, last_offset, due_micros, messages, \
     tries, bytes, slice_group, codec, hold_aggregate, hold_id, body) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
     ON CONFLICT (topic, topic_partition, first_offset, digest) DO NOTHING";
const TRIED: &str = "UPDATE inbox SET tries = tries + 1, due_micros = ?5 \
     WHERE topic = ?1 AND topic_partition = ?2 AND first_offset = ?3 AND digest = ?4";
const FINISH: &str =
    "DELETE FROM inbox WHERE topic = ?1 AND topic_partition = ?2 AND first_offset = ?3 AND digest = ?4";
const LAST_NUMBER: &str = "SELECT last_number FROM dead_letter_numbers WHERE id = 1";
const SET_LAST_NUMBER: &str = "UPDATE dead_letter_numbers SET last_number = ?1 WHERE id = 1";
const BURY: &str = "INSERT INTO dead_letters (number, record_offset, time_micros, tries, bytes, topic_partition, slice, \
     standing, codec, topic, aggregate, id, name, message_id, code, reason, body) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
     ON CONFLICT (topic, topic_partition, record_offset) DO NOTHING";
const AMEND: &str = "UPDATE dead_letters SET bytes = ?3 + octet_length(reason) + length(coalesce(original, body)), \
     original = coalesce(original, body), body = ?2 WHERE number = ?1 AND standing = 0";
const SETTLE: &str = "UPDATE dead_letters SET standing = ?2, settled_micros = ?3 WHERE number = ?1 AND standing <> ?2";
const FORGET: &str = "DELETE FROM dead_letters WHERE standing <> 0 AND settled_micros < ?1";

/// Does a change, and counts what it has changed, where its askers are told.
pub(super) fn change(db: &Connection, change: &Change<Vec<u8>>) -> rusqlite::Result<u64> {
    match change {
        Change::Put(rows) => put(db, rows),
        Change::Tried(keys, due_micros) => {
            let mut tried = db.prepare_cached(TRIED)?;
            each(keys, |key| {
                tried.execute(params![&*key.topic, key.partition, signed(key.first), signed(key.digest), due_micros])
            })
        }
        Change::Finish(keys) => {
            let mut finish = db.prepare_cached(FINISH)?;
            each(keys, |key| finish.execute(params![&*key.topic, key.partition, signed(key.first), signed(key.digest)]))
        }
        Change::Replace(key, rows) => {
            if self::change(db, &Change::Finish(vec![key.clone()]))? == 0 {
                return Ok(0);
            }
            put(db, rows).map(|_| 1)
        }
        Change::Bury(letters, keys) => {
            bury(db, letters)?;
            self::change(db, &Change::Finish(keys.clone()))
        }
        Change::Amend(number, body, bytes) => {
            let rest = i64::try_from(letters::ROW_BYTES + bytes).unwrap_or(i64::MAX);
            let amended = db.prepare_cached(AMEND)?.execute(params![signed(*number), body, rest])?;
            Ok(amended as u64)
        }
        Change::Settle(numbers, standing, time_micros) => {
            let settled = (*standing != Standing::Waiting).then_some(*time_micros);
            let mut settle = db.prepare_cached(SETTLE)?;
            each(numbers, |number| settle.execute(params![signed(*number), standing.number(), settled]))
        }
        Change::Forget(before) => Ok(db.prepare_cached(FORGET)?.execute([before])? as u64),
    }
}

fn each<T>(items: &[T], mut execute: impl FnMut(&T) -> rusqlite::Result<usize>) -> rusqlite::Result<u64> {
    items.iter().try_fold(0, |changed, item| Ok(changed + execute(item)? as u64))
}

fn put(db: &Connection, rows: &[Sealed<Vec<u8>>]) -> rusqlite::Result<u64> {
    let mut put = db.prepare_cached(PUT)?;
    each(rows, |Sealed { key, row, bytes, body }| {
        let hold = row.hold.as_ref();
        put.execute(params![
            &*key.topic,
            key.partition,
            signed(key.first),
            signed(key.digest),
            signed(row.last),
            row.due_micros,
            row.messages,
            row.tries,
            signed(*bytes as u64),
            row.group.0,
            row.codec,
            hold.map(|hold| &*hold.aggregate),
            hold.map(|hold| hold.id.as_str()),
            body,
        ])
    })
}

fn bury(db: &Connection, letters: &[Buried<Vec<u8>>]) -> rusqlite::Result<()> {
    let last = db.prepare_cached(LAST_NUMBER)?.query_row([], |row| row.get::<_, i64>(0)).optional()?;
    let mut last = last.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let mut bury = db.prepare_cached(BURY)?;
    for Buried { letter, body } in letters {
        let buried = bury.execute(params![
            last + 1,
            signed(letter.offset),
            letter.time_micros,
            letter.tries,
            signed((letters::ROW_BYTES + letter.reason.len() + body.len()) as u64),
            letter.partition,
            letter.slice.map(|slice| slice.0),
            letter.standing.number(),
            letter.codec,
            &*letter.topic,
            letter.aggregate.as_deref(),
            letter.id.as_deref(),
            letter.name.as_deref(),
            letter.message_id.as_ref().map(|id| &id.0.as_bytes()[..]),
            &*letter.code,
            letter.reason,
            body,
        ])?;
        last += i64::from(buried > 0);
    }
    db.prepare_cached(SET_LAST_NUMBER)?.execute([last]).map(drop)
}

impl Tables for SqliteReader {
    type Connection = DatabaseConnection;

    fn connection(&self) -> &DatabaseConnection {
        self.db()
    }

    fn asked(&self, error: &DbErr) -> StoreError {
        super::error::read_failed(self.path(), error)
    }

    fn spoilt(&self, what: &dyn Display) -> StoreError {
        damaged(self.path(), what)
    }
}

impl SqliteStore {
    fn change<T: Send + 'static>(
        &self,
        change: Result<Change<Vec<u8>>, StoreError>,
        answer: impl FnOnce(u64) -> T + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        // sent at once, so that changes are done in the order in which they were asked for
        let sent = change.map(|change| self.send(|reply| Job::Change(Box::new(change), reply)));
        Box::pin(async move { sent?.await.map(answer) })
    }
}

impl ReadLetters for SqliteReader {
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        Box::pin(letters::due(self, question))
    }

    fn backlog(
        &self,
        topic: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>> {
        Box::pin(letters::backlog(self, topic))
    }

    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>> {
        Box::pin(letters::dead(self, filter, after, limit))
    }

    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        Box::pin(letters::dead_letter(self, number))
    }

    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>> {
        Box::pin(letters::dead_counts(self))
    }
}

impl ReadLetters for SqliteStore {
    fn due(&self, question: Due) -> BoxFuture<'_, Result<Vec<InboxRow>, StoreError>> {
        self.reader().due(question)
    }

    fn backlog(
        &self,
        topic: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<BTreeMap<(Arc<str>, u16), Backlog>, StoreError>> {
        self.reader().backlog(topic)
    }

    fn dead(&self, filter: DeadFilter, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, StoreError>> {
        self.reader().dead(filter, after, limit)
    }

    fn dead_letter(&self, number: u64) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        self.reader().dead_letter(number)
    }

    fn dead_counts(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, StoreError>> {
        self.reader().dead_counts()
    }
}

impl Letters for SqliteStore {
    fn put(&self, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(Change::put(rows), drop)
    }

    fn note_try(&self, keys: Vec<InboxKey>, due_micros: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(Ok(Change::tried(keys, due_micros)), drop)
    }

    fn replace(&self, key: InboxKey, rows: Vec<InboxRow>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.change(Change::replace(key, rows), |changed| changed > 0)
    }

    fn finish(&self, keys: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(Ok(Change::finish(keys)), drop)
    }

    fn bury(&self, letters: Vec<DeadLetter>, finished: Vec<InboxKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(Change::bury(letters, finished), drop)
    }

    fn amend(&self, number: u64, body: Vec<u8>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.change(Change::amend(number, body), |changed| changed > 0)
    }

    fn settle(
        &self,
        numbers: Vec<u64>,
        standing: Standing,
        time_micros: i64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.change(Ok(Change::settle(numbers, standing, time_micros)), |changed| changed)
    }

    fn forget(&self, settled_before_micros: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.change(Ok(Change::Forget(settled_before_micros)), |changed| changed)
    }
}
