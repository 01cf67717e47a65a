//! The rows in memory: the whole inbox and all dead letters, of which the bodies may be elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{Backlog, Buried, Change, DeadFilter, DeadLetter, Due, InboxKey, InboxRow, MOST_ROWS, Sealed, Standing};
use crate::event_store::port::PAGE_BYTES;
use crate::event_store::rules::Room;

/// A dead letter, and where its bodies are.
#[derive(Debug, Clone)]
pub(crate) struct Grave<B> {
    /// Without its bodies.
    pub(crate) letter: DeadLetter,
    pub(crate) body: B,
    pub(crate) original: Option<B>,
    /// The sizes of both.
    bytes: (usize, usize),
}

/// Everything that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Book<B> {
    inbox: BTreeMap<InboxKey, Sealed<B>>,
    dead: BTreeMap<u64, Grave<B>>,
    places: BTreeMap<(Arc<str>, u16, u64), u64>,
    /// The highest number of a dead letter that there ever was.
    last: u64,
}

impl<B> Default for Book<B> {
    fn default() -> Self {
        Self { inbox: BTreeMap::new(), dead: BTreeMap::new(), places: BTreeMap::new(), last: 0 }
    }
}

/// A body that knows how long it is.
pub(crate) trait Body: Clone {
    fn size(&self) -> usize;
}

impl Body for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }
}

impl<B> Grave<B> {
    /// What it counts in an answer.
    pub(crate) fn size(&self) -> usize {
        self.letter.bytes() + self.bytes.0 + self.bytes.1
    }
}

impl<B: Body> Book<B> {
    /// Does a change, and counts what it has changed, where its askers are told.
    pub(crate) fn apply(&mut self, change: Change<B>) -> u64 {
        match change {
            Change::Put(rows) => self.put(rows),
            Change::Tried(keys, due_micros) => self.tried(&keys, due_micros),
            Change::Replace(key, rows) => {
                if self.inbox.remove(&key).is_none() {
                    return 0;
                }
                self.put(rows);
                1
            }
            Change::Finish(keys) => keys.iter().map(|key| u64::from(self.inbox.remove(key).is_some())).sum(),
            Change::Bury(letters, keys) => {
                let buried = letters.into_iter().map(|letter| u64::from(self.bury(letter))).sum();
                self.apply(Change::Finish(keys));
                buried
            }
            Change::Amend(number, body, bytes) => self.amend(number, body, bytes),
            Change::Settle(numbers, standing, time_micros) => {
                numbers.iter().map(|number| u64::from(self.settle(*number, standing, time_micros))).sum()
            }
            Change::Forget(before) => self.forget(before),
        }
    }

    fn put(&mut self, rows: Vec<Sealed<B>>) -> u64 {
        let before = self.inbox.len();
        for row in rows {
            self.inbox.entry(row.key.clone()).or_insert(row);
        }
        (self.inbox.len() - before) as u64
    }

    fn tried(&mut self, keys: &[InboxKey], due_micros: i64) -> u64 {
        let mut counted = 0;
        for key in keys {
            if let Some(held) = self.inbox.get_mut(key) {
                held.row.tries = held.row.tries.saturating_add(1);
                held.row.due_micros = due_micros;
                counted += 1;
            }
        }
        counted
    }

    fn bury(&mut self, Buried { mut letter, body }: Buried<B>) -> bool {
        let place = (Arc::clone(&letter.topic), letter.partition, letter.offset);
        if self.places.contains_key(&place) {
            return false;
        }
        self.last += 1;
        letter.number = self.last;
        self.restore(letter, body, None);
        true
    }

    /// Puts a dead letter back that has its number already.
    pub(crate) fn restore(&mut self, letter: DeadLetter, body: B, original: Option<B>) {
        self.last = self.last.max(letter.number);
        self.places.insert((Arc::clone(&letter.topic), letter.partition, letter.offset), letter.number);
        let bytes = (body.size(), original.as_ref().map_or(0, Body::size));
        self.dead.insert(letter.number, Grave { letter, body, original, bytes });
    }

    fn amend(&mut self, number: u64, body: B, bytes: usize) -> u64 {
        let Some(grave) = self.dead.get_mut(&number).filter(|grave| grave.letter.standing == Standing::Waiting) else {
            return 0;
        };
        let before = std::mem::replace(&mut grave.body, body);
        let size = std::mem::replace(&mut grave.bytes.0, bytes);
        if grave.original.is_none() {
            grave.original = Some(before);
            grave.bytes.1 = size;
        }
        1
    }

    fn settle(&mut self, number: u64, standing: Standing, time_micros: i64) -> bool {
        match self.dead.get_mut(&number).map(|grave| &mut grave.letter) {
            Some(letter) if letter.standing != standing => {
                letter.standing = standing;
                letter.settled_micros = (standing != Standing::Waiting).then_some(time_micros);
                true
            }
            _ => false,
        }
    }

    fn forget(&mut self, before: i64) -> u64 {
        let goes = |letter: &DeadLetter| letter.settled_micros.is_some_and(|settled| settled < before);
        let all = self.dead.len();
        let places = &mut self.places;
        self.dead.retain(|_, Grave { letter, .. }| {
            let goes = goes(letter);
            if goes {
                places.remove(&(Arc::clone(&letter.topic), letter.partition, letter.offset));
            }
            !goes
        });
        (all - self.dead.len()) as u64
    }

    /// Rows that are due, as far as there is room for them.
    pub(crate) fn due(&self, question: &Due) -> Vec<&Sealed<B>> {
        let most = question.bytes.min(PAGE_BYTES);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for partition in question.partitions.iter().copied().collect::<BTreeSet<_>>() {
            let first = InboxKey { topic: Arc::clone(&question.topic), partition, first: 0, digest: 0 };
            let start = match &question.after {
                Some(after) if *after >= first => Bound::Excluded(after),
                _ => Bound::Included(&first),
            };
            let rows = self.inbox.range((start, Bound::Unbounded)).map(|(_, held)| held);
            let here = rows.take_while(|held| held.key.topic == question.topic && held.key.partition == partition);
            for held in here.filter(|held| held.row.due_micros <= question.until_micros) {
                if found.len() >= question.limit.min(MOST_ROWS) || (!found.is_empty() && bytes >= most) {
                    return found;
                }
                bytes += held.bytes;
                found.push(held);
            }
        }
        found
    }

    pub(crate) fn backlog(&self, topic: Option<&str>) -> BTreeMap<(Arc<str>, u16), Backlog> {
        let mut all: BTreeMap<(Arc<str>, u16), Backlog> = BTreeMap::new();
        let wanted = self.inbox.values().filter(|held| topic.is_none_or(|topic| *held.row.topic == *topic));
        for held in wanted {
            let backlog = all.entry((Arc::clone(&held.row.topic), held.row.partition)).or_default();
            backlog.rows += 1;
            backlog.messages += u64::from(held.row.messages);
            backlog.bytes += held.bytes as u64;
            let due = held.row.due_micros;
            backlog.due_micros = Some(backlog.due_micros.map_or(due, |first| first.min(due)));
        }
        all
    }

    /// Dead letters behind a number, as far as there is room for them.
    pub(crate) fn dead(&self, filter: &DeadFilter, after: u64, limit: usize) -> Vec<&Grave<B>> {
        fn has(wanted: Option<&Arc<str>>, found: Option<&Arc<str>>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        let mut room = Room::default();
        let behind = self.dead.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, grave)| grave);
        let wanted = behind.filter(|Grave { letter, .. }| {
            has(filter.topic.as_ref(), Some(&letter.topic))
                && has(filter.aggregate.as_ref(), letter.aggregate.as_ref())
                && has(filter.id.as_ref(), letter.id.as_ref())
                && has(filter.code.as_ref(), Some(&letter.code))
                && filter.standing.is_none_or(|standing| letter.standing == standing)
        });
        let taken = wanted.take_while(|grave| room.takes(grave.size()));
        taken.take(limit.min(MOST_ROWS)).collect()
    }

    pub(crate) fn dead_letter(&self, number: u64) -> Option<&Grave<B>> {
        self.dead.get(&number)
    }

    pub(crate) fn dead_counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for grave in self.dead.values().filter(|grave| grave.letter.standing == Standing::Waiting) {
            *counts.entry(grave.letter.code.to_string()).or_default() += 1;
        }
        counts
    }

    /// The highest number of a dead letter that there ever was.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// No dead letter has a number up to this one from now on.
    pub(crate) fn begin_after(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// Every row of the inbox.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Sealed<B>> {
        self.inbox.values()
    }

    /// Every dead letter.
    pub(crate) fn graves(&self) -> impl Iterator<Item = &Grave<B>> {
        self.dead.values()
    }
}

impl Sealed<Vec<u8>> {
    /// The row with its body.
    pub(crate) fn whole(&self) -> InboxRow {
        InboxRow { body: self.body.clone(), ..self.row.clone() }
    }
}

impl Grave<Vec<u8>> {
    /// The letter with its bodies.
    pub(crate) fn whole(&self) -> DeadLetter {
        DeadLetter { body: self.body.clone(), original: self.original.clone(), ..self.letter.clone() }
    }
}
