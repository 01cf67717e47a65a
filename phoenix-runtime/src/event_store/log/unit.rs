//! What the log is made of: units, each of them in a frame.
//!
//! ```text
//! record:   1 | previous, event, jump, in slice, in slice jump: varints | version varint | record
//! epochs:   2 | (partition u16 | epoch u64)...
//! kept:     3 | aggregate text | id text | strips | snapshots | bytes of the newest snapshot
//! refilled: 4 | record
//! freed:    5 | (segment varint | bytes varint)...
//! dealt:    6 | number of partitions u16
//! ```
//!
//! The links of a record are distances back from its own address, 0 for none. With them the index needs only the last
//! record of each stream and of each slice: the rest is found from there, in steps whose number grows with the
//! logarithm of the length.

use std::collections::BTreeMap;

use super::address::Address;
use crate::event_store::encoding::{Input, Malformed, View, put_bytes, put_varint};
use crate::event_store::port::{Epoch, Partition, Snapshot, SnapshotInfo};

const RECORD: u8 = 1;
const EPOCHS: u8 = 2;
const KEPT: u8 = 3;
const REFILLED: u8 = 4;
const FREED: u8 = 5;
const DEALT: u8 = 6;

/// A unit that was read.
#[derive(Debug)]
pub(super) enum Unit<'a> {
    Record(Links, View<'a>),
    Epochs(Vec<(Partition, Epoch)>),
    Kept(Kept, KeptView<'a>),
    /// An event that has its bytes back.
    Refilled(View<'a>),
    /// How many bytes of segments nobody needs any more.
    Freed(Vec<(u32, u64)>),
    /// How many partitions there are.
    Dealt(u16),
}

/// What a record points back to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Links {
    /// The stream's last record before this one.
    pub(super) previous: Address,
    /// The stream's last event before this one.
    pub(super) event: Address,
    /// For the event of version v that of version v & (v - 1).
    pub(super) jump: Address,
    /// The record before this one in its slice.
    pub(super) in_slice: Address,
    /// For the record of sequence number n that of n & (n - 1).
    pub(super) in_slice_jump: Address,
    /// The stream's version with this record.
    pub(super) version: u64,
}

/// What is kept of a stream besides its records; a later one replaces the ones before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Up to which version events were stripped, and when: an event that came back later is whole again. Newest first,
    /// each up to a higher version than the one before it.
    pub(super) strips: Vec<(u64, Address)>,
    /// By version, with the place of their bytes.
    pub(super) snapshots: Vec<(SnapshotInfo, u8, Address)>,
}

/// The other parts of a [`Unit::Kept`].
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptView<'a> {
    pub(super) aggregate: &'a str,
    pub(super) id: &'a str,
    /// The bytes of the snapshot whose place this is.
    pub(super) payload: &'a [u8],
}

impl<'a> Unit<'a> {
    pub(super) fn read(bytes: &'a [u8], at: Address) -> Result<Self, Malformed> {
        let mut input = Input(bytes);
        Ok(match input.byte()? {
            RECORD => Self::Record(Links::read(&mut input, at)?, View::decode(input.0)?),
            EPOCHS => {
                let mut epochs = Vec::new();
                while !input.0.is_empty() {
                    let partition = Partition(u16::from_le_bytes(input.array()?));
                    epochs.push((partition, Epoch(u64::from_le_bytes(input.array()?))));
                }
                Self::Epochs(epochs)
            }
            KEPT => {
                let (aggregate, id) = (input.text("aggregate")?, input.text("aggregate id")?);
                let kept = Kept::read(&mut input, at)?;
                Self::Kept(kept, KeptView { aggregate, id, payload: input.0 })
            }
            REFILLED => Self::Refilled(View::decode(input.0)?),
            FREED => {
                let mut freed = Vec::new();
                while !input.0.is_empty() {
                    let segment = u32::try_from(input.varint()?).map_err(|_| Malformed::Part("segment"))?;
                    freed.push((segment, input.varint()?));
                }
                Self::Freed(freed)
            }
            DEALT => Self::Dealt(u16::from_le_bytes(input.array()?)),
            _ => return Err(Malformed::Part("kind")),
        })
    }
}

fn put_distance(into: &mut Vec<u8>, at: Address, to: Address) {
    put_varint(into, to.some().map_or(0, |to| at.0 - to.0));
}

fn distance(input: &mut Input<'_>, at: Address) -> Result<Address, Malformed> {
    match input.varint()? {
        0 => Ok(Address::NONE),
        distance => at.0.checked_sub(distance).map(Address).ok_or(Malformed::Part("link")),
    }
}

impl Links {
    /// Appends a record with its links.
    pub(super) fn write(&self, view: &View<'_>, into: &mut Vec<u8>, at: Address) {
        into.push(RECORD);
        for to in [self.previous, self.event, self.jump, self.in_slice, self.in_slice_jump] {
            put_distance(into, at, to);
        }
        put_varint(into, self.version);
        view.encode(into);
    }

    fn read(input: &mut Input<'_>, at: Address) -> Result<Self, Malformed> {
        Ok(Self {
            previous: distance(input, at)?,
            event: distance(input, at)?,
            jump: distance(input, at)?,
            in_slice: distance(input, at)?,
            in_slice_jump: distance(input, at)?,
            version: input.varint()?,
        })
    }
}

/// Appends epochs.
pub(super) fn put_epochs(epochs: &[(Partition, Epoch)], into: &mut Vec<u8>) {
    into.push(EPOCHS);
    for (partition, epoch) in epochs {
        into.extend_from_slice(&partition.0.to_le_bytes());
        into.extend_from_slice(&epoch.0.to_le_bytes());
    }
}

/// Appends how many partitions there are.
pub(super) fn put_dealt(partitions: u16, into: &mut Vec<u8>) {
    into.push(DEALT);
    into.extend_from_slice(&partitions.to_le_bytes());
}

/// Appends an event that has its bytes back.
pub(super) fn put_refilled(view: &View<'_>, into: &mut Vec<u8>) {
    into.push(REFILLED);
    view.encode(into);
}

/// Appends how many bytes of segments nobody needs any more.
pub(super) fn put_freed(freed: &BTreeMap<u32, u64>, into: &mut Vec<u8>) {
    into.push(FREED);
    for (segment, bytes) in freed {
        put_varint(into, u64::from(*segment));
        put_varint(into, *bytes);
    }
}

impl Kept {
    /// Whether a snapshot has its bytes there.
    pub(super) fn has_snapshot_at(&self, at: Address) -> bool {
        self.snapshots.iter().any(|(.., place)| *place == at)
    }

    /// Notes a strip that is written to `at`.
    pub(super) fn strip(&mut self, up_to: u64, at: Address) {
        self.strips.retain(|(before, _)| *before > up_to);
        self.strips.insert(0, (up_to, at));
    }

    /// When the event of this version was stripped the last time.
    pub(super) fn stripped(&self, version: u64) -> Option<Address> {
        self.strips.iter().find(|(up_to, _)| version <= *up_to).map(|(_, at)| *at)
    }

    /// Notes a snapshot whose bytes are written to `at`; one of the same version is replaced.
    pub(super) fn put(&mut self, snapshot: &Snapshot, at: Address) {
        self.snapshots.retain(|(info, ..)| info.version != snapshot.version);
        let info = SnapshotInfo {
            version: snapshot.version,
            time_micros: snapshot.time_micros,
            fingerprint: snapshot.fingerprint,
            bytes: snapshot.payload.len() as u64,
        };
        self.snapshots.push((info, snapshot.codec, at));
        self.snapshots.sort_unstable_by_key(|(info, ..)| info.version);
    }

    /// Appends it, with the bytes of a snapshot whose place is `at`.
    pub(super) fn write(&self, view: &KeptView<'_>, into: &mut Vec<u8>, at: Address) {
        into.push(KEPT);
        put_bytes(into, view.aggregate.as_bytes());
        put_bytes(into, view.id.as_bytes());
        // what is written to this very place is at distance 0, and everything else further back
        let place = |into: &mut Vec<u8>, to: Address| put_varint(into, at.0 - to.0);
        put_varint(into, self.strips.len() as u64);
        for (up_to, to) in &self.strips {
            put_varint(into, *up_to);
            place(into, *to);
        }
        put_varint(into, self.snapshots.len() as u64);
        for (info, codec, to) in &self.snapshots {
            put_varint(into, info.version);
            into.extend_from_slice(&info.time_micros.to_le_bytes());
            into.extend_from_slice(&info.fingerprint.to_le_bytes());
            put_varint(into, info.bytes);
            into.push(*codec);
            place(into, *to);
        }
        into.extend_from_slice(view.payload);
    }

    fn read(input: &mut Input<'_>, at: Address) -> Result<Self, Malformed> {
        let place = |input: &mut Input<'_>| {
            at.0.checked_sub(input.varint()?).map(Address).ok_or(Malformed::Part("place of a snapshot"))
        };
        let mut kept = Self::default();
        for _ in 0..input.varint()? {
            kept.strips.push((input.varint()?, place(input)?));
        }
        for _ in 0..input.varint()? {
            let info = SnapshotInfo {
                version: input.varint()?,
                time_micros: i64::from_le_bytes(input.array()?),
                fingerprint: u64::from_le_bytes(input.array()?),
                bytes: input.varint()?,
            };
            kept.snapshots.push((info, input.byte()?, place(input)?));
        }
        Ok(kept)
    }
}
