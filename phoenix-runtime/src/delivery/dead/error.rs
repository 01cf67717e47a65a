//! Why something was not done with a dead letter.

use crate::bus::port::BusError;
use crate::event_store::StoreError;
use crate::event_store::letters::Standing;

/// Why something was not done with a dead letter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadError {
    /// The store keeps no letters.
    #[error("this event store keeps no dead letters")]
    NoneKept,
    /// There is none of this number.
    #[error("there is no dead letter {0}")]
    NotFound(u64),
    /// It was sent again or put aside.
    #[error("the dead letter {number} does not wait any more: it is {}", name(*standing))]
    NotWaiting {
        /// Which one.
        number: u64,
        /// What became of it.
        standing: Standing,
    },
    /// The node has no bus.
    #[error("this node has no bus, so nothing can be sent again: set `bus`, and start it anew")]
    NoBus,
    /// What shall be put in its place does not fit.
    #[error("{reason}")]
    Misfit {
        /// The place inside the payload.
        at: Option<String>,
        /// Why.
        reason: String,
    },
    /// What shall be put in its place is too large.
    #[error("the record would have {bytes} bytes, and at most {most} fit")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many fit.
        most: usize,
    },
    /// A letter can't be sent, and nothing behind it was.
    #[error("the dead letter {number} can't be sent again; {replayed} before it were: {reason}")]
    Unsendable {
        /// Which one.
        number: u64,
        /// How many were sent before.
        replayed: u64,
        /// Why.
        reason: String,
    },
    /// The bus did not take a letter, and nothing behind it was sent.
    #[error("the bus did not take the dead letter {number}; {replayed} were sent again: {source}")]
    Bus {
        /// Which one.
        number: u64,
        /// How many were sent.
        replayed: u64,
        /// Why.
        source: BusError,
    },
    /// Letters were sent, and the store did not note it.
    #[error(
        "{replayed} dead letters were sent again, and the last of them may still stand there as waiting; to send them \
         once more does no harm: {source}"
    )]
    NotNoted {
        /// How many were sent.
        replayed: u64,
        /// Why.
        source: StoreError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) const fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Waiting => "waiting",
        Standing::Replayed => "replayed",
        Standing::Discarded => "discarded",
    }
}
