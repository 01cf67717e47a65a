//! From where a start goes on: the small part of the index as of one end of the log, and which runs hold the rest.
//!
//! The file `checkpoint` is replaced as a whole. It is also a mark: the log was durable up to there.

use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::address::Address;
use super::files::Files;
use super::index::State;
use super::run::Run;
use crate::domain::id::SLICES;
use crate::event_store::encoding::{Input, Malformed, Names, put_bytes, put_varint};
use crate::event_store::port::{Epoch, Partition};

const NAME: &str = "checkpoint";
const NEW: &str = "checkpoint.new";
const MAGIC: [u8; 8] = *b"PHXCHK\0\x03";
/// As it was before the number of partitions was kept.
const EARLIER: [u8; 8] = *b"PHXCHK\0\x02";
/// Far larger than a checkpoint gets.
const LARGEST: u64 = 1 << 30;

/// What the file says.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) seed: u64,
    pub(super) state: State,
    /// The numbers of the runs, the newest first.
    pub(super) runs: Vec<u64>,
}

/// Writes the checkpoint, durably.
pub(super) fn write(files: &dyn Files, seed: u64, state: &State, runs: &[Arc<Run>]) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&seed.to_le_bytes());
    bytes.extend_from_slice(&state.end.0.to_le_bytes());
    for (last, at) in &state.slices {
        put_varint(&mut bytes, *last);
        put_varint(&mut bytes, at.0);
    }
    put_varint(&mut bytes, state.epochs.len() as u64);
    for (partition, epoch) in &state.epochs {
        put_varint(&mut bytes, u64::from(partition.0));
        put_varint(&mut bytes, epoch.0);
    }
    // 0 for a number that is not fixed yet
    put_varint(&mut bytes, u64::from(state.partitions.unwrap_or(0)));
    put_varint(&mut bytes, state.names.len() as u64);
    for (aggregate, names) in &state.names {
        put_bytes(&mut bytes, aggregate.as_bytes());
        put_varint(&mut bytes, names.len() as u64);
        for name in names {
            put_bytes(&mut bytes, name.as_bytes());
        }
    }
    bytes.push(u8::from(state.stripped));
    put_varint(&mut bytes, state.freed.len() as u64);
    for (segment, freed) in &state.freed {
        put_varint(&mut bytes, u64::from(*segment));
        put_varint(&mut bytes, *freed);
    }
    put_varint(&mut bytes, runs.len() as u64);
    for run in runs {
        put_varint(&mut bytes, run.number);
    }
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let file = files.create(NEW)?;
    file.write_at(&bytes, 0)?;
    file.sync()?;
    files.rename(NEW, NAME)?;
    files.sync()
}

/// Reads the checkpoint; `None` if there is none.
pub(super) fn read(files: &dyn Files) -> io::Result<Option<Checkpoint>> {
    let file = match files.open(NAME, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.length()?.min(LARGEST)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let count = file.read_at(&mut bytes, 0)?;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (content, checksum) =
        bytes.get(..count).and_then(|bytes| bytes.split_last_chunk()).ok_or_else(|| invalid("it is too short"))?;
    if xxh3_64(content) != u64::from_le_bytes(*checksum) {
        return Err(invalid("its checksum is wrong"));
    }
    parse(content).map(Some).map_err(|error| invalid(&error.to_string()))
}

fn parse(content: &[u8]) -> Result<Checkpoint, Malformed> {
    let mut input = Input(content);
    let magic = input.array()?;
    if magic != MAGIC && magic != EARLIER {
        return Err(Malformed::Part("form"));
    }
    let seed = u64::from_le_bytes(input.array()?);
    let mut state = State::empty(Address(u64::from_le_bytes(input.array()?)));
    state.slices.clear();
    for _ in 0..SLICES {
        state.slices.push((input.varint()?, Address(input.varint()?)));
    }
    for _ in 0..input.varint()? {
        let partition = u16::try_from(input.varint()?).map_err(|_| Malformed::Part("partition"))?;
        state.epochs.insert(Partition(partition), Epoch(input.varint()?));
    }
    if magic == MAGIC {
        let partitions = u16::try_from(input.varint()?).map_err(|_| Malformed::Part("number of partitions"))?;
        state.partitions = Some(partitions).filter(|partitions| *partitions > 0);
    }
    let mut names = Names::default();
    for _ in 0..input.varint()? {
        let of_aggregate = state.names.entry(names.shared(input.text("aggregate")?)).or_default();
        for _ in 0..input.varint()? {
            of_aggregate.insert(names.shared(input.text("event name")?));
        }
    }
    state.stripped = input.byte()? != 0;
    for _ in 0..input.varint()? {
        let segment = u32::try_from(input.varint()?).map_err(|_| Malformed::Part("segment"))?;
        state.freed.insert(segment, input.varint()?);
    }
    let mut runs = Vec::new();
    for _ in 0..input.varint()? {
        runs.push(input.varint()?);
    }
    Ok(Checkpoint { seed, state, runs })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_an_earlier_release_says_nothing_of_the_number_of_partitions() {
        for (magic, partitions) in [(EARLIER, None), (MAGIC, Some(48))] {
            let mut bytes = magic.to_vec();
            bytes.extend_from_slice(&7_u64.to_le_bytes());
            bytes.extend_from_slice(&9_u64.to_le_bytes());
            (0..SLICES * 2).for_each(|_| put_varint(&mut bytes, 0));
            for number in [1, 3, 5].into_iter().chain(partitions.map(u64::from)) {
                put_varint(&mut bytes, number);
            }
            // no names, nothing stripped, nothing freed, one run
            bytes.extend_from_slice(&[0, 0, 0, 1, 4]);
            let Checkpoint { seed, state, runs } = parse(&bytes).unwrap();
            assert_eq!((seed, runs), (7, vec![4]));
            assert_eq!(state.epochs.into_iter().collect::<Vec<_>>(), [(Partition(3), Epoch(5))]);
            assert_eq!(state.partitions, partitions);
        }
    }
}
