//! What became of a command, as it is stored and told.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OutcomeKind {
    /// It was done, and this is its reply.
    Replied = 1,
    /// It was refused.
    Rejected = 2,
    /// There was no aggregate, and the handler creates none.
    NotFound = 3,
}

impl OutcomeKind {
    /// From the stored number.
    #[must_use]
    pub const fn from_stored(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Replied),
            2 => Some(Self::Rejected),
            3 => Some(Self::NotFound),
            _ => None,
        }
    }
}

/// The outcome of a command, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub kind: OutcomeKind,
    /// The aggregate's version after the command.
    pub version: u64,
    /// The codec of `body`.
    pub codec: u8,
    /// The reply or the rejection.
    pub body: Vec<u8>,
}
