//! From files to an open log: the checkpoint, and what was written after it.
//!
//! A frame says up to where the log was known durable when it was written, and so do the checkpoint and the file
//! `synced`. A bad frame below the highest of these marks is damage, and stops the start; one above it was never
//! acknowledged, and is cut off.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::address::Address;
use super::checkpoint::{self, Checkpoint};
use super::compact::{self, Compact};
use super::error::{damaged, failed};
use super::files::{Files, LogFile};
use super::flush::{flush, merge};
use super::frame::Frame;
use super::index::{Changes, Index, State};
use super::options::LogStoreOptions;
use super::run::{self, Run};
use super::segment::{self, FIRST, Segment, Segments};
use super::shared::{Reading, Shared};
use super::unit::Unit;
use crate::domain::id::Slice;
use crate::event_store::encoding::{Input, Names};
use crate::event_store::port::StoreError;

const END: &str = "synced";

/// Who opens a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Its owner, who cuts and repairs.
    Owner,
    /// Somebody who only looks, perhaps while another process writes.
    Reader,
}

/// Writes down the end of the log, for readers of other processes; not synced, for whatever of it the disk has is true.
pub(super) fn publish_end(file: &dyn LogFile, end: Address) -> io::Result<()> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&end.0.to_le_bytes());
    let checksum = xxh3_64(&bytes[..8]);
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    file.write_at(&bytes, 0)
}

/// Where the log was durable at least, as far as the file `synced` tells.
pub(super) fn published_end(files: &dyn Files) -> Address {
    let read = || {
        let mut bytes = [0; 16];
        let count = files.open(END, false)?.read_at(&mut bytes, 0)?;
        let mut input = Input(bytes.get(..count).unwrap_or_default());
        let (Ok(end), Ok(checksum)) = (input.array::<8>(), input.array()) else { return Ok(Address::NONE) };
        let whole = xxh3_64(&end) == u64::from_le_bytes(checksum);
        Ok::<_, io::Error>(if whole { Address(u64::from_le_bytes(end)) } else { Address::NONE })
    };
    // without it the other marks count
    read().unwrap_or(Address::NONE)
}

/// Opens the file that [`publish_end`] writes to.
pub(super) fn end_file(files: &dyn Files, path: &Path) -> Result<Arc<dyn LogFile>, StoreError> {
    let open = || match files.open(END, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => files.create(END),
        other => other,
    };
    open().map_err(|e| failed(path, "open the file `synced`", &e))
}

/// Opens a log; its owner makes it where there is none.
pub(super) fn open(files: Arc<dyn Files>, options: &LogStoreOptions, role: Role) -> Result<Shared, StoreError> {
    let path: Arc<Path> = options.path.as_path().into();
    // before the segments are listed: an owner may add one meanwhile
    let published = published_end(&*files);
    let segments = Segments::new(Arc::clone(&files), Arc::clone(&path));
    let numbers = segments.numbers()?;
    let Some(first) = numbers.first().copied() else {
        if checkpoint::read(&*files).map_err(|e| failed(&path, "read the checkpoint", &e))?.is_some() {
            return Err(damaged(&path, "it has a checkpoint, but no segment of a log"));
        }
        if role == Role::Reader {
            let what = "there is no log; a service makes it when it starts with this path";
            return Err(StoreError::Unavailable(format!("`{}`: {what}", path.display())));
        }
        let seed = uuid::Uuid::new_v4().as_u64_pair().1;
        segments.make(seed, 1, options.segment_bytes())?;
        let index = Index::new(State::empty(Address::new(1, FIRST)), Vec::new(), options.index_memory);
        return Ok(Shared::new(path, files, seed, index));
    };
    if first != 1 {
        return Err(damaged(&path, format_args!("`{}` is missing", segment::name(1))));
    }
    let seed = segments.seed(first)?;
    let index = saved_index(&*files, &path, seed, options.index_memory)?;
    let from_start = || Index::new(State::empty(Address::new(1, FIRST)), Vec::new(), options.index_memory);
    let index = index.unwrap_or_else(from_start);
    let mark = published.max(index.state.end);
    let shared = Shared::new(path, files, seed, index);
    if role == Role::Owner && !has_newest(&shared)? {
        tracing::warn!(path = %shared.path.display(), "the index is not that of the log; it is made anew from the log");
        *shared.index_mut() = from_start();
    }
    let mut scan = Scan { shared: &shared, role, mark, numbers };
    let end = scan.run()?;
    if role == Role::Owner {
        scan.cut(end, options)?;
        remove_leftovers(&shared)?;
    }
    Ok(shared)
}

/// The index of the checkpoint; `None` if there is none that can be used: then it is made anew.
fn saved_index(files: &dyn Files, path: &Path, seed: u64, bytes: usize) -> Result<Option<Index>, StoreError> {
    let spoilt = |error: io::Error| {
        let is_damage = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound);
        if is_damage {
            tracing::warn!(%error, path = %path.display(), "the index of the log is spoilt; it is made anew from the log");
            return Ok(None);
        }
        Err(failed(path, "read the index", &error))
    };
    let mut before = None;
    loop {
        let Checkpoint { seed: of_index, state, runs: numbers } = match checkpoint::read(files) {
            Ok(Some(saved)) => saved,
            Ok(None) => return Ok(None),
            Err(error) => return spoilt(error),
        };
        if of_index != seed {
            return Err(damaged(path, "its checkpoint belongs to another log"));
        }
        let runs: io::Result<Vec<_>> = numbers.iter().map(|number| Run::open(files, *number).map(Arc::new)).collect();
        match runs {
            Ok(runs) => return Ok(Some(Index::new(state, runs, bytes))),
            // the owner may have merged it into another one meanwhile, and then there is another checkpoint
            Err(error) if error.kind() == io::ErrorKind::NotFound && before.as_ref() != Some(&numbers) => {
                before = Some(numbers);
            }
            Err(error) => return spoilt(error),
        }
    }
}

/// Whether the log has the last record of each slice that the index knows: it may be older than the index, as a whole or
/// in parts.
fn has_newest(shared: &Shared) -> Result<bool, StoreError> {
    let slices = shared.index().state.slices.clone();
    let mut reading = Reading::new(shared);
    for (slice, (last, at)) in (0..).map(Slice).zip(slices).filter(|(_, (last, _))| *last > 0) {
        match reading.record(at) {
            Ok((_, view)) if (view.slice, view.sequence) == (slice, last) => {}
            Ok(_) | Err(StoreError::Damaged(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Removes what an interrupted flush left behind.
fn remove_leftovers(shared: &Shared) -> Result<(), StoreError> {
    let used: BTreeSet<u64> = shared.index().runs.iter().map(|run| run.number).collect();
    let clean = || {
        for name in shared.files.names()? {
            let unused = run::number(&name).is_some_and(|number| !used.contains(&number));
            if unused || name.split_once('.').is_some_and(|(_, rest)| rest == "new" || rest == "log.new") {
                shared.files.remove(&name)?;
            }
        }
        Ok(())
    };
    clean().map_err(|e: io::Error| failed(&shared.path, "remove files that are not used", &e))
}

/// Takes what was written since into the index of a reader, up to where it is durable.
pub(super) fn catch_up(shared: &Shared) -> Result<(), StoreError> {
    let mark = published_end(&*shared.files);
    let end = shared.index().state.end;
    if mark <= end {
        return Ok(());
    }
    // an owner that started meanwhile has removed what its predecessor had not made durable
    // or has written segments anew, whose old files would take up the disk for as long as they are open
    shared.segments.close();
    let numbers = shared.segments.numbers()?;
    Scan { shared, role: Role::Reader, mark, numbers }.run().map(drop)
}

/// Reads frames from the end of the index on.
struct Scan<'a> {
    shared: &'a Shared,
    role: Role,
    /// The log is durable at least up to here.
    mark: Address,
    numbers: Vec<u32>,
}

/// Where the log ends.
#[derive(Debug, Clone, Copy)]
struct End {
    at: Address,
    /// Whether nothing was written behind it.
    clean: bool,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<End, StoreError> {
        let mut names = Names::default();
        let mut at = self.shared.index().state.end;
        let last = self.numbers.last().copied().unwrap_or(0);
        loop {
            if at.segment() > last {
                return Err(damaged(&self.shared.path, format_args!("`{}` is missing", segment::name(at.segment()))));
            }
            if self.shared.segments.seed(at.segment())? != self.shared.seed {
                let what = "it belongs to another log";
                return Err(damaged(&self.shared.segments.path_of(at.segment()), what));
            }
            let segment = self.shared.segments.get(at.segment())?;
            if let Some(compact) = &segment.compact {
                at = self.compact(at, &segment, compact, &mut names)?;
                match self.next_segment(at)? {
                    Some(next) => at = next,
                    // it was written anew after the segments were listed
                    None if self.role == Role::Reader && at >= self.mark => return Ok(End { at, clean: true }),
                    None if at.segment() == last => at = Address::new(last + 1, FIRST),
                    None => {
                        let what = "the log went on in it, and its start can't be read";
                        return Err(damaged(&self.shared.segments.path_of(at.segment() + 1), what));
                    }
                }
                continue;
            }
            let whole = self.role == Role::Owner || self.mark.segment() != at.segment();
            let end = if whole { u64::MAX } else { self.mark.offset() };
            let bytes = self.shared.segments.rest(at.segment(), at.offset(), end)?;
            let (found, rest) = self.segment(at, &bytes, &mut names)?;
            at = found;
            if let Some(next) = self.next_segment(at)? {
                at = next;
                continue;
            }
            // those who only read have nothing to do with what comes behind the mark
            let reads_on = self.role == Role::Reader && at >= self.mark;
            let later = if reads_on { Address::NONE } else { self.marks_behind(at, rest)? };
            if at < self.mark.max(later) {
                let what = format!(
                    "the log is damaged at byte {}, and was durable at least up to {}",
                    at.offset(),
                    self.mark.max(later)
                );
                return Err(damaged(&self.shared.segments.path_of(at.segment()), what));
            }
            return Ok(End { at, clean: rest.iter().all(|byte| *byte == 0) });
        }
    }

    /// Takes in the frames of a segment that begin at `at`; says where they end, and what follows.
    fn segment<'b>(
        &mut self,
        mut at: Address,
        bytes: &'b [u8],
        names: &mut Names,
    ) -> Result<(Address, &'b [u8]), StoreError> {
        let mut changes = Changes::default();
        let mut rest = bytes;
        while let Some(frame) = Frame::read(rest, at) {
            // what is not known to be durable is nothing for those who only read
            if self.role == Role::Reader && at >= self.mark {
                break;
            }
            for unit in frame.units() {
                let read = unit.and_then(|(at, bytes)| Ok((at, Unit::read(bytes, at)?)));
                let noted = read.and_then(|(at, unit)| changes.unit(self.shared.seed, &unit, at, names));
                noted.map_err(|e| self.shared.segments.spoilt(at, e))?;
            }
            at = at.plus(frame.size);
            rest = rest.get(frame.size..).unwrap_or_default();
            self.mark = self.mark.max(frame.durable);
            self.shared.publish(&mut changes, at);
            if self.role == Role::Owner && self.shared.index().is_full(1) {
                self.flush()?;
            }
        }
        Ok((at, rest))
    }

    /// Takes in the units of a segment that was written anew, from `start` on; says where it ended.
    fn compact(
        &mut self,
        start: Address,
        segment: &Segment,
        compact: &Compact,
        names: &mut Names,
    ) -> Result<Address, StoreError> {
        let (mut changes, mut block, mut count) = (Changes::default(), Vec::new(), 0);
        for place in compact.blocks() {
            self.shared.segments.block(segment, start.segment(), place, &mut block)?;
            for unit in compact::units(&block, start.segment()) {
                count += 1;
                let noted = unit.and_then(|(at, bytes)| {
                    // what is before the start is in the index already
                    if at < start { Ok(()) } else { changes.unit(self.shared.seed, &Unit::read(bytes, at)?, at, names) }
                });
                let place = Address(start.0 - start.offset() + place.0);
                noted.map_err(|e| self.shared.segments.spoilt(place, e))?;
            }
        }
        if count != compact.units || start > compact.end {
            let path = self.shared.segments.path_of(start.segment());
            return Err(damaged(&path, format_args!("it has {count} records, and should have {}", compact.units)));
        }
        self.mark = self.mark.max(compact.end);
        self.shared.publish(&mut changes, compact.end);
        if self.role == Role::Owner && self.shared.index().is_full(1) {
            self.flush()?;
        }
        Ok(compact.end)
    }

    fn flush(&self) -> Result<(), StoreError> {
        // the checkpoint says that the log is durable, and what the last owner wrote it perhaps did not sync
        let segment = self.shared.index().state.end.segment();
        let synced = self.shared.segments.writable(segment)?.sync();
        synced.map_err(|e| failed(&self.shared.segments.path_of(segment), "sync it", &e))?;
        let frozen = self.shared.index_mut().freeze();
        let flushed = frozen.map_or(Ok(()), |frozen| flush(self.shared, &frozen).and_then(|()| merge(self.shared)));
        flushed.map_err(|e| failed(&self.shared.path, "write the index", &e))
    }

    /// The start of the next segment, if the log goes on there: its first frame knows where this one ended.
    fn next_segment(&self, end: Address) -> Result<Option<Address>, StoreError> {
        let number = end.segment() + 1;
        if !self.numbers.contains(&number) {
            return Ok(None);
        }
        let before = self.shared.segments.ended_before(number)?;
        Ok((before == Some(end)).then(|| Address::new(number, FIRST)))
    }

    /// The highest mark of the frames that lie behind the end of what can be read.
    fn marks_behind(&self, end: Address, rest: &[u8]) -> Result<Address, StoreError> {
        let mut highest = marks(rest, end);
        for number in self.numbers.iter().filter(|number| **number > end.segment()) {
            let at = Address::new(*number, FIRST);
            if let Some(compact) = &self.shared.segments.get(*number)?.compact {
                highest = highest.max(compact.end);
                continue;
            }
            highest = highest.max(marks(&self.shared.segments.rest(*number, at.offset(), u64::MAX)?, at));
        }
        Ok(highest)
    }

    /// Makes the log end there: what lies behind it was never acknowledged, and must never be found again.
    fn cut(&self, End { at, clean }: End, options: &LogStoreOptions) -> Result<(), StoreError> {
        // the last one first, so that there is no gap when this is interrupted
        for number in self.numbers.iter().rev().take_while(|number| **number > at.segment()) {
            self.shared.segments.remove(*number)?;
        }
        let path = self.shared.segments.path_of(at.segment());
        let file = self.shared.segments.writable(at.segment())?;
        let cut = || {
            if !clean {
                file.cut(at.offset())?;
            }
            let size = options.segment_bytes().max(at.offset());
            if !clean || file.length()? < size {
                file.reserve(size)?;
            }
            // what the last owner wrote and did not sync counts from here on
            file.sync()?;
            self.shared.files.sync()
        };
        cut().map_err(|e: io::Error| failed(&path, "cut and sync it", &e))?;
        if !clean {
            let (file, at) = (path.display(), at.offset());
            tracing::warn!(%file, at, "the log ended in the middle of a write, which was never acknowledged; it is cut");
        }
        Ok(())
    }
}

/// The highest mark of whole frames anywhere in these bytes.
fn marks(bytes: &[u8], at: Address) -> Address {
    let mut highest = Address::NONE;
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        offset += match Frame::read(rest, at.plus(offset)) {
            Some(frame) => {
                highest = highest.max(frame.durable);
                frame.size
            }
            None => 8,
        };
    }
    highest
}
