//! Where something is in the log, for ever.

use std::fmt;

/// The place of a frame or a unit: a segment's number and an offset in it. Addresses grow with the log. A segment that
/// is written anew keeps the addresses of what is in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address(pub(super) u64);

impl Address {
    /// Before everything: segments are counted from 1.
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn new(segment: u32, offset: u32) -> Self {
        Self(((segment as u64) << 32) | offset as u64)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the upper half")]
    pub(super) const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) const fn offset(self) -> u64 {
        self.0 & 0xffff_ffff
    }

    /// Further on in the same segment.
    pub(super) const fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    /// `None` for [`Address::NONE`].
    pub(super) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of segment {}", self.offset(), self.segment())
    }
}
