//! A segment that was written anew, without bytes that nobody needs any more.
//!
//! ```text
//! header, 64 bytes: "PHXLOG" 0 2 | seed u64 | number u32 | blocks u32 | before u64 | end u32 | units u32
//!                   | place of the table u64 | checksum of the table u64 | checksum u64
//! block: units in the order of their addresses: offset u32 | length u32 | checksum u64 | bytes
//! table: for each block the offset of its first unit u32 | place u32
//! ```
//!
//! Every unit of the segment is there, and under its old address, which still seeds its checksum. The frames are gone,
//! and with them their marks; instead of these the header says where the segment ended, and where the one before it
//! did. Only what lies before a durable frame is written anew, so all of it was durable, and the log goes on behind it.

use std::io;

use xxhash_rust::xxh3::xxh3_64;

use super::address::Address;
use super::files::LogFile;
use super::frame::{UNIT, unit, unit_checksum, unit_length};
use super::segment::{FIRST, FORM};
use crate::event_store::encoding::{Input, Malformed};

/// The form of such a segment, in the place where others have theirs.
pub(super) const COMPACT: u8 = 2;
/// The size of a block, unless one unit is larger.
const BLOCK: usize = 4096;
/// The offset of a unit stands before it.
const OFFSET: usize = 4;
/// How much is written at once.
const STRETCH: usize = 256 << 10;

/// The header and the table of such a segment.
#[derive(Debug)]
pub(super) struct Compact {
    pub(super) seed: u64,
    number: u32,
    /// Where the segment before it ended.
    pub(super) before: Address,
    /// Where this one ended.
    pub(super) end: Address,
    /// How many units it has.
    pub(super) units: u32,
    /// The offset of the first unit of each block, and the block's place in the file.
    blocks: Vec<(u32, u32)>,
    /// Behind the last block.
    table: u64,
}

impl Compact {
    /// Reads the table that belongs to a header of this form; the inner error says what is wrong with them.
    pub(super) fn open(file: &dyn LogFile, header: &[u8], number: u32) -> io::Result<Result<Self, &'static str>> {
        let Ok((mut compact, blocks, checksum)) = Self::parse(header) else { return Ok(Err("its header is spoilt")) };
        if compact.number != number {
            return Ok(Err("it is another segment of the log"));
        }
        let length = u64::from(blocks) * 8;
        if compact.table.checked_add(length) != Some(file.length()?) {
            return Ok(Err("its length is not what its header says"));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let count = file.read_at(&mut bytes, compact.table)?;
        if count != bytes.len() || xxh3_64(&bytes) != checksum {
            return Ok(Err("its table is spoilt"));
        }
        let mut input = Input(&bytes);
        let mut next = || input.array().map(u32::from_le_bytes).ok();
        compact.blocks = std::iter::from_fn(|| Some((next()?, next()?))).collect();
        Ok(Ok(compact))
    }

    fn parse(header: &[u8]) -> Result<(Self, u32, u64), Malformed> {
        let (content, checksum) = header.split_last_chunk().ok_or(Malformed::Short)?;
        if xxh3_64(content) != u64::from_le_bytes(*checksum) {
            return Err(Malformed::Part("checksum"));
        }
        let mut input = Input(content);
        input.take(FORM.len())?;
        let seed = u64::from_le_bytes(input.array()?);
        let number = u32::from_le_bytes(input.array()?);
        let blocks = u32::from_le_bytes(input.array()?);
        let before = Address(u64::from_le_bytes(input.array()?));
        let end = Address::new(number, u32::from_le_bytes(input.array()?));
        let units = u32::from_le_bytes(input.array()?);
        let table = u64::from_le_bytes(input.array()?);
        let checksum = u64::from_le_bytes(input.array()?);
        Ok((Self { seed, number, before, end, units, blocks: Vec::new(), table }, blocks, checksum))
    }

    /// The place and the length of each block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        (0..self.blocks.len()).filter_map(|number| self.block(number))
    }

    fn block(&self, number: usize) -> Option<(u64, usize)> {
        let place = u64::from(self.blocks.get(number)?.1);
        let end = self.blocks.get(number + 1).map_or(self.table, |next| u64::from(next.1));
        Some((place, usize::try_from(end.checked_sub(place)?).ok()?))
    }

    /// The place and the length of the block in which this address is, if it is there.
    pub(super) fn block_of(&self, at: Address) -> Option<(u64, usize)> {
        let behind = self.blocks.partition_point(|(first, _)| u64::from(*first) <= at.offset());
        self.block(behind.checked_sub(1)?)
    }
}

/// The units of a block, with their addresses, not checked yet.
fn parts(block: &[u8], segment: u32) -> impl Iterator<Item = Result<(Address, &[u8]), Malformed>> {
    let mut rest = Input(block);
    std::iter::from_fn(move || {
        if rest.0.is_empty() {
            return None;
        }
        let next = (|| {
            let at = Address::new(segment, u32::from_le_bytes(rest.array()?));
            let length = unit_length(rest.0)?.checked_add(UNIT).ok_or(Malformed::Short)?;
            Ok((at, rest.take(length)?))
        })();
        if next.is_err() {
            rest = Input(&[]);
        }
        Some(next)
    })
}

/// The units of a block, with their addresses.
pub(super) fn units(block: &[u8], segment: u32) -> impl Iterator<Item = Result<(Address, &[u8]), Malformed>> {
    parts(block, segment).map(|part| part.and_then(|(at, bytes)| Ok((at, unit(bytes, at)?))))
}

/// The unit of this address in a block.
pub(super) fn unit_in(block: &[u8], at: Address) -> Result<&[u8], Malformed> {
    for part in parts(block, at.segment()) {
        let (found, bytes) = part?;
        if found == at {
            return unit(bytes, at);
        }
    }
    Err(Malformed::Part("place in the segment"))
}

/// A segment that is being written in this form.
#[derive(Debug)]
pub(super) struct Rewriting<'f> {
    file: &'f dyn LogFile,
    blocks: Vec<(u32, u32)>,
    bytes: Vec<u8>,
    /// How long the last block is.
    in_block: usize,
    /// Where `bytes` begin in the file.
    written: u64,
    units: u32,
}

impl<'f> Rewriting<'f> {
    pub(super) fn new(file: &'f dyn LogFile) -> Self {
        let written = u64::from(FIRST);
        Self { file, blocks: Vec::new(), bytes: Vec::new(), in_block: 0, written, units: 0 }
    }

    /// Adds the next unit.
    pub(super) fn unit(&mut self, at: Address, unit: &[u8]) -> io::Result<()> {
        let offset = u32::try_from(at.offset()).map_err(io::Error::other)?;
        if self.blocks.is_empty() || self.in_block >= BLOCK {
            if self.bytes.len() >= STRETCH {
                self.write()?;
            }
            let place = self.written + self.bytes.len() as u64;
            self.blocks.push((offset, u32::try_from(place).map_err(io::Error::other)?));
            self.in_block = 0;
        }
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        self.bytes.extend_from_slice(&u32::try_from(unit.len()).map_err(io::Error::other)?.to_le_bytes());
        self.bytes.extend_from_slice(&unit_checksum(unit, at).to_le_bytes());
        self.bytes.extend_from_slice(unit);
        self.in_block += OFFSET + UNIT + unit.len();
        self.units += 1;
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(&self.bytes, self.written)?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    /// Completes the file durably, and says how long it is.
    pub(super) fn finish(mut self, seed: u64, before: Address, end: Address) -> io::Result<u64> {
        self.write()?;
        let table: Vec<u8> = self
            .blocks
            .iter()
            .flat_map(|(first, place)| [first.to_le_bytes(), place.to_le_bytes()])
            .flatten()
            .collect();
        self.file.write_at(&table, self.written)?;
        let mut header = FORM[..7].to_vec();
        header.push(COMPACT);
        header.extend_from_slice(&seed.to_le_bytes());
        header.extend_from_slice(&end.segment().to_le_bytes());
        header.extend_from_slice(&u32::try_from(self.blocks.len()).map_err(io::Error::other)?.to_le_bytes());
        header.extend_from_slice(&before.0.to_le_bytes());
        header.extend_from_slice(&u32::try_from(end.offset()).map_err(io::Error::other)?.to_le_bytes());
        header.extend_from_slice(&self.units.to_le_bytes());
        header.extend_from_slice(&self.written.to_le_bytes());
        header.extend_from_slice(&xxh3_64(&table).to_le_bytes());
        let checksum = xxh3_64(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        self.file.write_at(&header, 0)?;
        self.file.sync()?;
        Ok(self.written + table.len() as u64)
    }
}
