//! Every error that a caller can meet. Each has a code, and each code has a paragraph in `docs/errors.md`.

use std::fmt;

/// A stable name of an error, for machines: `docs/errors.md` explains each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A business "no".
    Rejected,
    /// No aggregate, and the handler creates none.
    NotFound,
    /// The idempotency key belongs to another payload.
    KeyReused,
    /// The time-out passed; the outcome is not known to the caller.
    TimedOut,
    /// The node or its ownership ended while the command was under way: perhaps done, perhaps not.
    OutcomeUnknown,
    /// The mailbox is full.
    MailboxFull,
    /// The node does not know the aggregate, command or query.
    UnknownName,
    /// The payload does not fit, or the id or the key is out of bounds.
    InvalidMessage,
    /// The payload, or what it led to, is larger than the limit.
    TooLarge,
    /// User code panicked.
    Panicked,
    /// User code took longer than its deadline.
    DeadlinePassed,
    /// The aggregate can't be brought into memory.
    Parked,
    /// The store did not answer, or refused.
    StoreFailed,
    /// This node owns the aggregate no longer.
    OwnershipLost,
    /// The node is stopping.
    Stopping,
    /// The ask would wait for itself.
    WouldDeadlock,
    /// The bus did not answer, or refused.
    BusFailed,
    /// The message said until when it is to be done, and that had passed. Nothing was done.
    Expired,
    /// A record of the bus is no message that this node can read.
    Unreadable,
    /// A command that its sender wants done before it has no outcome yet. Nothing was done.
    Behind,
    /// The caller calls more often than it may. Nothing was done.
    RateLimited,
    /// The process ended again and again while the command was at work.
    ProcessEnded,
}

impl Code {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Rejected,
        Self::NotFound,
        Self::KeyReused,
        Self::TimedOut,
        Self::OutcomeUnknown,
        Self::MailboxFull,
        Self::UnknownName,
        Self::InvalidMessage,
        Self::TooLarge,
        Self::Panicked,
        Self::DeadlinePassed,
        Self::Parked,
        Self::StoreFailed,
        Self::OwnershipLost,
        Self::Stopping,
        Self::WouldDeadlock,
        Self::BusFailed,
        Self::Expired,
        Self::Unreadable,
        Self::Behind,
        Self::RateLimited,
        Self::ProcessEnded,
    ];

    /// The code as it goes over the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::NotFound => "not-found",
            Self::KeyReused => "key-reused",
            Self::TimedOut => "timed-out",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::MailboxFull => "mailbox-full",
            Self::UnknownName => "unknown-name",
            Self::InvalidMessage => "invalid-message",
            Self::TooLarge => "too-large",
            Self::Panicked => "panicked",
            Self::DeadlinePassed => "deadline-passed",
            Self::Parked => "parked",
            Self::StoreFailed => "store-failed",
            Self::OwnershipLost => "ownership-lost",
            Self::Stopping => "stopping",
            Self::WouldDeadlock => "would-deadlock",
            Self::BusFailed => "bus-failed",
            Self::Expired => "expired",
            Self::Unreadable => "unreadable",
            Self::Behind => "behind",
            Self::RateLimited => "rate-limited",
            Self::ProcessEnded => "process-ended",
        }
    }

    /// Whether the same message, with the same key, may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::TimedOut
                | Self::OutcomeUnknown
                | Self::MailboxFull
                | Self::DeadlinePassed
                | Self::StoreFailed
                | Self::OwnershipLost
                | Self::Stopping
                | Self::BusFailed
                | Self::Behind
                | Self::RateLimited
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No outcome: nothing of the command was stored, unless the code says that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({code})")]
pub struct Fault {
    /// What kind of fault.
    pub code: Code,
    /// What, where and what to do.
    pub detail: String,
}

impl Fault {
    /// A fault with its explanation.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// Whether the same message, with the same key, may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }
}

/// Why an `ask` gave no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError<R> {
    /// A business "no", with the aggregate's version that it rests on.
    Rejected {
        /// The handler's own words.
        rejection: R,
        /// The version that it rests on.
        version: u64,
        /// Whether this is the stored answer to an earlier attempt.
        replayed: bool,
    },
    /// The aggregate has no events and the handler creates none.
    NotFound {
        /// Whether this is the stored answer to an earlier attempt.
        replayed: bool,
    },
    /// No outcome.
    Fault(Fault),
}

impl<R> AskError<R> {
    /// What kind of error.
    pub const fn code(&self) -> Code {
        match self {
            Self::Rejected { .. } => Code::Rejected,
            Self::NotFound { .. } => Code::NotFound,
            Self::Fault(fault) => fault.code,
        }
    }

    /// Whether the same command, with the same key, may succeed later.
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// The rejection, if it is one.
    pub fn rejection(self) -> Option<R> {
        match self {
            Self::Rejected { rejection, .. } => Some(rejection),
            _ => None,
        }
    }
}

impl<R> From<Fault> for AskError<R> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<R: fmt::Debug> fmt::Display for AskError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { rejection, .. } => write!(f, "the command was rejected: {rejection:?}"),
            Self::NotFound { .. } => f.write_str("the aggregate has no events, and this command creates none"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl<R: fmt::Debug> std::error::Error for AskError<R> {}

/// Why a query gave no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The aggregate has no events.
    #[error("the aggregate has no events")]
    NotFound,
    /// No answer.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl QueryError {
    /// What kind of error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Fault(fault) => fault.code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_codes_are_listed() {
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, place, "{code}");
        }
        assert_eq!(Code::ALL.last(), Some(&Code::ProcessEnded), "the last one of the enum");
    }
}
