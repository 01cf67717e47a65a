//! What a database must be able to do, beyond being an event store, to be one of several.
//!
//! Every database knows for itself which slices it holds, as a [`Tenure`] a slice. It changes by [`Turn`]s alone, each
//! of them with the number of the move that it belongs to: what a mover does that slept through later moves has no effect.

use std::collections::BTreeMap;

use crate::domain::id::Slice;
use crate::domain::ports::BoxFuture;
use crate::event_store::archive::{Archive, BlockInfo};
use crate::event_store::port::{Epoch, EventStore, Partition, Record, Snapshot, StoreError, StoredEvent, StreamId};

/// What a database is to a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// It takes appends.
    Held,
    /// It takes appends, and its rows are being copied: bytes of stored events neither go to an archive nor come back.
    Leaving,
    /// It takes nothing. Rows may be left over.
    Away,
    /// It takes rows that are copied, in their order and without a gap.
    Incoming,
}

/// What a database is to a slice, and since which move. A database holds all slices since move 0 unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tenure {
    /// What it is.
    pub hold: Hold,
    /// The number of the move that made it so; [`Hold::Leaving`] has the one that [`Hold::Held`] had.
    pub since: u64,
}

impl Default for Tenure {
    fn default() -> Self {
        Self { hold: Hold::Held, since: 0 }
    }
}

/// One step of a move, at one of its two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Turn {
    /// The old one: rows are about to be copied.
    Leave,
    /// The old one: no append of the slice commits there any more, and open ones were waited for.
    TakeAway,
    /// The old one, before it was taken away: the move is called off.
    Stay,
    /// The new one, which has no rows of the slice: rows are about to come.
    Receive,
    /// The new one: all rows are there.
    Hold,
}

impl Tenure {
    /// What it is after a step of a move; the same where the step is none that follows, for example a late one.
    #[must_use]
    pub fn after(self, turn: Turn, number: u64, empty: bool) -> Self {
        let Self { hold, since } = self;
        match (turn, hold) {
            (Turn::Leave, Hold::Held) if since < number => Self { hold: Hold::Leaving, since },
            (Turn::TakeAway, Hold::Leaving) if since < number => Self { hold: Hold::Away, since: number },
            (Turn::Stay, Hold::Leaving) if since < number => Self { hold: Hold::Held, since: number },
            (Turn::Receive, Hold::Away | Hold::Incoming) if since < number && empty => {
                Self { hold: Hold::Incoming, since: number }
            }
            (Turn::Hold, Hold::Incoming) if since == number => Self { hold: Hold::Held, since },
            _ => self,
        }
    }

    /// Whether appends of the slice are taken.
    #[must_use]
    pub const fn appends(self) -> bool {
        matches!(self.hold, Hold::Held | Hold::Leaving)
    }

    /// Whether copied rows of this move are taken.
    #[must_use]
    pub fn receives(self, number: u64) -> bool {
        self == Self { hold: Hold::Incoming, since: number }
    }

    /// Whether rows that are left over may be removed, as somebody sees it who knows of the moves up to this one, and
    /// that none of them is open but perhaps this one.
    #[must_use]
    pub const fn purges(self, number: u64) -> bool {
        match self.hold {
            Hold::Away => self.since <= number,
            Hold::Incoming => self.since < number,
            Hold::Held | Hold::Leaving => false,
        }
    }
}

/// What a database is to all slices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenures {
    /// Raised by each change.
    pub version: u64,
    /// Slices that are not simply held since move 0.
    pub of: BTreeMap<Slice, Tenure>,
}

impl Tenures {
    /// What the database is to this slice.
    #[must_use]
    pub fn of(&self, slice: Slice) -> Tenure {
        self.of.get(&slice).copied().unwrap_or_default()
    }
}

/// A small text under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// 1 for the first; each one that replaces it has the next number.
    pub version: u64,
    /// What it says.
    pub text: String,
}

/// What became of a database that was to be one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It is one of them, and holds no slice.
    Now,
    /// It belongs somewhere already.
    Before(String),
    /// It has events, epochs or documents of its own.
    InUse,
}

/// A snapshot by its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotKey {
    /// Whose it is.
    pub stream: StreamId,
    /// The version that it holds.
    pub version: u64,
    /// The state's layout and logic when it was taken.
    pub fingerprint: u64,
}

/// A block of the archive that is a table of the database, by its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    /// Whose events it holds.
    pub stream: StreamId,
    /// Which of them.
    pub info: BlockInfo,
}

/// Rows of a slice on their way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Events and outcomes, in the order of their numbers and without a gap.
    pub records: Vec<Record>,
    /// Snapshots; those of streams that are not there yet are passed over.
    pub snapshots: Vec<Snapshot>,
    /// Blocks of the archive, whose streams are there.
    pub blocks: Vec<(BlockKey, Vec<u8>)>,
}

/// Events of some slices, and how far each slice was read where it was read any further.
pub type Page = (Vec<StoredEvent>, BTreeMap<Slice, u64>);

/// The document of the home database that says where slices are.
pub const SLICES_DOCUMENT: &str = "slices";
/// The document of any other database that says to which home it belongs.
pub const MEMBER_DOCUMENT: &str = "member";

/// A database that can share the slices with others.
///
/// As an event store it answers from all of its rows, whatever it holds: who asks compares [`Source::tenures`] afterwards.
/// Only these look at what it holds, each under a lock that no turn can pass:
/// - [`EventStore::append`]: [`StoreError::Moved`] names the slices that it does not hold
/// - [`EventStore::strip`], [`EventStore::refill`] and [`Archive::put`] of [`Source::table`]: not available unless the
///   slice is [`Hold::Held`]
/// - [`Source::copy_in`] and [`Source::purge`]
pub trait Source: EventStore {
    /// The archive that is a table of this database.
    fn table(&self) -> &dyn Archive;

    /// A document.
    fn document(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Document>, StoreError>>;

    /// Keeps a document in place of the one with the version before it; false, and nothing changed, where another one is.
    fn put_document(&self, name: &'static str, document: Document) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Makes an unused database one that holds no slice, with this [`MEMBER_DOCUMENT`], at once or not at all.
    fn join(&self, member: String) -> BoxFuture<'_, Result<Joined, StoreError>>;

    /// Raises the epochs of partitions to these, which the home database gave; one that has it already stays.
    ///
    /// # Errors
    /// `Fenced` where an epoch is higher: then a later owner was here first, and nothing is raised.
    fn adopt(&self, epochs: Vec<(Partition, Epoch)>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Raises every epoch that somebody was given: whoever has one of them can append no more.
    fn fence(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What it is to all slices; `None` where that is still of the version that is known.
    fn tenures(&self, known: Option<u64>) -> BoxFuture<'_, Result<Option<Tenures>, StoreError>>;

    /// Takes a step of a move where it is the one that follows, and says what the database is to the slice now.
    fn turn(&self, slice: Slice, turn: Turn, number: u64) -> BoxFuture<'_, Result<Tenure, StoreError>>;

    /// As [`EventStore::read_all`], of these slices alone, each behind a number, in this order.
    fn read_slices(&self, behind: Vec<(Slice, u64)>, limit: usize) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// At most `limit` events and outcomes of a slice that come after a number, in their order; fewer at the end, or where
    /// they have [`PAGE_BYTES`](crate::event_store::port::PAGE_BYTES).
    fn copy_out(&self, slice: Slice, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// The keys of all snapshots of a slice.
    fn snapshot_keys(&self, slice: Slice) -> BoxFuture<'_, Result<Vec<SnapshotKey>, StoreError>>;

    /// The keys of all blocks of a slice in [`Source::table`].
    fn block_keys(&self, slice: Slice) -> BoxFuture<'_, Result<Vec<BlockKey>, StoreError>>;

    /// Takes rows of a slice under the keys and numbers that they have. Those that are there already are passed over.
    ///
    /// # Errors
    /// `Moved` where the slice is not [`Hold::Incoming`] by this move; `Damaged` where the rows leave a gap.
    fn copy_in(&self, slice: Slice, number: u64, rows: Rows) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes about `limit` rows of a slice that are left over, as [`Tenure::purges`] allows; false where no more are left.
    ///
    /// # Errors
    /// `Moved` where they are not left over.
    fn purge(&self, slice: Slice, number: u64, limit: usize) -> BoxFuture<'_, Result<bool, StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns() {
        use Hold::{Away, Held, Incoming, Leaving};
        use Turn::{Leave, Receive, Stay, TakeAway};
        #[track_caller]
        fn check(before: (Hold, u64), turn: Turn, number: u64, expected: (Hold, u64)) {
            let before = Tenure { hold: before.0, since: before.1 };
            assert_eq!(before.after(turn, number, true), Tenure { hold: expected.0, since: expected.1 });
        }
        check((Held, 3), Leave, 4, (Leaving, 3));
        check((Leaving, 3), TakeAway, 4, (Away, 4));
        check((Leaving, 3), Stay, 4, (Held, 4));
        check((Away, 1), Receive, 4, (Incoming, 4));
        check((Incoming, 2), Receive, 4, (Incoming, 4));
        check((Incoming, 4), Turn::Hold, 4, (Held, 4));
        // the same again
        check((Leaving, 3), Leave, 4, (Leaving, 3));
        check((Away, 4), TakeAway, 4, (Away, 4));
        check((Incoming, 4), Receive, 4, (Incoming, 4));
        check((Held, 4), Turn::Hold, 4, (Held, 4));
        // out of order
        check((Held, 3), TakeAway, 4, (Held, 3));
        check((Away, 3), Turn::Hold, 4, (Away, 3));
        check((Held, 3), Receive, 4, (Held, 3));
        check((Away, 4), Stay, 4, (Away, 4));
        // too late: the slice has been moved again since
        for turn in [Leave, TakeAway, Stay, Receive, Turn::Hold] {
            for hold in [Held, Leaving, Away, Incoming] {
                check((hold, 5), turn, 4, (hold, 5));
            }
        }
        let held = Tenure { hold: Away, since: 1 }.after(Receive, 4, false);
        assert_eq!(held, Tenure { hold: Away, since: 1 }, "rows of an earlier stay are removed first");
    }
}
