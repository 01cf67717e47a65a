//! Which partitions a shard owns, and under which epochs. The store has the last word; this is what the shard acts on.

use crate::domain::id::Slice;
use crate::event_store::port::{Epoch, Partition};

/// What a partition is to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holding {
    /// Nothing of it is decided here.
    Away,
    Held(Epoch),
    /// What was taken is finished, and nothing new is taken.
    Leaving(Epoch),
}

/// The partitions of a shard.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// By partition: as many as there are.
    of: Vec<Holding>,
}

impl Holdings {
    /// None of so many.
    pub(crate) fn new(count: u16) -> Self {
        Self { of: vec![Holding::Away; usize::from(count.max(1))] }
    }

    /// How many partitions there are, of all nodes together.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.of.len()).unwrap_or(u16::MAX)
    }

    /// The partition of a slice.
    pub(crate) fn of(&self, slice: Slice) -> Partition {
        Partition::of(slice, self.count())
    }

    fn holding(&self, partition: Partition) -> Holding {
        self.of.get(usize::from(partition.0)).copied().unwrap_or(Holding::Away)
    }

    /// Whether a message for an aggregate of this slice is taken. While the partition is leaving only those are that a
    /// handler waits for: it could not finish without them.
    pub(crate) fn takes(&self, slice: Slice, inside: bool) -> bool {
        match self.holding(self.of(slice)) {
            Holding::Away => false,
            Holding::Held(_) => true,
            Holding::Leaving(_) => inside,
        }
    }

    /// Under which epoch this shard may append; `None` where it may not.
    pub(crate) fn epoch(&self, partition: Partition) -> Option<Epoch> {
        match self.holding(partition) {
            Holding::Away => None,
            Holding::Held(epoch) | Holding::Leaving(epoch) => Some(epoch),
        }
    }

    /// Whether the partition is held, and nobody has asked for it back.
    pub(crate) fn is_held(&self, partition: Partition) -> bool {
        matches!(self.holding(partition), Holding::Held(_))
    }

    /// Every partition under whose epoch this shard may append, in their order.
    pub(crate) fn epochs(&self) -> Vec<(Partition, Epoch)> {
        (0..)
            .map(Partition)
            .zip(&self.of)
            .filter_map(|(partition, _)| Some((partition, self.epoch(partition)?)))
            .collect()
    }

    pub(crate) fn hold(&mut self, partition: Partition, epoch: Epoch) {
        self.set(partition, Holding::Held(epoch));
    }

    /// Nothing new of it is taken. Says whether there was anything to leave.
    pub(crate) fn leave(&mut self, partition: Partition) -> bool {
        match self.epoch(partition) {
            Some(epoch) => {
                self.set(partition, Holding::Leaving(epoch));
                true
            }
            None => false,
        }
    }

    /// Nothing of it may be appended any more.
    pub(crate) fn let_go(&mut self, partition: Partition) {
        self.set(partition, Holding::Away);
    }

    fn set(&mut self, partition: Partition, holding: Holding) {
        if let Some(entry) = self.of.get_mut(usize::from(partition.0)) {
            *entry = holding;
        }
    }
}
