//! The file: frames, each there as a whole or not at all.
//!
//! ```text
//! magic u32 | length of the entry u32 | length of the bodies u64 | address u64 | durable u64 | checksum u64
//! entry | bodies | zeros up to a multiple of 8
//! ```
//!
//! `durable` is the address up to which the file was known durable when the frame was written: a bad frame below the
//! highest such mark is damage, and one above it was never acknowledged.

use std::io;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::super::error::{damaged, failed};
use super::super::files::{Files, LogFile};
use super::entry::{Bodies, Entry, Place, apply};
use crate::event_store::letters::Book;
use crate::event_store::port::StoreError;

/// The file's name.
pub(super) const NAME: &str = "letters";
/// The name that it has until it is whole.
pub(super) const NEW: &str = "letters.new";
/// The size of a frame's header.
const HEADER: usize = 40;
const MAGIC: u32 = u32::from_le_bytes(*b"PhL\x01");

fn padded(length: u64) -> u64 {
    length.next_multiple_of(8)
}

/// Adds a frame to what is to be written from `start` on.
pub(super) fn frame(out: &mut Vec<u8>, start: u64, durable: u64, entry: &Entry<'_>, bodies: &[&[u8]]) {
    let at = out.len();
    // an entry has nothing in it that can't be written to memory
    let meta = postcard::to_stdvec(entry).unwrap_or_default();
    let length: usize = bodies.iter().map(|body| body.len()).sum();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&u32::try_from(meta.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&(length as u64).to_le_bytes());
    out.extend_from_slice(&(start + at as u64).to_le_bytes());
    out.extend_from_slice(&durable.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&meta);
    for body in bodies {
        out.extend_from_slice(body);
    }
    if let Some((header, body)) = out.get_mut(at..).and_then(|frame| frame.split_at_mut_checked(HEADER)) {
        let checksum = checksum(header, body);
        if let Some(place) = header.get_mut(32..) {
            place.copy_from_slice(&checksum.to_le_bytes());
        }
    }
    out.resize(out.len().next_multiple_of(8), 0);
}

fn checksum(header: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64(header.get(..32).unwrap_or_default()))
}

/// A frame's header.
#[derive(Debug, Clone, Copy)]
struct Header {
    meta: u64,
    bodies: u64,
    at: u64,
    durable: u64,
    checksum: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |from: usize| Some(u64::from_le_bytes(bytes.get(from..from + 8)?.try_into().ok()?));
        let first = number(0)?;
        let magic = MAGIC.to_le_bytes() == *bytes.get(..4)?;
        let header = Self {
            meta: first >> 32,
            bodies: number(8)?,
            at: number(16)?,
            durable: number(24)?,
            checksum: number(32)?,
        };
        magic.then_some(header)
    }

    /// How long the whole frame is.
    fn size(&self) -> Option<u64> {
        Some(padded((HEADER as u64).checked_add(self.meta)?.checked_add(self.bodies)?))
    }
}

/// A whole frame that was read: its entry and bodies, which begin behind `meta` bytes.
struct Frame {
    header: Header,
    bytes: Vec<u8>,
}

impl Frame {
    /// The frame at an address, if there is a whole one that was written there.
    fn read(file: &dyn LogFile, at: u64, length: u64) -> io::Result<Option<Self>> {
        let mut head = [0; HEADER];
        if file.read_at(&mut head, at)? < HEADER {
            return Ok(None);
        }
        let Some(header) = Header::read(&head) else { return Ok(None) };
        let Some(end) = header.size().and_then(|size| at.checked_add(size)) else { return Ok(None) };
        if end > length || header.at != at || header.durable > at {
            return Ok(None);
        }
        // no longer than the file
        let Ok(size) = usize::try_from(header.meta + header.bodies) else { return Ok(None) };
        let mut bytes = vec![0; size];
        let whole = file.read_at(&mut bytes, at + HEADER as u64)? == size && checksum(&head, &bytes) == header.checksum;
        Ok(whole.then_some(Self { header, bytes }))
    }
}

/// What was read of a file.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) file: Arc<dyn LogFile>,
    pub(super) book: Book<Place>,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// Up to where it was known durable.
    pub(super) durable: u64,
}

/// Reads the file; `None` where there is none.
pub(super) fn read(files: &dyn Files, path: &Path, write: bool) -> Result<Option<Contents>, StoreError> {
    let file = match files.open(NAME, write) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "open the file `letters`", &error)),
    };
    let unread = |error: io::Error| failed(path, "read the file `letters`", &error);
    let length = file.length().map_err(unread)?;
    let (mut book, mut end, mut durable) = (Book::default(), 0, 0);
    while let Some(frame) = Frame::read(&*file, end, length).map_err(unread)? {
        let wrong = || unknown(path, end);
        let (entry, bodies) = split(&frame.header, &frame.bytes).ok_or_else(wrong)?;
        if let Entry::Opening { synced, .. } = entry {
            durable = u64::from_le_bytes(synced);
        } else if end == 0 {
            return Err(damaged(path, format_args!("`{NAME}` does not begin as Phoenix writes it")));
        }
        apply(&mut book, &entry, bodies).ok_or_else(wrong)?;
        durable = durable.max(frame.header.durable);
        end += frame.header.size().unwrap_or(0);
    }
    let durable = durable.max(marked_behind(&*file, end, length).map_err(unread)?);
    // what is empty was never given its name
    if durable > end || end == 0 {
        return Err(damaged(path, format_args!("`{NAME}` has no whole frame at {end}, where there was one")));
    }
    Ok(Some(Contents { file, book, end, durable }))
}

fn unknown(path: &Path, at: u64) -> StoreError {
    damaged(path, format_args!("`{NAME}` has an entry at {at} that this program does not know"))
}

fn split<'a>(header: &Header, body: &'a [u8]) -> Option<(Entry<'a>, Bodies<'a>)> {
    let meta = usize::try_from(header.meta).ok()?;
    let (entry, rest) = body.split_at_checked(meta)?;
    Some((postcard::from_bytes(entry).ok()?, Bodies { at: header.at + (HEADER + meta) as u64, rest }))
}

/// Does to a book what these frames say, which were just written from `start` on, and tells what each has changed.
pub(super) fn replay(book: &mut Book<Place>, path: &Path, start: u64, frames: &[u8]) -> Result<Vec<u64>, StoreError> {
    let (mut counts, mut rest) = (Vec::new(), frames);
    while !rest.is_empty() {
        let mut one = || {
            let header = Header::read(rest)?;
            let (frame, behind) = rest.split_at_checked(usize::try_from(header.size()?).ok()?)?;
            rest = behind;
            let body = frame.get(HEADER..HEADER + usize::try_from(header.meta + header.bodies).ok()?)?;
            let (entry, bodies) = split(&header, body)?;
            apply(book, &entry, bodies)
        };
        counts.push(one().ok_or_else(|| unknown(path, start))?);
    }
    Ok(counts)
}

/// What frames behind a bad one say of how far the file was durable.
fn marked_behind(file: &dyn LogFile, from: u64, length: u64) -> io::Result<u64> {
    const PIECE: usize = 1 << 16;
    let (mut at, mut mark, mut piece) = (from, 0, vec![0; PIECE]);
    while at < length {
        let count = file.read_at(&mut piece, at)?;
        if count == 0 {
            break;
        }
        let words = piece.get(..count).unwrap_or_default().chunks(8).zip(0_u64..);
        for (_, number) in words.filter(|(word, _)| word.starts_with(&MAGIC.to_le_bytes())) {
            if let Some(frame) = Frame::read(file, at + number * 8, length)? {
                mark = mark.max(frame.header.durable);
            }
        }
        at += count.next_multiple_of(8) as u64;
    }
    Ok(mark)
}

/// A body, as it was written.
pub(super) fn body(file: &dyn LogFile, path: &Path, place: Place) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; place.length as usize];
    let count = file.read_at(&mut bytes, place.at).map_err(|e| failed(path, "read the file `letters`", &e))?;
    if count == bytes.len() && xxh3_64(&bytes) == place.checksum {
        return Ok(bytes);
    }
    Err(damaged(path, format_args!("the bytes at {} in `{NAME}` are not those that were written", place.at)))
}
