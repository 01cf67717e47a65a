//! Where bodies are kept.

use std::fmt;
use std::sync::Arc;

use super::claim::Claim;
use crate::domain::ports::BoxFuture;

/// The bodies can't be reached for now; the same may work later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ClaimsError(pub String);

/// Keeps large bodies. Senders and readers of a topic share it.
pub trait Claims: Send + Sync + fmt::Debug + 'static {
    /// A name for logs.
    fn name(&self) -> String;

    /// Keeps a body; ready when it is durable. What is there already is written anew, with the moment of now.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is kept.
    fn put(&self, claim: Claim, body: Arc<[u8]>) -> BoxFuture<'_, Result<(), ClaimsError>>;

    /// What is kept under a claim, which is compared with it by whoever asks; `None` where there is nothing.
    fn get(&self, claim: Claim) -> BoxFuture<'_, Result<Option<Vec<u8>>, ClaimsError>>;

    /// Removes what was kept before this moment, in microseconds since the Unix epoch. How many bodies.
    fn expire(&self, before_micros: i64) -> BoxFuture<'_, Result<usize, ClaimsError>>;
}
