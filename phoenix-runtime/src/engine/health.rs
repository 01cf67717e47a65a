//! What the shards tell of themselves.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The state of an engine, for probes and metrics.
#[derive(Debug, Default)]
pub struct Health {
    pub(crate) struggling: AtomicUsize,
    pub(crate) damaged: AtomicBool,
    pub(crate) fenced: AtomicBool,
    pub(crate) resident: AtomicUsize,
    pub(crate) parked: AtomicUsize,
    pub(crate) crashed: AtomicBool,
}

impl Health {
    /// Whether the store takes what is appended: false while an append is being tried again, and once the store was
    /// found damaged.
    #[must_use]
    pub fn store_answers(&self) -> bool {
        self.struggling.load(Ordering::Relaxed) == 0 && !self.damaged.load(Ordering::Relaxed)
    }

    /// Whether another owner has taken a partition that this engine believed to own, and that it has neither given back
    /// nor taken again since.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Relaxed)
    }

    /// How many aggregates are in memory.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.resident.load(Ordering::Relaxed)
    }

    /// How many aggregates could not be brought into memory, and wait for somebody to mend them.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    /// Whether a shard ended by a panic of the engine's own: restart the node.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.crashed.load(Ordering::Relaxed)
    }

    pub(crate) fn struggle(&self) -> Struggle<'_> {
        self.struggling.fetch_add(1, Ordering::Relaxed);
        Struggle(self)
    }
}

/// An append that is being tried again.
pub(crate) struct Struggle<'a>(&'a Health);

impl Drop for Struggle<'_> {
    fn drop(&mut self) {
        self.0.struggling.fetch_sub(1, Ordering::Relaxed);
    }
}
