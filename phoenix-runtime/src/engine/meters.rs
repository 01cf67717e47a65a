//! What a shard counts, looked up once: finding a metric by its name costs as much as deciding a command.

use metrics::{Counter, Histogram, counter, histogram};

/// A shard's metrics. Who records metrics must be installed before the engine starts.
pub(crate) struct Meters {
    /// Records of a batch.
    pub(crate) batch_records: Histogram,
    /// How long a batch took to become durable.
    pub(crate) append_seconds: Histogram,
    pub(crate) batches_failed: Counter,
    /// Commands by their outcome.
    pub(crate) replied: Counter,
    pub(crate) rejected: Counter,
    pub(crate) not_found: Counter,
    /// Repeats that were told the outcome of the first.
    pub(crate) repeated: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            batch_records: histogram!("phoenix_batch_records"),
            append_seconds: histogram!("phoenix_append_seconds"),
            batches_failed: counter!("phoenix_batches_failed_total"),
            replied: counter!("phoenix_commands_total", "outcome" => "replied"),
            rejected: counter!("phoenix_commands_total", "outcome" => "rejected"),
            not_found: counter!("phoenix_commands_total", "outcome" => "not-found"),
            repeated: counter!("phoenix_commands_total", "outcome" => "repeated"),
        }
    }
}
