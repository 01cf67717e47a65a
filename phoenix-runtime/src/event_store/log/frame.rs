//! A frame: what is written at once, and is there as a whole or not at all.
//!
//! ```text
//! magic u32 | length of the body u32 | address u64 | durable u64 | checksum u64 | body | zeros up to a multiple of 8
//! unit, one or more in a body: length u32 | checksum u64 | bytes
//! ```
//!
//! `durable` is the address up to which the log was known durable when the frame was written. The checksums are
//! `xxh3_64`: that of a frame covers its header and its body, that of a unit its bytes, and its address as the seed, so
//! that a unit can be read alone, and is no other one.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::address::Address;
use crate::event_store::encoding::{Input, Malformed};

const MAGIC: u32 = u32::from_le_bytes(*b"Phx\x01");
/// The size of a frame's header.
pub(super) const HEADER: usize = 32;
/// The size of what stands before a unit's bytes.
pub(super) const UNIT: usize = 12;
/// The largest body.
pub(super) const LARGEST: usize = 1 << 30;

/// A whole frame that was read.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) at: Address,
    pub(super) durable: Address,
    body: &'a [u8],
    /// Header, body and zeros.
    pub(super) size: usize,
}

impl<'a> Frame<'a> {
    /// The frame at the start of these bytes, if there is a whole one that was written to this address.
    pub(super) fn read(bytes: &'a [u8], at: Address) -> Option<Self> {
        let mut input = Input(bytes);
        if input.array().ok()? != MAGIC.to_le_bytes() {
            return None;
        }
        let length = u32::from_le_bytes(input.array().ok()?) as usize;
        let address = Address(u64::from_le_bytes(input.array().ok()?));
        let durable = Address(u64::from_le_bytes(input.array().ok()?));
        let checksum = u64::from_le_bytes(input.array().ok()?);
        let body = input.take(length).ok()?;
        let whole = address == at && durable <= at && checksum == frame_checksum(bytes.get(..24)?, body);
        whole.then_some(Self { at, durable, body, size: size(length) })
    }

    /// The size of the frame that has this header, if it is one.
    pub(super) fn size_of(header: &[u8]) -> Option<usize> {
        let mut input = Input(header);
        let magic = input.array().ok()?;
        let length = u32::from_le_bytes(input.array().ok()?) as usize;
        (magic == MAGIC.to_le_bytes()).then_some(size(length))
    }

    /// The units with their addresses.
    pub(super) fn units(&self) -> Units<'a> {
        Units { at: self.at.plus(HEADER), rest: Input(self.body) }
    }
}

fn frame_checksum(header: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64(header))
}

fn size(length: usize) -> usize {
    (HEADER + length).next_multiple_of(8)
}

/// The units of a frame.
pub(super) struct Units<'a> {
    at: Address,
    rest: Input<'a>,
}

impl<'a> Iterator for Units<'a> {
    type Item = Result<(Address, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.0.is_empty() {
            return None;
        }
        let at = self.at;
        let unit = unit(self.rest.0, at);
        match unit {
            Ok(bytes) => {
                self.at = at.plus(UNIT + bytes.len());
                // it is there: it was just read
                self.rest = Input(self.rest.0.get(UNIT + bytes.len()..).unwrap_or_default());
            }
            Err(_) => self.rest = Input(&[]),
        }
        Some(unit.map(|bytes| (at, bytes)))
    }
}

/// The length of the unit's bytes, from its first ones.
pub(super) fn unit_length(bytes: &[u8]) -> Result<usize, Malformed> {
    Ok(u32::from_le_bytes(Input(bytes).array()?) as usize)
}

/// The checksum of a unit that is written to this address.
pub(super) fn unit_checksum(bytes: &[u8], at: Address) -> u64 {
    xxh3_64_with_seed(bytes, at.0)
}

/// The unit at the start of these bytes, which was written to this address.
pub(super) fn unit(bytes: &[u8], at: Address) -> Result<&[u8], Malformed> {
    let mut input = Input(bytes);
    let length = u32::from_le_bytes(input.array()?) as usize;
    let checksum = u64::from_le_bytes(input.array()?);
    let unit = input.take(length)?;
    if unit_checksum(unit, at) == checksum { Ok(unit) } else { Err(Malformed::Part("checksum")) }
}

/// Frames that are being put together, to be written at once.
#[derive(Debug)]
pub(super) struct Draft {
    /// Where the first byte will be.
    start: Address,
    bytes: Vec<u8>,
    frame: usize,
}

impl Draft {
    pub(super) fn new(start: Address) -> Self {
        Self { start, bytes: Vec::new(), frame: 0 }
    }

    pub(super) fn restart(&mut self, start: Address) {
        self.start = start;
        self.bytes.clear();
    }

    pub(super) fn start(&self) -> Address {
        self.start
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn end(&self) -> Address {
        self.start.plus(self.bytes.len())
    }

    pub(super) fn begin(&mut self) {
        self.frame = self.bytes.len();
        self.bytes.resize(self.frame + HEADER, 0);
    }

    /// Adds a unit to the frame; `write` appends its bytes, and is told its address.
    pub(super) fn unit(&mut self, write: impl FnOnce(&mut Vec<u8>, Address)) -> Address {
        let (at, start) = (self.end(), self.bytes.len());
        self.bytes.extend_from_slice(&[0; UNIT]);
        write(&mut self.bytes, at);
        if let Some((head, unit)) = self.bytes.get_mut(start..).and_then(|bytes| bytes.split_at_mut_checked(UNIT)) {
            head[..4].copy_from_slice(&length_of(unit));
            head[4..].copy_from_slice(&unit_checksum(unit, at).to_le_bytes());
        }
        at
    }

    /// Completes the frame.
    pub(super) fn finish(&mut self, durable: Address) {
        let at = self.start.plus(self.frame);
        let length = self.bytes.len() - self.frame - HEADER;
        if let Some((header, body)) =
            self.bytes.get_mut(self.frame..).and_then(|bytes| bytes.split_at_mut_checked(HEADER))
        {
            header[..4].copy_from_slice(&MAGIC.to_le_bytes());
            header[4..8].copy_from_slice(&length_of(body));
            header[8..16].copy_from_slice(&at.0.to_le_bytes());
            header[16..24].copy_from_slice(&durable.0.to_le_bytes());
            let checksum = frame_checksum(&header[..24], body);
            header[24..].copy_from_slice(&checksum.to_le_bytes());
        }
        self.bytes.resize(self.frame + size(length), 0);
    }

    /// Drops the frame that was begun and not finished.
    pub(super) fn abandon(&mut self) {
        self.bytes.truncate(self.frame);
    }
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    // whoever drafts keeps a frame below `LARGEST`
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}
