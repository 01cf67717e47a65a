//! What travels with a message besides its payload.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::id::MessageId;

/// The most bytes that names and values of [`Metadata::headers`] may have together.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Where a message comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Names the whole conversation; the command's own id where nobody says otherwise.
    pub correlation_id: Option<String>,
    /// The message that caused this one.
    pub causation_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Further names and values of the caller, at most [`MAX_HEADER_BYTES`].
    pub headers: BTreeMap<String, String>,
}

impl Metadata {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { correlation_id, causation_id, traceparent, headers } = self;
        correlation_id.is_none() && causation_id.is_none() && traceparent.is_none() && headers.is_empty()
    }

    /// How much of it there is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let fixed = [&self.correlation_id, &self.causation_id, &self.traceparent];
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        fixed.into_iter().flatten().map(String::len).chain(headers).sum()
    }
}

/// Which of the waiting commands of a mailbox go first. Order is kept within one aggregate and one priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Before the others.
    High,
    /// The default.
    #[default]
    Normal,
    /// After the others, but never starved.
    Low,
}

/// A command as it travels by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The message's own id; one per attempt.
    pub id: MessageId,
    /// The aggregate's wire name.
    pub aggregate: String,
    /// The command's wire name.
    pub name: String,
    /// What makes it a repeat of another. Without it nothing is kept but its events: a command that is refused is then
    /// decided each time that it is sent.
    pub idempotency_key: Option<String>,
    /// Its place in the mailbox.
    pub priority: Priority,
    /// How long the caller waits.
    pub timeout: Option<Duration>,
    /// Where it comes from.
    pub metadata: Metadata,
    /// The command as JSON.
    pub payload: Vec<u8>,
}
