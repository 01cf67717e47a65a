//! A sorted part of the index in a file that never changes.
//!
//! ```text
//! block, 4096 bytes: 170 entries (hash u128 | address u64) | how many u64 | checksum u64
//! the first hash of each block | filter | "PHXRUN" 0 2 | entries u64 | blocks u64 | words of the filter u64 | checksum u64
//! ```
//!
//! In memory are the first hashes (0.1 bytes an entry) and the filter (1.25 bytes an entry), so most questions for what
//! is not there cost no read, and all others one. Everything in it comes from the log: a file that is missing or
//! spoilt costs a new index, and nothing else.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::address::Address;
use super::files::{Files, LogFile};
use super::hash::Hash;
use crate::event_store::encoding::Input;

const BLOCK: usize = 4096;
const ENTRY: usize = 24;
const ENTRIES: usize = 170;
const MAGIC: [u8; 8] = *b"PHXRUN\0\x02";
const FOOTER: usize = 40;
/// Bits of the filter for each entry.
const BITS: usize = 10;
/// How much is written, or read in sequence, at once.
const STRETCH: usize = 64 * BLOCK;

/// Something that is found by a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) hash: Hash,
    pub(super) at: Address,
}

/// An open file of sorted entries, each hash once.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) number: u64,
    pub(super) entries: u64,
    file: Arc<dyn LogFile>,
    firsts: Vec<Hash>,
    filter: Filter,
}

pub(super) fn name(number: u64) -> String {
    format!("{number:08}.run")
}

pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".run")?.parse().ok()
}

fn spoilt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} of the index is spoilt"))
}

impl Run {
    pub(super) fn open(files: &dyn Files, number: u64) -> io::Result<Self> {
        let file = files.open(&name(number), false)?;
        let end = file.length()?;
        let footer_at = end.checked_sub(FOOTER as u64).ok_or_else(|| spoilt("the end"))?;
        let footer = read(&*file, footer_at, FOOTER)?;
        let mut input = Input(&footer);
        let mut next = || input.array().map(u64::from_le_bytes).map_err(|_| spoilt("the end"));
        let (magic, entries, blocks, words, checksum) = (next()?, next()?, next()?, next()?, next()?);
        let tail_at = blocks.checked_mul(BLOCK as u64).ok_or_else(|| spoilt("the end"))?;
        let tail = blocks.checked_mul(16).and_then(|firsts| words.checked_mul(8)?.checked_add(firsts));
        if magic.to_le_bytes() != MAGIC || tail.and_then(|tail| tail.checked_add(tail_at)) != Some(footer_at) {
            return Err(spoilt("the end"));
        }
        let length = usize::try_from(end - tail_at).map_err(io::Error::other)?;
        let tail = read(&*file, tail_at, length)?;
        if xxh3_64(tail.get(..length - 8).unwrap_or_default()) != checksum {
            return Err(spoilt("the filter"));
        }
        let mut input = Input(&tail);
        let firsts = (0..blocks).map_while(|_| input.array().ok()).map(|bytes| Hash(u128::from_le_bytes(bytes)));
        let firsts = firsts.collect();
        let words = (0..words).map_while(|_| input.array().ok()).map(u64::from_le_bytes).collect();
        Ok(Self { number, entries, file, firsts, filter: Filter(words) })
    }

    /// Whether the thing with this hash may be in it, as far as memory tells.
    pub(super) fn may_have(&self, hash: Hash) -> bool {
        self.filter.may_have(hash)
    }

    /// Where the thing with this hash is.
    pub(super) fn find(&self, hash: Hash) -> io::Result<Option<Address>> {
        // one cache line, where the search for the block takes many
        if !self.filter.may_have(hash) {
            return Ok(None);
        }
        let Some(block) = self.firsts.partition_point(|first| *first <= hash).checked_sub(1) else { return Ok(None) };
        let mut bytes = [0; BLOCK];
        if self.file.read_at(&mut bytes, block as u64 * BLOCK as u64)? != BLOCK {
            return Err(spoilt("the length of a file"));
        }
        let (mut low, mut high) = (0, count(&bytes)?);
        while low < high {
            let middle = usize::midpoint(low, high);
            let found = entry(&bytes, middle).ok_or_else(|| spoilt("a block"))?;
            match found.hash.cmp(&hash) {
                Ordering::Equal => return Ok(Some(found.at)),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// All entries in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = io::Result<Entry>> + '_ {
        let end = self.firsts.len() as u64 * BLOCK as u64;
        (0..end).step_by(STRETCH).flat_map(move |at| {
            let length = usize::try_from((end - at).min(STRETCH as u64)).unwrap_or(STRETCH);
            let stretch = read(&*self.file, at, length)
                .and_then(|bytes| bytes.chunks(BLOCK).map(entries).collect::<io::Result<Vec<_>>>());
            match stretch {
                Ok(blocks) => blocks.into_iter().flatten().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        })
    }

    /// What it takes in memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.firsts.len() * 16 + self.filter.0.len() * 8
    }
}

fn read(file: &dyn LogFile, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    if file.read_at(&mut bytes, at)? == length { Ok(bytes) } else { Err(spoilt("the length of a file")) }
}

/// How many entries a block has, once its checksum is seen to be right.
fn count(block: &[u8]) -> io::Result<usize> {
    let (content, checksum) = block.split_last_chunk().ok_or_else(|| spoilt("a block"))?;
    if xxh3_64(content) != u64::from_le_bytes(*checksum) {
        return Err(spoilt("a block"));
    }
    let (_, count) = content.split_last_chunk().ok_or_else(|| spoilt("a block"))?;
    Ok(usize::try_from(u64::from_le_bytes(*count)).unwrap_or(usize::MAX).min(ENTRIES))
}

/// One of a block's entries.
fn entry(block: &[u8], number: usize) -> Option<Entry> {
    let mut input = Input(block.get(number * ENTRY..)?);
    let hash = Hash(u128::from_le_bytes(input.array().ok()?));
    Some(Entry { hash, at: Address(u64::from_le_bytes(input.array().ok()?)) })
}

fn entries(block: &[u8]) -> io::Result<Vec<Entry>> {
    Ok((0..count(block)?).map_while(|number| entry(block, number)).collect())
}

/// Writes entries, in their order and at most `most` of them, into a new file, and makes it durable.
pub(super) fn write(
    files: &dyn Files,
    number: u64,
    most: u64,
    sorted: impl Iterator<Item = io::Result<Entry>>,
) -> io::Result<Run> {
    let file = files.create(&name(number))?;
    let mut firsts = Vec::new();
    let mut filter = Filter::for_entries(usize::try_from(most).map_err(io::Error::other)?);
    let (mut written, mut in_block, mut offset) = (0_u64, 0_u64, 0_u64);
    let mut bytes = Vec::with_capacity(STRETCH);
    for entry in sorted {
        let Entry { hash, at } = entry?;
        if in_block == 0 {
            firsts.push(hash);
        }
        filter.add(hash);
        bytes.extend_from_slice(&hash.0.to_le_bytes());
        bytes.extend_from_slice(&at.0.to_le_bytes());
        (written, in_block) = (written + 1, in_block + 1);
        if in_block == ENTRIES as u64 {
            close_block(&mut bytes, &mut in_block);
            if bytes.len() >= STRETCH {
                file.write_at(&bytes, offset)?;
                offset += bytes.len() as u64;
                bytes.clear();
            }
        }
    }
    if in_block > 0 {
        close_block(&mut bytes, &mut in_block);
    }
    let mut tail = Vec::with_capacity(firsts.len() * 16 + filter.0.len() * 8 + FOOTER);
    for Hash(first) in &firsts {
        tail.extend_from_slice(&first.to_le_bytes());
    }
    for word in &filter.0 {
        tail.extend_from_slice(&word.to_le_bytes());
    }
    tail.extend_from_slice(&MAGIC);
    for number in [written, firsts.len() as u64, filter.0.len() as u64] {
        tail.extend_from_slice(&number.to_le_bytes());
    }
    let checksum = xxh3_64(&tail);
    tail.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&tail);
    file.write_at(&bytes, offset)?;
    file.sync()?;
    Ok(Run { number, entries: written, file, firsts, filter })
}

fn close_block(bytes: &mut Vec<u8>, in_block: &mut u64) {
    let start = (bytes.len() - 1) / BLOCK * BLOCK;
    bytes.resize(start + BLOCK - 16, 0);
    bytes.extend_from_slice(&in_block.to_le_bytes());
    let checksum = xxh3_64(bytes.get(start..).unwrap_or_default());
    bytes.extend_from_slice(&checksum.to_le_bytes());
    *in_block = 0;
}

/// Merges runs, the newest first, into the order of one; of equal hashes the newest counts.
pub(super) fn merged(runs: &[Arc<Run>]) -> impl Iterator<Item = io::Result<Entry>> + '_ {
    let mut sources: Vec<_> = runs.iter().map(|run| run.iter().peekable()).collect();
    std::iter::from_fn(move || {
        let mut lowest: Option<Hash> = None;
        for source in &mut sources {
            match source.peek() {
                Some(Ok(entry)) => lowest = Some(lowest.map_or(entry.hash, |lowest| lowest.min(entry.hash))),
                Some(Err(_)) => return source.next(),
                None => {}
            }
        }
        let lowest = lowest?;
        let mut newest = None;
        for source in &mut sources {
            if let Some(entry) = source.next_if(|entry| entry.as_ref().is_ok_and(|entry| entry.hash == lowest)) {
                newest = newest.or(Some(entry));
            }
        }
        newest
    })
}

/// Says of most hashes that are not there that they are not: one cache line a question.
#[derive(Debug)]
struct Filter(Vec<u64>);

impl Filter {
    fn for_entries(count: usize) -> Self {
        let lines = (count * BITS).div_ceil(512).max(1);
        Self(vec![0; lines * 8])
    }

    /// The line of a hash, and a bit in each of its eight words. The order of the lines is that of the hashes of one kind, so
    /// whoever adds sorted ones has the line at hand.
    #[allow(clippy::cast_possible_truncation, reason = "a part of the hash, and less than the number of lines")]
    fn bits(&self, hash: Hash) -> (usize, impl Iterator<Item = u64> + use<>) {
        let lines = (self.0.len() / 8) as u64;
        // the highest two bits say of which kind it is
        let high = (hash.0 << 2 >> 64) as u64;
        let line = ((u128::from(high) * u128::from(lines)) >> 64) as usize;
        let bits = hash.low();
        (line * 8, (0..8).map(move |word| 1 << ((bits >> (word * 6)) & 63)))
    }

    fn add(&mut self, hash: Hash) {
        let (line, bits) = self.bits(hash);
        let words = self.0.get_mut(line..line + 8).into_iter().flatten();
        words.zip(bits).for_each(|(word, bit)| *word |= bit);
    }

    fn may_have(&self, hash: Hash) -> bool {
        let (line, bits) = self.bits(hash);
        // without a branch for each word, so that the lines of several filters are fetched at once
        let words = self.0.get(line..line + 8).into_iter().flatten();
        words.zip(bits).fold(0, |missing, (word, bit)| missing | (bit & !word)) == 0
    }
}

#[cfg(test)]
mod tests;
