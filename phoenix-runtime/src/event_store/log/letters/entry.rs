//! A change as it is written: everything but the bodies, which stand behind it in their order.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::id::{AggregateId, MessageId, Slice};
use crate::event_store::letters::{
    Body, Book, Buried, Change, DeadLetter, Grave, InboxKey, InboxRow, ROW_BYTES, Sealed, Standing,
};
use crate::event_store::port::{Partition, StreamId};

/// The form of the entries that is written.
pub(super) const FORM: u32 = 1;

/// Where a body is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) length: u32,
    pub(super) checksum: u64,
}

impl Body for Place {
    fn size(&self) -> usize {
        self.length as usize
    }
}

/// What stands in a frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Entry<'a> {
    /// The first one: the highest number of a dead letter so far, and up to where the file was durable when it got its
    /// name, little endian, because it is filled in last.
    Opening {
        form: u32,
        last: u64,
        synced: [u8; 8],
    },
    /// Nothing: it says by its frame what is durable.
    Mark,
    #[serde(borrow)]
    Put(Vec<Row<'a>>),
    Tried(Vec<Key<'a>>, i64),
    Replace(Key<'a>, Vec<Row<'a>>),
    Finish(Vec<Key<'a>>),
    Bury(Vec<Letter<'a>>, Vec<Key<'a>>),
    Amend(u64, u32),
    Settle(Vec<u64>, i16, i64),
    Forget(i64),
    /// A dead letter that has a number and a fate already.
    Grave(Box<Letter<'a>>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Key<'a> {
    topic: &'a str,
    partition: u16,
    first: u64,
    digest: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    key: Key<'a>,
    last: u64,
    messages: u32,
    group: u16,
    tries: u32,
    due_micros: i64,
    hold: Option<(&'a str, &'a str)>,
    codec: u8,
    body: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Letter<'a> {
    number: u64,
    topic: &'a str,
    partition: u16,
    offset: u64,
    aggregate: Option<&'a str>,
    id: Option<&'a str>,
    name: Option<&'a str>,
    message_id: Option<[u8; 16]>,
    slice: Option<u16>,
    code: &'a str,
    reason: &'a str,
    tries: u32,
    time_micros: i64,
    standing: i16,
    settled_micros: Option<i64>,
    codec: u8,
    body: u32,
    original: Option<u32>,
}

/// The length of a body, which is below 4 GiB by far.
fn length(body: &impl Body) -> u32 {
    u32::try_from(body.size()).unwrap_or(u32::MAX)
}

fn key(key: &InboxKey) -> Key<'_> {
    Key { topic: &key.topic, partition: key.partition, first: key.first, digest: key.digest }
}

fn keys(all: &[InboxKey]) -> Vec<Key<'_>> {
    all.iter().map(key).collect()
}

pub(super) fn row<B: Body>(held: &Sealed<B>) -> Row<'_> {
    let row = &held.row;
    Row {
        key: key(&held.key),
        last: row.last,
        messages: row.messages,
        group: row.group.0,
        tries: row.tries,
        due_micros: row.due_micros,
        hold: row.hold.as_ref().map(|hold| (&*hold.aggregate, hold.id.as_str())),
        codec: row.codec,
        body: length(&held.body),
    }
}

fn letter<'a, B: Body>(letter: &'a DeadLetter, body: &B, original: Option<&B>) -> Letter<'a> {
    Letter {
        number: letter.number,
        topic: &letter.topic,
        partition: letter.partition,
        offset: letter.offset,
        aggregate: letter.aggregate.as_deref(),
        id: letter.id.as_deref(),
        name: letter.name.as_deref(),
        message_id: letter.message_id.map(|id| *id.0.as_bytes()),
        slice: letter.slice.map(|slice| slice.0),
        code: &letter.code,
        reason: &letter.reason,
        tries: letter.tries,
        time_micros: letter.time_micros,
        standing: letter.standing.number(),
        settled_micros: letter.settled_micros,
        codec: letter.codec,
        body: length(body),
        original: original.map(length),
    }
}

pub(super) fn grave<B: Body>(grave: &Grave<B>) -> Entry<'_> {
    Entry::Grave(Box::new(letter(&grave.letter, &grave.body, grave.original.as_ref())))
}

fn rows(all: &[Sealed<Vec<u8>>]) -> Vec<Row<'_>> {
    all.iter().map(row).collect()
}

fn bodies(all: &[Sealed<Vec<u8>>]) -> Vec<&[u8]> {
    all.iter().map(|held| &held.body[..]).collect()
}

/// The entry of a change, and its bodies.
pub(super) fn of(change: &Change<Vec<u8>>) -> (Entry<'_>, Vec<&[u8]>) {
    match change {
        Change::Put(all) => (Entry::Put(rows(all)), bodies(all)),
        Change::Tried(all, due_micros) => (Entry::Tried(keys(all), *due_micros), Vec::new()),
        Change::Replace(old, all) => (Entry::Replace(key(old), rows(all)), bodies(all)),
        Change::Finish(all) => (Entry::Finish(keys(all)), Vec::new()),
        Change::Bury(all, finished) => {
            let letters = all.iter().map(|buried| letter(&buried.letter, &buried.body, None)).collect();
            (Entry::Bury(letters, keys(finished)), all.iter().map(|buried| &buried.body[..]).collect())
        }
        Change::Amend(number, body, _) => (Entry::Amend(*number, length(body)), vec![&body[..]]),
        Change::Settle(numbers, standing, time_micros) => {
            (Entry::Settle(numbers.clone(), standing.number(), *time_micros), Vec::new())
        }
        Change::Forget(before) => (Entry::Forget(*before), Vec::new()),
    }
}

/// Finds the bodies of an entry behind it.
pub(super) struct Bodies<'a> {
    pub(super) at: u64,
    pub(super) rest: &'a [u8],
}

impl Bodies<'_> {
    fn next(&mut self, length: u32) -> Option<Place> {
        let (body, rest) = self.rest.split_at_checked(length as usize)?;
        let place = Place { at: self.at, length, checksum: xxh3_64(body) };
        self.rest = rest;
        self.at += u64::from(length);
        Some(place)
    }
}

fn owned(key: &Key<'_>) -> InboxKey {
    InboxKey { topic: key.topic.into(), partition: key.partition, first: key.first, digest: key.digest }
}

fn held(row: &Row<'_>, bodies: &mut Bodies<'_>) -> Option<Sealed<Place>> {
    let key = owned(&row.key);
    let hold = match row.hold {
        Some((aggregate, id)) => Some(StreamId { aggregate: aggregate.into(), id: AggregateId::new(id).ok()? }),
        None => None,
    };
    let body = bodies.next(row.body)?;
    let row = InboxRow {
        topic: Arc::clone(&key.topic),
        partition: key.partition,
        first: key.first,
        last: row.last,
        messages: row.messages,
        group: Partition(row.group),
        tries: row.tries,
        due_micros: row.due_micros,
        hold,
        codec: row.codec,
        body: Vec::new(),
    };
    Some(Sealed { key, row, bytes: ROW_BYTES + body.size(), body })
}

fn dead(letter: &Letter<'_>) -> Option<DeadLetter> {
    Some(DeadLetter {
        number: letter.number,
        topic: letter.topic.into(),
        partition: letter.partition,
        offset: letter.offset,
        aggregate: letter.aggregate.map(Into::into),
        id: letter.id.map(Into::into),
        name: letter.name.map(Into::into),
        message_id: letter.message_id.map(|id| MessageId(Uuid::from_bytes(id))),
        slice: letter.slice.map(Slice),
        code: letter.code.into(),
        reason: letter.reason.to_owned(),
        tries: letter.tries,
        time_micros: letter.time_micros,
        standing: Standing::from_number(letter.standing)?,
        settled_micros: letter.settled_micros,
        codec: letter.codec,
        body: Vec::new(),
        original: None,
    })
}

/// Does to a book what an entry says, and counts what that has changed; `None` for an entry that Phoenix does not write.
pub(super) fn apply(book: &mut Book<Place>, entry: &Entry<'_>, mut bodies: Bodies<'_>) -> Option<u64> {
    let rows =
        |all: &[Row<'_>], bodies: &mut Bodies<'_>| all.iter().map(|row| held(row, bodies)).collect::<Option<Vec<_>>>();
    let keys = |all: &[Key<'_>]| all.iter().map(owned).collect();
    let change = match entry {
        Entry::Opening { form, last, .. } => {
            if *form != FORM {
                return None;
            }
            book.begin_after(*last);
            return Some(0);
        }
        Entry::Mark => return Some(0),
        Entry::Put(all) => Change::Put(rows(all, &mut bodies)?),
        Entry::Tried(all, due_micros) => Change::Tried(keys(all), *due_micros),
        Entry::Replace(old, all) => Change::Replace(owned(old), rows(all, &mut bodies)?),
        Entry::Finish(all) => Change::Finish(keys(all)),
        Entry::Bury(all, finished) => {
            let buried = |letter: &Letter<'_>| Some(Buried { letter: dead(letter)?, body: bodies.next(letter.body)? });
            Change::Bury(all.iter().map(buried).collect::<Option<_>>()?, keys(finished))
        }
        Entry::Amend(number, length) => Change::Amend(*number, bodies.next(*length)?, *length as usize),
        Entry::Settle(numbers, standing, time_micros) => {
            Change::Settle(numbers.clone(), Standing::from_number(*standing)?, *time_micros)
        }
        Entry::Forget(before) => Change::Forget(*before),
        Entry::Grave(letter) => {
            let body = bodies.next(letter.body)?;
            let original = match letter.original {
                Some(length) => Some(bodies.next(length)?),
                None => None,
            };
            book.restore(dead(letter)?, body, original);
            return Some(1);
        }
    };
    Some(book.apply(change))
}
