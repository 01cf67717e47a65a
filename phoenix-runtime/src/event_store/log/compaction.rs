//! Gives the disk back what was stripped, and what replaced snapshots took: segments that have much of it are written
//! anew, in the background, and never the one that is written to.
//!
//! The new file has another name until it is whole and durable; so a crash leaves the old one or the new one. Every
//! unit stays at its address, if only without its bytes, so links and index need no change, and whoever still has an
//! older state of the index finds what it looks for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::address::Address;
use super::compact::{Rewriting, units};
use super::error::{damaged, failed};
use super::hash::Hash;
use super::options::LogStoreOptions;
use super::segment::{FIRST, name};
use super::shared::{Reading, Shared};
use super::unit::{Kept, KeptView, Unit, put_refilled};
use crate::event_store::encoding::{CommandView, EventView, View};
use crate::event_store::port::{ARCHIVED, StoreError};

/// Of how many streams it is remembered what is kept of them.
const STREAMS: usize = 100_000;

/// How long nobody looks after somebody has looked.
const REST: Duration = Duration::from_millis(500);
/// The same where something was in the way, a full disk for example.
const LONG_REST: Duration = Duration::from_secs(30);

/// What the thread is asked for.
pub(super) enum Work {
    /// To see whether something has become worth it.
    Look,
    /// To write anew at once what has more than so many percent to give back, and to say how many bytes that were.
    Now(u8, oneshot::Sender<Result<u64, StoreError>>),
}

/// Whoever compacts does nothing else; it ends when nobody can ask it any more.
pub(super) struct Compaction {
    shared: Arc<Shared>,
    work: Receiver<Work>,
    /// What was asked for meanwhile.
    later: Vec<Work>,
    above: u8,
    rate: u64,
    /// Those that are damaged; they are left alone.
    damaged: BTreeSet<u32>,
}

/// How fast it may be.
#[derive(Debug)]
struct Pace {
    start: Instant,
    rate: u64,
    bytes: u64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { start: Instant::now(), rate, bytes: 0 }
    }

    /// How long to wait after so many bytes more.
    fn wait(&mut self, bytes: u64) -> Duration {
        self.bytes = self.bytes.saturating_add(bytes);
        let micros = self.bytes.saturating_mul(1_000_000) / self.rate.max(1);
        Duration::from_micros(micros).saturating_sub(self.start.elapsed())
    }
}

impl Compaction {
    /// Starts the thread.
    pub(super) fn start(
        shared: &Arc<Shared>,
        options: &LogStoreOptions,
    ) -> Result<(Sender<Work>, JoinHandle<()>), StoreError> {
        let (sender, work) = channel();
        let compaction = Self {
            shared: Arc::clone(shared),
            work,
            later: Vec::new(),
            above: options.compact_above,
            rate: options.compact_rate as u64,
            damaged: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new().name("phoenix-compact".to_owned()).spawn(move || compaction.run());
        Ok((sender, thread.map_err(|e| failed(&options.path, "start the thread that compacts", &e))?))
    }

    fn run(mut self) {
        while let Some(work) = self.later.pop().or_else(|| self.work.recv().ok()) {
            match work {
                Work::Look => {
                    // what failed was told
                    let done = self.compact(self.above, self.rate);
                    self.rest(if done.is_ok() { REST } else { LONG_REST });
                }
                Work::Now(above, reply) => drop(reply.send(self.compact(above, u64::MAX))),
            }
        }
    }

    /// Writes anew what is worth it, each segment once; one that fails keeps no other from it.
    fn compact(&mut self, above: u8, rate: u64) -> Result<u64, StoreError> {
        let (mut pace, mut given_back) = (Pace::new(rate), 0);
        let (mut tried, mut first) = (self.damaged.clone(), None);
        while let Some((number, freed)) = self.shared.check().map(|()| self.candidate(above, &tried))? {
            tried.insert(number);
            match self.rewrite(number, &mut pace) {
                Ok(ControlFlow::Continue(bytes)) => {
                    given_back += bytes;
                    let mut index = self.shared.index_mut();
                    let left = index.state.freed.remove(&number).unwrap_or(0).saturating_sub(freed);
                    if left > 0 {
                        // it came while the segment was written
                        index.state.freed.insert(number, left);
                    }
                    drop(index);
                    tracing::debug!(number, bytes, "a segment of the log was written anew");
                }
                Ok(ControlFlow::Break(())) => break,
                Err(error) => {
                    if matches!(error, StoreError::Damaged(_)) {
                        tracing::error!(%error, number, "a segment of the log stays as large as it is");
                        self.damaged.insert(number);
                    } else {
                        tracing::warn!(%error, number, "a segment of the log stays as large as it is until a later try");
                    }
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(given_back), Err)
    }

    /// A segment that is worth it and was not tried, and what it has to give back.
    fn candidate(&self, above: u8, tried: &BTreeSet<u32>) -> Option<(u32, u64)> {
        let (freed, end) = {
            let index = self.shared.index();
            (index.state.freed.clone(), index.state.end)
        };
        let worth_it = |number: u32, freed: u64| match self.length(number) {
            Ok(length) => u128::from(freed) * 100 >= u128::from(length) * u128::from(above),
            // whoever writes it anew says what is wrong with it
            Err(_) => true,
        };
        // a frame behind it is durable, so the log never goes on in it
        let mut sealed = freed.range(..end.segment()).map(|(number, freed)| (*number, *freed));
        sealed.find(|(number, freed)| !tried.contains(number) && worth_it(*number, *freed))
    }

    fn length(&self, number: u32) -> Result<u64, StoreError> {
        let length = self.shared.segments.get(number)?.file.length();
        length.map_err(|e| failed(&self.shared.segments.path_of(number), "read its length", &e))
    }

    fn keep(&mut self, work: Work) {
        // one look is as good as many
        let again = matches!(work, Work::Look) && self.later.iter().any(|other| matches!(other, Work::Look));
        if !again {
            self.later.push(work);
        }
    }

    /// Does not look for so long, whatever changes.
    fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(work) = self.work.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let at_once = matches!(work, Work::Now(..));
            self.keep(work);
            if at_once {
                break;
            }
        }
    }

    /// Waits as the pace says; breaks off when the store is closed.
    fn pause(&mut self, wait: Duration) -> ControlFlow<()> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let asked = if left.is_zero() {
                self.work.try_recv().map_err(|e| e == TryRecvError::Disconnected)
            } else {
                self.work.recv_timeout(left).map_err(|e| e == RecvTimeoutError::Disconnected)
            };
            match asked {
                Ok(work) => self.keep(work),
                Err(true) => return ControlFlow::Break(()),
                Err(false) => return ControlFlow::Continue(()),
            }
        }
    }

    /// Writes a segment anew, and says how many bytes the disk has back.
    fn rewrite(&mut self, number: u32, pace: &mut Pace) -> Result<ControlFlow<(), u64>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let path = shared.segments.path_of(number);
        let io = |e: io::Error| failed(&path, "write it anew", &e);
        let length = self.length(number)?;
        let temporary = format!("{}.new", name(number));
        let file = shared.files.create(&temporary).map_err(io)?;
        let copied = self.copy(number, Rewriting::new(&*file), pace);
        let new = match copied {
            Ok(ControlFlow::Continue(new)) if new < length => new,
            other => {
                // another start removes it if this fails
                let _ = shared.files.remove(&temporary);
                return other.map(|flow| flow.map_continue(|_| 0));
            }
        };
        shared.segments.replace(number, &temporary).map_err(io)?;
        Ok(ControlFlow::Continue(length - new))
    }

    /// Copies what is needed of a segment, and says how long the copy is.
    fn copy(
        &mut self,
        number: u32,
        mut to: Rewriting<'_>,
        pace: &mut Pace,
    ) -> Result<ControlFlow<(), u64>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let segments = &shared.segments;
        let path = segments.path_of(number);
        let io = |e: io::Error| failed(&path, "write it anew", &e);
        let mut needed = Needed::new(&shared);
        let (segment, mut buffer) = (segments.get(number)?, Vec::new());
        let (before, end);
        if let Some(compact) = &segment.compact {
            let mut count = 0;
            for place in compact.blocks() {
                segments.block(&segment, number, place, &mut buffer)?;
                for unit in units(&buffer, number) {
                    let (at, bytes) = unit.map_err(|e| damaged(&path, e))?;
                    needed.copy(at, bytes, &mut to)?.map_err(io)?;
                    count += 1;
                }
                if self.pause(pace.wait(place.1 as u64)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if count != compact.units {
                return Err(damaged(&path, format_args!("it has {count} records, and should have {}", compact.units)));
            }
            (before, end) = (compact.before, compact.end);
        } else {
            let mut at = Address::new(number, FIRST);
            before = segments.ended_before(number)?.ok_or_else(|| damaged(&path, "its start can't be read"))?;
            while let Some(frame) = segments.frame(at, &mut buffer)? {
                for unit in frame.units() {
                    let (at, bytes) = unit.map_err(|e| segments.spoilt(at, e))?;
                    needed.copy(at, bytes, &mut to)?.map_err(io)?;
                }
                at = at.plus(frame.size);
                if self.pause(pace.wait(frame.size as u64)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            end = at;
        }
        if segments.ended_before(number + 1)? != Some(end) {
            return Err(damaged(
                &path,
                format_args!("it can be read up to byte {}, and did not end there", end.offset()),
            ));
        }
        to.finish(shared.seed, before, end).map(ControlFlow::Continue).map_err(io)
    }
}

/// Knows what is still needed of units.
struct Needed<'s> {
    shared: &'s Shared,
    reading: Reading<'s>,
    kept: BTreeMap<Hash, Kept>,
    bytes: Vec<u8>,
}

impl<'s> Needed<'s> {
    fn new(shared: &'s Shared) -> Self {
        Self { shared, reading: Reading::new(shared), kept: BTreeMap::new(), bytes: Vec::new() }
    }

    /// Copies a unit, without its bytes where nothing will ask for them again: what is kept of a stream may have
    /// changed since it was read, but what was stripped, replaced or dropped once never comes back.
    fn copy(&mut self, at: Address, bytes: &[u8], to: &mut Rewriting<'_>) -> Result<io::Result<()>, StoreError> {
        let unit = Unit::read(bytes, at).map_err(|e| self.shared.segments.spoilt(at, e))?;
        self.bytes.clear();
        match unit {
            Unit::Record(links, view) => {
                if let Some(event) = &view.event
                    && self.kept(&view)?.stripped(event.version).is_some()
                {
                    links.write(&stripped(view), &mut self.bytes, at);
                }
            }
            Unit::Kept(kept, view) => {
                let stream = Hash::stream(self.shared.seed, view.aggregate, view.id);
                let wanted = !view.payload.is_empty() && self.of(stream, view.aggregate, view.id)?.has_snapshot_at(at);
                if !wanted {
                    kept.write(&KeptView { payload: &[], ..view }, &mut self.bytes, at);
                }
            }
            Unit::Refilled(view) => {
                let version = view.event.map_or(0, |event| event.version);
                let hash = Hash::stream(self.shared.seed, view.aggregate, view.id).refilled(self.shared.seed, version);
                let again = self.kept(&view)?.stripped(version).is_some_and(|stripped| stripped > at);
                if again || self.shared.find(hash)? != Some(at) {
                    put_refilled(&stripped(view), &mut self.bytes);
                }
            }
            Unit::Epochs(_) | Unit::Freed(_) | Unit::Dealt(_) => {}
        }
        Ok(to.unit(at, if self.bytes.is_empty() { bytes } else { &self.bytes }))
    }

    fn kept(&mut self, view: &View<'_>) -> Result<&Kept, StoreError> {
        self.of(Hash::stream(self.shared.seed, view.aggregate, view.id), view.aggregate, view.id)
    }

    /// What is kept of a stream.
    fn of(&mut self, hash: Hash, aggregate: &str, id: &str) -> Result<&Kept, StoreError> {
        if self.kept.len() >= STREAMS && !self.kept.contains_key(&hash) {
            self.kept.clear();
        }
        match self.kept.entry(hash) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(room) => {
                Ok(room.insert(self.shared.kept_of((aggregate, id), hash, &mut self.reading)?))
            }
        }
    }
}

/// The record as stripping leaves it.
fn stripped(view: View<'_>) -> View<'_> {
    View {
        event: view.event.map(|event| EventView { codec: ARCHIVED, payload: &[], ..event }),
        command: view.command.map(|command| CommandView { codec: ARCHIVED, body: &[], ..command }),
        ..view
    }
}
