//! The files that the log consists of. One that was written anew has a form of its own, see [`Compact`].
//!
//! A segment begins with a header of 64 bytes: `"PHXLOG" 0 1 | seed u64 | number u64 | checksum u64 | zeros`. Frames
//! follow one another; behind the last one there are zeros.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::address::Address;
use super::compact::{COMPACT, Compact, unit_in};
use super::error::{damaged, failed};
use super::files::{Files, LogFile};
use super::frame::{Frame, HEADER, UNIT, unit, unit_length};
use crate::event_store::encoding::Input;
use crate::event_store::port::StoreError;

/// How a segment begins; the last byte is its form.
pub(super) const FORM: [u8; 8] = *b"PHXLOG\0\x01";
/// Where the first frame of a segment is.
pub(super) const FIRST: u32 = 64;
/// How many files are open at once.
const OPEN: usize = 256;
/// How much is read before the length of a unit is known: most are shorter.
const GUESS: usize = 1024;

/// The segments of one log.
#[derive(Debug)]
pub(super) struct Segments {
    files: Arc<dyn Files>,
    path: Arc<Path>,
    open: Mutex<BTreeMap<u32, Arc<Segment>>>,
}

/// A file that is open for reading.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn LogFile>,
    /// Where things are in it, if it was written anew.
    pub(super) compact: Option<Compact>,
}

pub(super) fn name(number: u32) -> String {
    format!("{number:08}.log")
}

/// The number of a segment from the name of its file.
pub(super) fn number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".log").filter(|digits| digits.len() == 8)?;
    number.parse().ok().filter(|number| *number > 0)
}

impl Segments {
    pub(super) fn new(files: Arc<dyn Files>, path: Arc<Path>) -> Self {
        Self { files, path, open: Mutex::default() }
    }

    /// Their numbers, which have no gap.
    pub(super) fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        let names = self.files.names().map_err(|e| failed(&self.path, "list the folder", &e))?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            if let [one, next] = pair
                && one + 1 != *next
            {
                return Err(damaged(&self.path, format_args!("`{}` is missing", name(one + 1))));
            }
        }
        Ok(numbers)
    }

    pub(super) fn path_of(&self, number: u32) -> PathBuf {
        self.path.join(name(number))
    }

    pub(super) fn get(&self, number: u32) -> Result<Arc<Segment>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = open.get(&number) {
            return Ok(Arc::clone(segment));
        }
        let file = self.files.open(&name(number), false).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => damaged(&self.path, format_args!("`{}` is missing", name(number))),
            _ => failed(&self.path_of(number), "open it", &e),
        })?;
        let mut start = [0; FIRST as usize];
        let mut read = || match file.read_at(&mut start, 0)? {
            _ if start.starts_with(&FORM[..7]) && start[7] == COMPACT => {
                Compact::open(&*file, &start, number).map(|compact| compact.map(Some))
            }
            _ => Ok(Ok(None)),
        };
        let compact = read().map_err(|e: io::Error| failed(&self.path_of(number), "read its header", &e))?;
        let compact = compact.map_err(|what| damaged(&self.path_of(number), what))?;
        if open.len() >= OPEN {
            open.pop_first();
        }
        let segment = Arc::new(Segment { file, compact });
        open.insert(number, Arc::clone(&segment));
        Ok(segment)
    }

    /// Closes all files: another process may have removed them, or made new ones of their names.
    pub(super) fn close(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Puts a file of a temporary name, which is durable, into the place of a segment.
    pub(super) fn replace(&self, number: u32, temporary: &str) -> io::Result<()> {
        self.files.rename(temporary, &name(number))?;
        // whoever still reads the old file has it open
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.files.sync()
    }

    /// Makes a segment of at least this size, durably.
    pub(super) fn make(&self, seed: u64, number: u32, size: u64) -> Result<Arc<dyn LogFile>, StoreError> {
        let path = self.path_of(number);
        let made = || {
            let temporary = format!("{}.new", name(number));
            let file = self.files.create(&temporary)?;
            file.reserve(size)?;
            file.write_at(&header(seed, number), 0)?;
            file.sync()?;
            self.files.rename(&temporary, &name(number))?;
            self.files.sync()?;
            Ok(file)
        };
        made().map_err(|e: io::Error| failed(&path, format_args!("make a segment of {size} bytes"), &e))
    }

    /// The seed of the store that a segment belongs to.
    pub(super) fn seed(&self, number: u32) -> Result<u64, StoreError> {
        let segment = self.get(number)?;
        if let Some(compact) = &segment.compact {
            return Ok(compact.seed);
        }
        let mut bytes = [0; FIRST as usize];
        let path = self.path_of(number);
        segment.file.read_at(&mut bytes, 0).map_err(|e| failed(&path, "read its header", &e))?;
        let seed = u64::from_le_bytes(Input(&bytes[8..]).array().unwrap_or_default());
        if bytes == header(seed, number) {
            return Ok(seed);
        }
        if bytes.starts_with(&FORM[..7]) && bytes[7] != FORM[7] {
            let found = bytes[7];
            let what = format!("it has the form {found}, and this program knows forms {} and {COMPACT}", FORM[7]);
            return Err(StoreError::Damaged(format!("`{}`: {what}; run the newer release", path.display())));
        }
        Err(damaged(&path, "it does not begin as a segment of a log does"))
    }

    /// Everything of a segment that was not written anew, from one offset on, at most up to another.
    pub(super) fn rest(&self, number: u32, offset: u64, end: u64) -> Result<Vec<u8>, StoreError> {
        let segment = self.get(number)?;
        let file = &segment.file;
        let read = || {
            let length = usize::try_from(file.length()?.min(end).saturating_sub(offset)).map_err(io::Error::other)?;
            let mut bytes = vec![0; length];
            let count = file.read_at(&mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        read().map_err(|e: io::Error| failed(&self.path_of(number), "read it", &e))
    }

    /// The bytes of a unit, read into `buffer` and checked.
    pub(super) fn unit<'a>(&self, at: Address, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], StoreError> {
        let segment = self.get(at.segment())?;
        let file = &segment.file;
        let unreadable = |e: io::Error| failed(&self.path_of(at.segment()), format_args!("read {at}"), &e);
        if let Some(compact) = &segment.compact {
            let place = compact.block_of(at).ok_or_else(|| self.spoilt(at, "it is not in the file"))?;
            self.block(&segment, at.segment(), place, buffer)?;
            return unit_in(buffer, at).map_err(|e| self.spoilt(at, e));
        }
        buffer.resize(GUESS.max(buffer.capacity().min(2 * GUESS)), 0);
        let mut count = file.read_at(buffer, at.offset()).map_err(unreadable)?;
        let length = buffer.get(..count).map_or(Ok(0), unit_length).map_err(|e| self.spoilt(at, e))? + UNIT;
        if length > count {
            // nothing is believed that goes beyond the file
            let there = file.length().map_err(unreadable)?.saturating_sub(at.offset());
            if length as u64 > there {
                return Err(self.spoilt(at, "it goes beyond the end of the file"));
            }
            buffer.resize(length, 0);
            count = file.read_at(buffer, at.offset()).map_err(unreadable)?;
        }
        unit(buffer.get(..count).unwrap_or_default(), at).map_err(|e| self.spoilt(at, e))
    }

    /// Reads a block of a segment that was written anew into `buffer`.
    pub(super) fn block(
        &self,
        segment: &Segment,
        number: u32,
        (place, length): (u64, usize),
        buffer: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        buffer.resize(length, 0);
        let count = segment.file.read_at(buffer, place);
        let count = count.map_err(|e| failed(&self.path_of(number), format_args!("read byte {place}"), &e))?;
        buffer.truncate(count);
        Ok(())
    }

    /// The frame at this address of a segment that was not written anew, read into `buffer`; `None` if there is no whole
    /// one.
    pub(super) fn frame<'b>(&self, at: Address, buffer: &'b mut Vec<u8>) -> Result<Option<Frame<'b>>, StoreError> {
        let segment = self.get(at.segment())?;
        let mut read = |length: usize| {
            buffer.resize(length, 0);
            let count = segment.file.read_at(buffer, at.offset())?;
            buffer.truncate(count);
            Ok::<_, io::Error>(Frame::size_of(buffer).zip(segment.file.length()?.checked_sub(at.offset())))
        };
        let unreadable = |e: io::Error| failed(&self.path_of(at.segment()), format_args!("read {at}"), &e);
        // nothing is believed that goes beyond the file
        match read(HEADER).map_err(unreadable)?.filter(|(size, there)| *size as u64 <= *there) {
            None => return Ok(None),
            Some((size, _)) => drop(read(size).map_err(unreadable)?),
        }
        Ok(Frame::read(buffer, at))
    }

    /// Where a segment says that the one before it ended; `None` if its first frame is not there.
    pub(super) fn ended_before(&self, number: u32) -> Result<Option<Address>, StoreError> {
        if let Some(compact) = &self.get(number)?.compact {
            return Ok(Some(compact.before));
        }
        Ok(self.frame(Address::new(number, FIRST), &mut Vec::new())?.map(|frame| frame.durable))
    }

    /// The unit at this address is not what was written there.
    pub(super) fn spoilt(&self, at: Address, what: impl std::fmt::Display) -> StoreError {
        damaged(&self.path_of(at.segment()), format_args!("the record at byte {} is spoilt: {what}", at.offset()))
    }

    /// Removes a segment with which nothing is lost.
    pub(super) fn remove(&self, number: u32) -> Result<(), StoreError> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.files.remove(&name(number)).map_err(|e| failed(&self.path_of(number), "remove it", &e))
    }

    /// Opens a segment to append to it.
    pub(super) fn writable(&self, number: u32) -> Result<Arc<dyn LogFile>, StoreError> {
        self.files.open(&name(number), true).map_err(|e| failed(&self.path_of(number), "open it for writing", &e))
    }
}

fn header(seed: u64, number: u32) -> [u8; FIRST as usize] {
    let mut bytes = [0; FIRST as usize];
    bytes[..8].copy_from_slice(&FORM);
    bytes[8..16].copy_from_slice(&seed.to_le_bytes());
    bytes[16..24].copy_from_slice(&u64::from(number).to_le_bytes());
    let checksum = xxh3_64(&bytes[..24]);
    bytes[24..32].copy_from_slice(&checksum.to_le_bytes());
    bytes
}
