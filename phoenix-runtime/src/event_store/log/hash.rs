//! What the index finds things by.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::domain::id::Dedup;

/// A hash of 126 bits and what it is a hash of. Its seed is a secret of each store, so nobody can make two collide on
/// purpose; and whoever finds something by it compares the real names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(pub(super) u128);

const STREAM: u128 = 0;
const KEY: u128 = 1;
const KEPT: u128 = 2;
const REFILLED: u128 = 3;

impl Hash {
    const fn tagged(hash: u128, tag: u128) -> Self {
        Self((hash >> 2) | (tag << 126))
    }

    /// The last record of a stream.
    pub(super) fn stream(seed: u64, aggregate: &str, id: &str) -> Self {
        let (a, i) = (aggregate.as_bytes(), id.as_bytes());
        let mut buffer = [0; 384];
        let length = a.len() + 1 + i.len();
        let hash = match buffer.get_mut(..length) {
            Some(bytes) => {
                bytes[..a.len()].copy_from_slice(a);
                bytes[a.len() + 1..].copy_from_slice(i);
                xxh3_128_with_seed(bytes, seed)
            }
            None => xxh3_128_with_seed(&[a, &[0], i].concat(), seed),
        };
        Self::tagged(hash, STREAM)
    }

    fn of_stream(self, seed: u64, what: [u8; 16], tag: u128) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.0.to_le_bytes());
        bytes[16..].copy_from_slice(&what);
        Self::tagged(xxh3_128_with_seed(&bytes, seed), tag)
    }

    /// The record of this command of the stream.
    pub(super) fn key(self, seed: u64, dedup: Dedup) -> Self {
        self.of_stream(seed, dedup.0, KEY)
    }

    /// What is kept of the stream besides its records.
    pub(super) fn kept(self, seed: u64) -> Self {
        self.of_stream(seed, [0; 16], KEPT)
    }

    /// The bytes that the stream's event of this version has back.
    pub(super) fn refilled(self, seed: u64, version: u64) -> Self {
        self.of_stream(seed, u128::from(version).to_le_bytes(), REFILLED)
    }

    /// Hashes of streams are lower than this.
    pub(super) const END_OF_STREAMS: Self = Self(KEY << 126);

    #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
    pub(super) const fn low(self) -> u64 {
        self.0 as u64
    }
}
