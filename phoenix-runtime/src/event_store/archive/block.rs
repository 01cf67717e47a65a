//! Consecutive events of a stream as bytes.
//!
//! ```text
//! magic [8] "phxblock" | form u8 = 1 | from u64 | to u64 | length of the whole u64 | aggregate text | id text
//! an event for each version: bytes of the one binary form of a record
//! checksum u128: xxh3 of everything before
//! ```
//!
//! Numbers are little endian; text and bytes have their length before them as a varint.

use xxhash_rust::xxh3::xxh3_128;

use super::port::BlockInfo;
use crate::event_store::encoding::{Input, Malformed, Names, View, put_bytes};
use crate::event_store::port::{StoredEvent, StreamId};

const MAGIC: &[u8; 8] = b"phxblock";
/// The form that is written. Another one gets another number, and this one stays readable.
const FORM: u8 = 1;
/// Up to the length of the whole, which is the last of the fields that have a place of their own.
const FIXED: usize = 8 + 1 + 8 + 8 + 8;
const CHECKSUM: usize = 16;

/// How many events a block holds at most, and how many bytes make it full: read as a whole, it should be small.
pub(super) const MOST_EVENTS: usize = 1024;
/// See [`MOST_EVENTS`]. A single event may be larger.
pub(super) const FULL: usize = 1 << 20;

/// Bytes that are not the block that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadBlock {
    #[error("it does not begin as a block of an archive does")]
    Magic,
    #[error("it has form {0}, and this program knows form {FORM}: read it with the newer release that wrote it")]
    Form(u8),
    #[error("it has {found} bytes where it says to have {said}")]
    Length { found: usize, said: u64 },
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it holds {0}")]
    Other(String),
    #[error("the record of version {version} can't be read: {reason}")]
    Record { version: u64, reason: Malformed },
    #[error("it does not hold the versions that it says to hold")]
    Versions,
}

/// Writes a block of events, which are consecutive ones of one stream; `None` of none.
pub(super) fn encode(events: &[StoredEvent]) -> Option<(BlockInfo, Vec<u8>)> {
    let (first, last) = (events.first()?, events.last()?);
    let info = BlockInfo { from: first.event.version, to: last.event.version };
    let size = events.iter().map(size).sum::<usize>();
    let mut bytes = Vec::with_capacity(FIXED + 512 + size + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.push(FORM);
    bytes.extend_from_slice(&info.from.to_le_bytes());
    bytes.extend_from_slice(&info.to.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    put_bytes(&mut bytes, first.stream.aggregate.as_bytes());
    put_bytes(&mut bytes, first.stream.id.as_str().as_bytes());
    let mut record = Vec::new();
    for stored in events {
        record.clear();
        View::from(stored).encode(&mut record);
        put_bytes(&mut bytes, &record);
    }
    let length = (bytes.len() + CHECKSUM) as u64;
    if let Some(place) = bytes.get_mut(FIXED - 8..FIXED) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    let checksum = xxh3_128(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Some((info, bytes))
}

/// About how many bytes an event takes in a block.
pub(super) fn size(stored: &StoredEvent) -> usize {
    let command = stored.command.as_ref().map_or(0, |command| command.outcome.body.len() + 160);
    stored.event.payload.len() + stored.stream.aggregate.len() + stored.stream.id.as_str().len() + 60 + command
}

/// Reads a block of a stream, and trusts none of its bytes before the checksum was compared.
pub(super) fn decode(bytes: &[u8], stream: &StreamId, info: BlockInfo) -> Result<Vec<StoredEvent>, BadBlock> {
    let short = |_| BadBlock::Length { found: bytes.len(), said: FIXED as u64 };
    let mut head = Input(bytes);
    if head.array::<8>().map_err(|_| BadBlock::Magic)? != *MAGIC {
        return Err(BadBlock::Magic);
    }
    let form = head.byte().map_err(short)?;
    if form != FORM {
        return Err(BadBlock::Form(form));
    }
    let mut number = || head.array().map(u64::from_le_bytes).map_err(short);
    let found = BlockInfo { from: number()?, to: number()? };
    let said = number()?;
    if said != bytes.len() as u64 {
        return Err(BadBlock::Length { found: bytes.len(), said });
    }
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(BadBlock::Checksum)?;
    if xxh3_128(body) != u128::from_le_bytes(*checksum) {
        return Err(BadBlock::Checksum);
    }
    let mut input = Input(body.get(FIXED..).unwrap_or_default());
    let header = |reason| BadBlock::Record { version: found.from, reason };
    let (aggregate, id) = (input.text("aggregate").map_err(header)?, input.text("id").map_err(header)?);
    if aggregate != &*stream.aggregate || id != stream.id.as_str() || found != info {
        return Err(BadBlock::Other(format!("versions {found} of {aggregate}/{id}")));
    }
    let mut names = Names::default();
    let mut events = Vec::new();
    while !input.0.is_empty() {
        let version = info.from.saturating_add(events.len() as u64);
        let bad = |reason| BadBlock::Record { version, reason };
        let stored = View::decode(input.bytes().map_err(bad)?).and_then(|view| view.stored_event(&mut names));
        match stored.map_err(bad)? {
            Some(stored) if stored.event.version == version && stored.stream == *stream => events.push(stored),
            _ => return Err(BadBlock::Versions),
        }
    }
    let is_whole = events.last().is_some_and(|last| last.event.version == info.to);
    if is_whole { Ok(events) } else { Err(BadBlock::Versions) }
}

#[cfg(test)]
mod tests;
