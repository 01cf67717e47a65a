//! One aggregate in memory.

use std::collections::VecDeque;

use crate::domain::id::{AggregateId, Slice};
use crate::domain::pending::AnyState;
use crate::engine::mailbox::Mail;

/// A cell of a shard, and which of those that lived at this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CellRef {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// An aggregate in memory, or on its way there.
pub(crate) struct Cell {
    pub(crate) id: AggregateId,
    pub(crate) hash: u64,
    pub(crate) kind: u16,
    pub(crate) generation: u32,
    /// How many waiters of batches rest on this cell. While there are any it stays.
    pub(crate) pins: u32,
    /// Seconds on the monotonic time.
    pub(crate) last_used: u32,
    /// `None` while it is brought into memory, and while an `async` handler has it.
    pub(crate) state: Option<AnyState>,
    /// The version of `state`, with what is decided and not yet durable.
    pub(crate) version: u64,
    pub(crate) snapshot_version: u64,
    /// The bytes of the events since then.
    pub(crate) snapshot_bytes: u64,
    /// The time of the last event: time never goes back within a stream.
    pub(crate) time_micros: i64,
    pub(crate) window: Window,
    /// What it waits for, with those who wait behind it.
    pub(crate) busy: Option<Box<Busy>>,
}

/// An aggregate that can't decide right now.
pub(crate) struct Busy {
    pub(crate) with: Task,
    pub(crate) queue: VecDeque<Mail>,
}

/// What a busy aggregate waits for.
pub(crate) enum Task {
    /// It is brought into memory.
    Activation,
    /// Its state is spoilt; it is brought back when its earlier batches are settled.
    Rebuild,
    /// This command may be a repeat: the store is asked when its earlier batches are settled.
    Question(Mail),
    /// The store is being asked about this command.
    Asking(Mail),
    /// This command has an `async` handler, which starts when its earlier batches are settled.
    Start(Mail),
    /// The handler of this command is at work.
    Working(Mail),
}

impl Cell {
    pub(crate) fn slice(&self) -> Slice {
        Slice::from_hash(self.hash)
    }

    /// Whether it may leave memory.
    pub(crate) fn is_idle(&self) -> bool {
        self.pins == 0 && self.busy.is_none()
    }
}

/// The keys that an aggregate remembers, newest last, as eight bytes each. A match may be false: it is a reason to ask
/// the store, never an answer.
#[derive(Debug, Default)]
pub(crate) struct Window {
    keys: Vec<u64>,
    /// Where the next key goes once the window is full.
    next: u32,
    /// Whether these are all keys that the store has for the aggregate: then a key that is not here is new.
    pub(crate) complete: bool,
}

impl Window {
    /// Of these keys, oldest first, at most the newest `room`.
    pub(crate) fn new(mut keys: Vec<u64>, complete: bool, room: usize) -> Self {
        let complete = complete && keys.len() <= room;
        keys.drain(..keys.len().saturating_sub(room));
        Self { keys, next: 0, complete }
    }

    pub(crate) fn contains(&self, key: u64) -> bool {
        // a plain scan: a hundred keys are 800 bytes in a row
        self.keys.contains(&key)
    }

    /// Remembers a key; with `room` keys remembered already it takes the place of the oldest.
    /// Gives how many more keys are remembered than before.
    pub(crate) fn push(&mut self, key: u64, room: u32, may_grow: bool) -> usize {
        if self.keys.len() < room as usize && may_grow {
            if self.keys.len() == self.keys.capacity() {
                // small steps: most aggregates have few keys, and many aggregates are idle
                self.keys.reserve_exact((self.keys.len() / 2).clamp(2, 32));
            }
            self.keys.push(key);
            return 1;
        }
        self.complete = false;
        let length = self.keys.len();
        if let Some(oldest) = self.keys.get_mut(self.next as usize) {
            *oldest = key;
            self.next = if self.next as usize + 1 >= length { 0 } else { self.next + 1 };
        }
        0
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}
