//! What a partition has in the inbox.
//!
//! Rows are in the order of their first offsets. Those behind the cursor were not read yet; all others are known: either
//! their records are in memory, or they are held for an aggregate and are read when its lane has room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bus::port::TopicPartition;
use crate::domain::ports::{BoxFuture, Clock};
use crate::event_store::letters::{Backlog, InboxKey, InboxRow, Letters};
use crate::event_store::port::{EventStore, StoreError};

/// The first and the longest pause before a change of the inbox is tried again.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A row of a partition: its first offset and the hash of its contents.
pub(super) type RowId = (u64, u64);

pub(super) const fn id_of(key: &InboxKey) -> RowId {
    (key.first, key.digest)
}

/// What a row counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    messages: u64,
    bytes: u64,
    /// How often it was tried before this assignment.
    pub(super) tries: u32,
}

impl Facts {
    pub(super) fn of(row: &InboxRow) -> Self {
        Self { messages: row.messages.into(), bytes: row.bytes() as u64, tries: row.tries }
    }
}

/// Where the records of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// In memory, but for those that have their outcomes.
    Here,
    /// In the store alone, for the lane of an aggregate, or for a newer release.
    Held,
    /// In the store alone, behind the cursor.
    Left,
}

/// A row that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) facts: Facts,
    /// How many of its records are in memory without an outcome.
    left: usize,
    /// Whether this assignment has put it: then it was not tried before.
    pub(super) fresh: bool,
    state: State,
}

/// How far the inbox was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Cursor {
    /// To its end.
    #[default]
    End,
    /// Up to this row.
    Behind(RowId),
    /// Nothing yet.
    Start,
}

/// The inbox of a partition.
#[derive(Debug, Default)]
pub(super) struct Rows {
    known: BTreeMap<RowId, Row>,
    pub(super) cursor: Cursor,
    /// The highest row that was put or read.
    pub(super) highest: Option<RowId>,
    /// Whether rows are just being read: then none is put, so that none appears where nobody looks any more.
    pub(super) reading: bool,
    /// Whether rows are just being put: then none is read.
    pub(super) putting: bool,
    /// Rows that are to be removed.
    pub(super) finished: Vec<RowId>,
    /// Rows that are just being removed.
    pub(super) removing: BTreeSet<RowId>,
    /// How much there is in the store, as far as this node knows.
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Rows {
    /// What was found when the partition was taken.
    pub(super) fn found(&mut self, backlog: Backlog) {
        (self.messages, self.bytes) = (backlog.messages, backlog.bytes);
        self.cursor = if backlog.rows > 0 { Cursor::Start } else { Cursor::End };
    }

    pub(super) fn get(&self, id: RowId) -> Option<&Row> {
        self.known.get(&id)
    }

    /// A row was found. Says whether it was not known before.
    pub(super) fn know(&mut self, id: RowId, facts: Facts, state: State) -> bool {
        self.highest = self.highest.max(Some(id));
        let is_new = !self.known.contains_key(&id);
        if is_new {
            self.known.insert(id, Row { facts, left: 0, fresh: false, state });
        }
        is_new
    }

    /// A row was put: it counts from now on, unless it was there before.
    pub(super) fn add(&mut self, id: RowId, facts: Facts, state: State, fresh: bool) {
        if self.know(id, facts, state) {
            self.messages += facts.messages;
            self.bytes += facts.bytes;
            if let Some(row) = self.known.get_mut(&id) {
                row.fresh = fresh;
            }
        }
    }

    /// The rows that this node has put and left behind the cursor, and all others that it knows.
    pub(super) fn names(&self) -> (BTreeSet<RowId>, BTreeSet<RowId>) {
        let left = |(_, row): &(&RowId, &Row)| row.state == State::Left;
        let (left, known): (Vec<_>, Vec<_>) = self.known.iter().partition(left);
        let ids = |rows: Vec<(&RowId, &Row)>| rows.into_iter().map(|(id, _)| *id).collect();
        let (left, mut known): (BTreeSet<RowId>, BTreeSet<RowId>) = (ids(left), ids(known));
        known.extend(self.finished.iter().chain(&self.removing));
        (left, known)
    }

    /// The records of a row are in memory.
    pub(super) fn read(&mut self, id: RowId) {
        if let Some(row) = self.known.get_mut(&id) {
            row.state = State::Here;
        }
    }

    /// The records of a row are in the store alone, for the lane of an aggregate.
    pub(super) fn hold(&mut self, id: RowId) {
        if let Some(row) = self.known.get_mut(&id) {
            row.state = State::Held;
        }
    }

    /// Whether a row is where the inbox was read already.
    pub(super) fn was_passed(&self, id: RowId) -> bool {
        match self.cursor {
            Cursor::End => true,
            Cursor::Behind(last) => id <= last,
            Cursor::Start => false,
        }
    }

    /// Forgets rows up to this one that were left in the store and are not there any more, and says whether there are any.
    /// Whoever believed to own the partition has put their records into other rows.
    pub(super) fn forget_missing(&mut self, last: Option<RowId>, found: &BTreeSet<RowId>) -> bool {
        let is_missing = |(id, row): &(&RowId, &Row)| {
            row.state == State::Left && last.is_none_or(|last| **id <= last) && !found.contains(*id)
        };
        let missing: Vec<RowId> = self.known.iter().filter(is_missing).map(|(id, _)| *id).collect();
        for id in &missing {
            self.gone(*id);
        }
        !missing.is_empty()
    }

    /// One more of its records is in memory.
    pub(super) fn one_more(&mut self, id: RowId) {
        if let Some(row) = self.known.get_mut(&id) {
            row.left += 1;
        }
    }

    /// One of its records has its outcome, or is in another row.
    pub(super) fn one_less(&mut self, id: RowId) {
        if let Some(row) = self.known.get_mut(&id) {
            row.left = row.left.saturating_sub(1);
        }
        self.settle(id);
    }

    /// A row of which nothing is left is to be removed.
    pub(super) fn settle(&mut self, id: RowId) {
        if self.known.get(&id).is_some_and(|row| row.left == 0 && row.state == State::Here) {
            self.gone(id);
            self.finished.push(id);
        }
    }

    /// A row is not there any more.
    pub(super) fn gone(&mut self, id: RowId) {
        if let Some(row) = self.known.remove(&id) {
            self.messages = self.messages.saturating_sub(row.facts.messages);
            self.bytes = self.bytes.saturating_sub(row.facts.bytes);
        }
    }

    /// A row was replaced by others, whether it was known or not.
    pub(super) fn cut(&mut self, id: RowId, facts: Facts) {
        self.known.remove(&id);
        self.messages = self.messages.saturating_sub(facts.messages);
        self.bytes = self.bytes.saturating_sub(facts.bytes);
    }

    /// All rows are known: so they are what there is.
    pub(super) fn recount(&mut self) {
        self.messages = self.known.values().map(|row| row.facts.messages).sum();
        self.bytes = self.known.values().map(|row| row.facts.bytes).sum();
    }

    /// Whether a record is the only one of its row that has no outcome.
    pub(super) fn is_last(&self, id: RowId) -> bool {
        self.known.get(&id).is_some_and(|row| row.left == 1 && row.state == State::Here)
    }
}

/// A row's name in the store.
pub(super) fn key(partition: &TopicPartition, (first, digest): RowId) -> InboxKey {
    InboxKey { topic: Arc::clone(&partition.topic), partition: partition.partition, first, digest }
}

/// The place right before a row: what is behind it begins with the row itself.
pub(super) fn before(partition: &TopicPartition, (first, digest): RowId) -> Option<InboxKey> {
    let id = match (digest.checked_sub(1), first.checked_sub(1)) {
        (Some(digest), _) => (first, digest),
        (None, Some(first)) => (first, u64::MAX >> 1),
        (None, None) => return None,
    };
    Some(key(partition, id))
}

/// Asks for a change until it is done.
pub(super) async fn until_done(
    store: &dyn EventStore,
    clock: &dyn Clock,
    what: &str,
    ask: impl for<'a> Fn(&'a dyn Letters) -> BoxFuture<'a, Result<(), StoreError>> + Send,
) {
    let mut pause = PAUSE;
    while let Some(letters) = store.letters() {
        match ask(letters).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "can't {what}; trying again");
                clock.sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}
