//! Moves slices from one database to another while nodes work.
//!
//! What is done is kept in the home's map and in both databases, so a move goes on wherever it was left, by whomever:
//! each step says to the database which step it is and of which move, and one that is done, or overtaken, changes nothing.

use std::collections::BTreeSet;

use crate::domain::id::{SLICES, Slice};
use crate::event_store::port::{PAGE_BYTES, Record, StoreError};
use crate::event_store::sources::map::{Moving, Placement, SliceMap};
use crate::event_store::sources::members::{Member, Members};
use crate::event_store::sources::port::{BlockKey, Hold, Rows, SnapshotKey, Tenure, Turn};

/// How many rows are copied or removed at once.
const PAGE: usize = 500;
/// How many snapshots are copied at once.
const SNAPSHOTS: usize = 50;
/// How many blocks of the archive are copied at once; each is about a megabyte at most.
const BLOCKS: usize = 8;

/// Why a slice was not moved, or not yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// There is no such slice.
    #[error("there is no slice {}: slices go from 0 to 1023", .0.0)]
    NoSlice(Slice),
    /// There is no such source.
    #[error("there is no source `{name}`; there are {known}")]
    NoSource {
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// It is being moved somewhere else.
    #[error("slice {} is being moved to `{to}`: resume that move, or call it off, first", slice.0)]
    Busy {
        /// Which slice.
        slice: Slice,
        /// Where it is being moved to.
        to: String,
    },
    /// It is not being moved.
    #[error("slice {} is not being moved", .0.0)]
    Idle(Slice),
    /// A database is not at the step that should be taken: somebody else has gone on, or a backup was put back.
    #[error("slice {} on `{source_name}` is {found:?}, so the move {number} can't go on here; look at its status again", slice.0)]
    Overtaken {
        /// Which slice.
        slice: Slice,
        /// Which database.
        source_name: String,
        /// What it is to the slice.
        found: Tenure,
        /// The move's number.
        number: u64,
    },
    /// The slice has been taken away from its old source: the only way is on.
    #[error("slice {} has left its old source, so the move can't be called off: resume it", .0.0)]
    TooLate(Slice),
    /// A source is still used.
    #[error("the source `{name}` still has {slices} slices, or some on their way: move them first")]
    Used {
        /// Its name.
        name: String,
        /// How many slices it has.
        slices: u16,
    },
    /// A database failed; what was done stays done.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a move is, for whoever watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveStep {
    /// Rows were copied while appends went on; so many so far.
    Copied(u64),
    /// Appends of the slice wait from now on.
    TakenAway,
    /// The new database takes appends.
    Switched,
    /// Rows that were left over are removed.
    Purged,
}

/// Moves slices between databases.
#[derive(Debug, Clone)]
pub struct Mover {
    members: Members,
}

/// One move, from its beginning in the map to its end there.
struct Move<'a> {
    slice: Slice,
    number: u64,
    from: &'a Member,
    to: &'a Member,
}

impl Mover {
    /// Moves slices between these databases.
    #[must_use]
    pub const fn new(members: Members) -> Self {
        Self { members }
    }

    /// Where slices are, and which are on their way.
    ///
    /// # Errors
    /// What the home says.
    pub async fn status(&self) -> Result<SliceMap, MoveError> {
        Ok(self.members.map().await?.1)
    }

    /// Moves a slice, or goes on with its move there, and tells `step` how far it is. A slice that is there already stays.
    /// The old rows stay as well, until [`Mover::purge`].
    ///
    /// # Errors
    /// Whatever keeps it from its end; called again it goes on where it was.
    pub async fn move_slice(&self, slice: Slice, to: &str, step: impl FnMut(MoveStep)) -> Result<(), MoveError> {
        let (_, target) = self.named(to)?;
        let Some((from, number)) = self.begin(slice, to).await? else { return Ok(()) };
        let (_, member) = self.named(&from)?;
        if member.tenures().await?.of(slice) == (Tenure { hold: Hold::Held, since: number }) {
            // the move was called off, and whoever did so did not come to the end of it
            self.finish(slice, &from, number).await?;
            let Some((_, number)) = self.begin(slice, to).await? else { return Ok(()) };
            Move { slice, number, from: member, to: target }.go(step).await?;
            return self.finish(slice, to, number).await;
        }
        Move { slice, number, from: member, to: target }.go(step).await?;
        self.finish(slice, to, number).await
    }

    /// Writes a move into the map, and says from where it goes and its number; `None` where the slice is there already.
    async fn begin(&self, slice: Slice, to: &str) -> Result<Option<(String, u64)>, MoveError> {
        self.update(|map| {
            if slice.0 >= SLICES {
                return Err(MoveError::NoSlice(slice));
            }
            let from = map.place(slice).0.to_owned();
            let number = match map.moving.get(&slice.0) {
                Some(moving) if moving.to != to => return Err(MoveError::Busy { slice, to: moving.to.clone() }),
                Some(moving) => moving.number,
                None if from == to => return Ok(None),
                None => {
                    map.newest += 1;
                    map.moving.insert(slice.0, Moving { to: to.to_owned(), number: map.newest });
                    map.newest
                }
            };
            Ok(Some((from, number)))
        })
        .await
    }

    /// Writes into the map that a move has ended, and where the slice is now.
    async fn finish(&self, slice: Slice, at: &str, number: u64) -> Result<(), MoveError> {
        self.update(|map| {
            if let Some(moving) = map.moving.get(&slice.0).filter(|moving| moving.number == number) {
                // where it was called off, what was copied is to be older than the newest move: then it can be purged
                map.newest += u64::from(moving.to != at);
                map.moving.remove(&slice.0);
                map.slices.insert(slice.0, Placement { source: at.to_owned(), since: number });
            }
            Ok(())
        })
        .await
    }

    /// Calls a move off that has not taken the slice away yet.
    ///
    /// # Errors
    /// It is not being moved, or it is too late.
    pub async fn stay(&self, slice: Slice) -> Result<(), MoveError> {
        let map = self.status().await?;
        let Some(moving) = map.moving.get(&slice.0) else { return Err(MoveError::Idle(slice)) };
        let (from, number) = (map.place(slice).0.to_owned(), moving.number);
        let (_, member) = self.named(&from)?;
        // a move that has not come to this step yet does not know of it later
        member.turn(slice, Turn::Leave, number).await?;
        if member.turn(slice, Turn::Stay, number).await? != (Tenure { hold: Hold::Held, since: number }) {
            return Err(MoveError::TooLate(slice));
        }
        self.finish(slice, &from, number).await
    }

    /// Removes rows of a slice from databases that do not have it, as far as no move of it is open.
    ///
    /// # Errors
    /// What a database says; called again it goes on.
    pub async fn purge(&self, slice: Slice, mut step: impl FnMut(MoveStep)) -> Result<(), MoveError> {
        let map = self.status().await?;
        if let Some(moving) = map.moving.get(&slice.0) {
            return Err(MoveError::Busy { slice, to: moving.to.clone() });
        }
        for member in self.members.all().iter().filter(|member| member.name != map.place(slice).0) {
            let tenure = member.tenures().await?.of(slice);
            if tenure.since > 0 && tenure.purges(map.newest) {
                member.purge(slice, map.newest).await?;
                step(MoveStep::Purged);
            }
        }
        Ok(())
    }

    /// Forgets a source that has no slice, so that it need not be configured any more.
    ///
    /// # Errors
    /// It has slices, or there is none of this name.
    pub async fn forget(&self, name: &str) -> Result<(), MoveError> {
        self.named(name)?;
        self.update(|map| {
            let slices = map.counts().get(name).copied().unwrap_or(0);
            if slices > 0 || map.moving.values().any(|moving| moving.to == name) {
                return Err(MoveError::Used { name: name.to_owned(), slices });
            }
            map.members.remove(name);
            // from now on the home may be opened for itself
            map.fenced &= !map.members.is_empty();
            Ok(())
        })
        .await
    }

    fn named(&self, name: &str) -> Result<(u16, &Member), MoveError> {
        self.members.named(name).ok_or_else(|| {
            let known: Vec<_> = self.members.all().iter().map(|member| format!("`{}`", member.name)).collect();
            MoveError::NoSource { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// Changes the map, however many others do.
    async fn update<T>(&self, change: impl Fn(&mut SliceMap) -> Result<T, MoveError>) -> Result<T, MoveError> {
        let home = self.members.home();
        loop {
            let (version, before) = self.members.map().await?;
            let mut after = before.clone();
            let value = change(&mut after)?;
            if after == before {
                return Ok(value);
            }
            match after.write(&*home.source, version + 1).await {
                Ok(true) => return Ok(value),
                // somebody else was faster, or this one was, and the answer is lost: the map says which
                Ok(false) | Err(StoreError::Unknown(_)) => {}
                Err(error) => return Err(home.says(error).into()),
            }
        }
    }
}

impl Member {
    async fn turn(&self, slice: Slice, turn: Turn, number: u64) -> Result<Tenure, StoreError> {
        self.source.turn(slice, turn, number).await.map_err(|e| self.says(e))
    }

    async fn purge(&self, slice: Slice, number: u64) -> Result<(), StoreError> {
        while self.source.purge(slice, number, PAGE).await.map_err(|e| self.says(e))? {}
        Ok(())
    }

    async fn last(&self, slice: Slice) -> Result<u64, StoreError> {
        let last = self.source.last_sequences(vec![slice]).await.map_err(|e| self.says(e))?;
        Ok(last.get(&slice).copied().unwrap_or(0))
    }

    async fn snapshot_keys(&self, slice: Slice) -> Result<BTreeSet<SnapshotKey>, StoreError> {
        Ok(self.source.snapshot_keys(slice).await.map_err(|e| self.says(e))?.into_iter().collect())
    }

    async fn block_keys(&self, slice: Slice) -> Result<BTreeSet<BlockKey>, StoreError> {
        Ok(self.source.block_keys(slice).await.map_err(|e| self.says(e))?.into_iter().collect())
    }
}

impl Move<'_> {
    /// Every step that is not done, up to the new database's taking appends.
    async fn go(&self, mut step: impl FnMut(MoveStep)) -> Result<(), MoveError> {
        let Self { slice, number, from, to } = *self;
        let held = Tenure { hold: Hold::Held, since: number };
        let mut target = to.turn(slice, Turn::Receive, number).await?;
        if target == held {
            return Ok(());
        }
        if !target.receives(number) {
            // rows of an earlier stay: what happened to them elsewhere meanwhile is not known here
            to.purge(slice, number).await.map_err(|e| self.overtaken(to, target, e))?;
            target = to.turn(slice, Turn::Receive, number).await?;
        }
        if target == held {
            return Ok(());
        }
        self.expect(to, target, target.receives(number))?;

        let left = from.turn(slice, Turn::Leave, number).await?;
        let away = Tenure { hold: Hold::Away, since: number };
        self.expect(from, left, left.hold == Hold::Leaving || left == away)?;
        // until one page has all that there is: what is left to copy while appends wait is less than that
        let mut copied = self.copy_rows(&mut step, 0, true).await?;
        self.copy_snapshots().await?;
        // none comes or goes since the old one knows that it is about to leave
        self.copy_blocks().await?;
        copied = self.copy_rows(&mut step, copied, true).await?;

        let taken = from.turn(slice, Turn::TakeAway, number).await?;
        self.expect(from, taken, taken == away)?;
        step(MoveStep::TakenAway);
        self.copy_rows(&mut step, copied, false).await?;
        self.copy_snapshots().await?;
        let (old, new) = (from.last(slice).await?, to.last(slice).await?);
        // where another mover has finished this move, the old rows may be purged and new ones be there
        if new < old {
            let text = format!("slice {} ends at {old} on `{}` and at {new} on `{}`", slice.0, from.name, to.name);
            return Err(StoreError::Damaged(text).into());
        }
        let missing = self.missing_blocks().await?;
        if let Some(BlockKey { stream, info }) = missing.first() {
            let text =
                format!("block {info} of {stream} was copied from `{}` to `{}`, and is not there", from.name, to.name);
            return Err(StoreError::Damaged(text).into());
        }
        let now = to.turn(slice, Turn::Hold, number).await?;
        self.expect(to, now, now == held)?;
        step(MoveStep::Switched);
        Ok(())
    }

    /// Copies events and outcomes until there are no more, or, `roughly`, until a page is not full.
    async fn copy_rows(
        &self,
        step: &mut impl FnMut(MoveStep),
        mut copied: u64,
        roughly: bool,
    ) -> Result<u64, MoveError> {
        let Self { slice, number, from, to } = *self;
        loop {
            let records = from.source.copy_out(slice, to.last(slice).await?, PAGE).await.map_err(|e| from.says(e))?;
            // one that was cut may be followed by more as well
            let bytes: usize = records.iter().map(Record::bytes).sum();
            let (count, full) = (records.len() as u64, records.len() == PAGE || bytes >= PAGE_BYTES);
            if count > 0 {
                let rows = Rows { records, ..Rows::default() };
                to.source.copy_in(slice, number, rows).await.map_err(|e| to.says(e))?;
                copied += count;
                step(MoveStep::Copied(copied));
            }
            if count == 0 || (roughly && !full) {
                return Ok(copied);
            }
        }
    }

    /// Copies snapshots that the new database does not have; their streams are there.
    async fn copy_snapshots(&self) -> Result<(), MoveError> {
        let Self { slice, number, from, to } = *self;
        let there = to.snapshot_keys(slice).await?;
        let missing: Vec<_> = from.snapshot_keys(slice).await?.difference(&there).cloned().collect();
        for keys in missing.chunks(SNAPSHOTS) {
            let mut snapshots = Vec::new();
            for SnapshotKey { stream, version, .. } in keys {
                let found = from.source.snapshot(stream.clone(), *version).await.map_err(|e| from.says(e))?;
                // dropped meanwhile, perhaps
                snapshots.extend(found.filter(|snapshot| snapshot.version == *version));
            }
            let rows = Rows { snapshots, ..Rows::default() };
            to.source.copy_in(slice, number, rows).await.map_err(|e| to.says(e))?;
        }
        Ok(())
    }

    /// Copies blocks of the archive that the new database does not have; their streams are there.
    async fn copy_blocks(&self) -> Result<(), MoveError> {
        let Self { slice, number, from, to } = *self;
        for keys in self.missing_blocks().await?.chunks(BLOCKS) {
            let mut rows = Rows::default();
            for key in keys {
                let found = from.source.table().get(key.stream.clone(), key.info).await.map_err(|e| from.says(e))?;
                // purged meanwhile, where another mover has finished this move
                rows.blocks.extend(found.map(|bytes| (key.clone(), bytes)));
            }
            to.source.copy_in(slice, number, rows).await.map_err(|e| to.says(e))?;
        }
        Ok(())
    }

    async fn missing_blocks(&self) -> Result<Vec<BlockKey>, StoreError> {
        let wanted = self.from.block_keys(self.slice).await?;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let there = self.to.block_keys(self.slice).await?;
        Ok(wanted.difference(&there).cloned().collect())
    }

    fn expect(&self, member: &Member, found: Tenure, expected: bool) -> Result<(), MoveError> {
        if expected { Ok(()) } else { Err(self.error(member, found)) }
    }

    fn overtaken(&self, member: &Member, found: Tenure, error: StoreError) -> MoveError {
        if matches!(error, StoreError::Moved(_)) { self.error(member, found) } else { error.into() }
    }

    fn error(&self, member: &Member, found: Tenure) -> MoveError {
        MoveError::Overtaken { slice: self.slice, source_name: member.name.clone(), found, number: self.number }
    }
}
