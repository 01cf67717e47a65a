//! What writer and readers have in common: the segments, and the index as far as the log is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::address::Address;
use super::error::{damaged, failed};
use super::files::Files;
use super::hash::Hash;
use super::index::{Changes, Index, State, find_in};
use super::segment::Segments;
use super::unit::{Kept, KeptView, Links, Unit};
use crate::domain::id::{AggregateId, Dedup};
use crate::event_store::encoding::{Names, View};
use crate::event_store::port::{StoreError, StreamId};

/// An open log.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: Arc<FilePath>,
    pub(super) files: Arc<dyn Files>,
    pub(super) segments: Segments,
    pub(super) seed: u64,
    index: RwLock<Index>,
    ids: Mutex<Ids>,
    /// The state of the last checkpoint; whoever writes one holds it.
    saved: Mutex<State>,
    last_run: AtomicU64,
    broken: OnceLock<StoreError>,
}

/// The ids of aggregates with events, in their order: found when they are asked for the first time, and kept up from
/// then on.
#[derive(Debug, Default)]
pub(super) enum Ids {
    #[default]
    Unknown,
    /// While somebody looks for the old ones: the new ones.
    Finding(BTreeMap<Arc<str>, BTreeSet<AggregateId>>),
    Known(BTreeMap<Arc<str>, BTreeSet<AggregateId>>),
}

/// What was found of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Its last record.
    pub(super) at: Address,
    /// Its last event.
    pub(super) event: Address,
    pub(super) version: u64,
}

impl Shared {
    pub(super) fn new(path: Arc<FilePath>, files: Arc<dyn Files>, seed: u64, index: Index) -> Self {
        let segments = Segments::new(Arc::clone(&files), Arc::clone(&path));
        let saved = Mutex::new(index.state.clone());
        let last_run = AtomicU64::new(index.runs.iter().map(|run| run.number).max().unwrap_or(0));
        let (index, ids, broken) = (RwLock::new(index), Mutex::default(), OnceLock::new());
        Self { path, files, segments, seed, index, ids, saved, last_run, broken }
    }

    // nothing panics while one of these locks is held
    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn saved(&self) -> MutexGuard<'_, State> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no run has.
    pub(super) fn next_run(&self) -> u64 {
        self.last_run.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Shows what is durable up to `end` to everybody.
    pub(super) fn publish(&self, changes: &mut Changes, end: Address) {
        let new = std::mem::take(&mut changes.ids);
        self.index_mut().apply(changes, end);
        if !new.is_empty()
            && let Ids::Finding(ids) | Ids::Known(ids) = &mut *self.ids()
        {
            for StreamId { aggregate, id } in new {
                ids.entry(aggregate).or_default().insert(id);
            }
        }
    }

    /// Refuses everything from now on: nobody knows what of the log the disk has.
    pub(super) fn break_for(&self, error: StoreError) {
        // the first reason counts
        let _ = self.broken.set(error);
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.broken.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Where the thing with this hash is.
    pub(super) fn find(&self, hash: Hash) -> Result<Option<Address>, StoreError> {
        let found = self.index().find(hash);
        match found {
            Ok(at) => Ok(Some(at)),
            Err(runs) => find_in(&runs, hash).map_err(|e| self.index_failed(&e)),
        }
    }

    /// The index can't be read.
    pub(super) fn index_failed(&self, error: &std::io::Error) -> StoreError {
        if error.kind() != std::io::ErrorKind::InvalidData {
            return failed(&self.path, "read the index", error);
        }
        let remedy = "stop the service and remove `checkpoint`: the next start makes a new index from the log";
        StoreError::Damaged(format!("`{}`: {error}; {remedy}", self.path.display()))
    }

    /// The end of a stream.
    pub(super) fn head(
        &self,
        stream: &StreamId,
        hash: Hash,
        reading: &mut Reading<'_>,
    ) -> Result<Option<Head>, StoreError> {
        let Some(at) = self.find(hash)? else { return Ok(None) };
        let (links, view) = reading.record(at)?;
        if view.aggregate != &*stream.aggregate || view.id != stream.id.as_str() {
            return Err(self.collision(stream, at));
        }
        let event = if view.event.is_some() { at } else { links.event };
        Ok(Some(Head { at, event, version: links.version }))
    }

    /// What is kept of a stream besides its records.
    pub(super) fn kept(&self, stream: &StreamId, hash: Hash, reading: &mut Reading<'_>) -> Result<Kept, StoreError> {
        self.kept_of((&stream.aggregate, stream.id.as_str()), hash, reading)
    }

    /// What is kept of the stream with this aggregate and id.
    pub(super) fn kept_of(
        &self,
        (aggregate, id): (&str, &str),
        hash: Hash,
        reading: &mut Reading<'_>,
    ) -> Result<Kept, StoreError> {
        let Some(at) = self.find(hash.kept(self.seed))? else { return Ok(Kept::default()) };
        let (kept, view) = reading.kept(at)?;
        if view.aggregate == aggregate && view.id == id {
            return Ok(kept);
        }
        Err(self.collision(format_args!("{aggregate}/{id}"), at))
    }

    /// Where the record of a command is.
    pub(super) fn key(
        &self,
        stream: &StreamId,
        hash: Hash,
        dedup: Dedup,
        reading: &mut Reading<'_>,
    ) -> Result<Option<Address>, StoreError> {
        let Some(at) = self.find(hash.key(self.seed, dedup))? else { return Ok(None) };
        let (_, view) = reading.record(at)?;
        let same = view.aggregate == &*stream.aggregate
            && view.id == stream.id.as_str()
            && view.command.is_some_and(|command| command.dedup == dedup);
        if same { Ok(Some(at)) } else { Err(self.collision(stream, at)) }
    }

    /// Two things have one hash of 126 bits, or the index is not that of this log.
    fn collision(&self, stream: impl std::fmt::Display, at: Address) -> StoreError {
        damaged(&self.path, format_args!("the index has something of {stream} at {at}, where something else is"))
    }
}

/// Reads units one after the other; one that is asked for twice in a row is read once.
#[derive(Debug)]
pub(super) struct Reading<'s> {
    shared: &'s Shared,
    buffer: Vec<u8>,
    /// What is in the buffer, checked, and where in it.
    last: Option<(Address, Range<usize>)>,
    pub(super) names: Names,
}

impl<'s> Reading<'s> {
    pub(super) fn new(shared: &'s Shared) -> Self {
        Self { shared, buffer: Vec::new(), last: None, names: Names::default() }
    }

    fn unit(&mut self, at: Address) -> Result<Unit<'_>, StoreError> {
        let segments = &self.shared.segments;
        let range = match self.last.take() {
            Some((last, range)) if last == at => range,
            _ => {
                let bytes = segments.unit(at, &mut self.buffer)?;
                let (start, length) = (bytes.as_ptr().addr(), bytes.len());
                let start = start - self.buffer.as_ptr().addr();
                start..start + length
            }
        };
        let bytes = self.buffer.get(range.clone()).unwrap_or_default();
        self.last = Some((at, range));
        Unit::read(bytes, at).map_err(|e| segments.spoilt(at, e))
    }

    pub(super) fn record(&mut self, at: Address) -> Result<(Links, View<'_>), StoreError> {
        let shared = self.shared;
        match self.unit(at)? {
            Unit::Record(links, view) => Ok((links, view)),
            _ => Err(shared.segments.spoilt(at, "it is no record")),
        }
    }

    pub(super) fn kept(&mut self, at: Address) -> Result<(Kept, KeptView<'_>), StoreError> {
        let shared = self.shared;
        match self.unit(at)? {
            Unit::Kept(kept, view) => Ok((kept, view)),
            _ => Err(shared.segments.spoilt(at, "it is nothing that is kept of a stream")),
        }
    }

    pub(super) fn refilled(&mut self, at: Address) -> Result<View<'_>, StoreError> {
        let shared = self.shared;
        match self.unit(at)? {
            Unit::Refilled(view) => Ok(view),
            _ => Err(shared.segments.spoilt(at, "it is no event that has its bytes back")),
        }
    }
}
