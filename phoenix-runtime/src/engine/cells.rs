//! All aggregates of a shard: found by hash, named by index, and who leaves memory.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;

use crate::domain::aggregate::Options;
use crate::engine::cell::{Cell, CellRef};

/// How far the hand moves at once: a burst is made good over several turns.
const STEPS: usize = 1024;

/// The cells of a shard.
pub(crate) struct Cells {
    table: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    slots: Vec<Option<Cell>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    /// For each aggregate type with a bound: its cells in the order of a clock's hand (second chance).
    rings: Vec<Option<Ring>>,
}

/// Second chance: Corbató, "A Paging Experiment with the Multics System", 1968. A cell that was used since the hand
/// passed is passed over once; it costs no work when an aggregate is used.
struct Ring {
    hand: VecDeque<(CellRef, u32)>,
    resident: u32,
    max_resident: Option<u32>,
    /// In seconds.
    passivate_after: Option<u32>,
}

impl Ring {
    fn is_over(&self) -> bool {
        self.max_resident.is_some_and(|max| self.resident > max)
    }
}

impl Cells {
    /// `shards` share what a node may have in memory.
    pub(crate) fn new(options: impl Iterator<Item = Options>, shards: usize) -> Self {
        let share = |max: u32| max.div_ceil(u32::try_from(shards).unwrap_or(u32::MAX).max(1));
        let rings = options
            .map(|o| {
                (o.max_resident.is_some() || o.passivate_after.is_some()).then(|| Ring {
                    hand: VecDeque::new(),
                    resident: 0,
                    max_resident: o.max_resident.map(share),
                    passivate_after: o.passivate_after.map(whole_seconds),
                })
            })
            .collect();
        Self {
            table: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            rings,
        }
    }

    fn spread(&self, hash: u64) -> u64 {
        use std::hash::BuildHasher as _;
        // ids come from outside: without a secret they could be chosen to collide
        self.hasher.hash_one(hash)
    }

    pub(crate) fn find(&self, kind: u16, hash: u64, id: &str) -> Option<CellRef> {
        let index = *self.table.find(self.spread(hash), |index| {
            self.slots[*index as usize]
                .as_ref()
                .is_some_and(|cell| cell.hash == hash && cell.kind == kind && cell.id.as_str() == id)
        })?;
        Some(CellRef { index, generation: self.generations[index as usize] })
    }

    pub(crate) fn get_mut(&mut self, cell: CellRef) -> Option<&mut Cell> {
        self.slots.get_mut(cell.index as usize)?.as_mut().filter(|c| c.generation == cell.generation)
    }

    /// Adds a cell that is not there yet; its generation is given here.
    pub(crate) fn insert(&mut self, mut cell: Cell) -> CellRef {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            // a shard with four thousand million aggregates does not fit into memory
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = self.generations[index as usize];
        cell.generation = generation;
        let (kind, hash, used) = (cell.kind, self.spread(cell.hash), cell.last_used);
        self.slots[index as usize] = Some(cell);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.table.insert_unique(hash, index, |index| {
            use std::hash::BuildHasher as _;
            slots[*index as usize].as_ref().map_or(0, |cell| hasher.hash_one(cell.hash))
        });
        let reference = CellRef { index, generation };
        if let Some(ring) = self.rings.get_mut(kind as usize).and_then(Option::as_mut) {
            ring.hand.push_back((reference, used));
            ring.resident += 1;
            if ring.hand.len() > 2 * ring.resident as usize + 64 {
                // places of those who left by other ways than the hand
                let generations = &self.generations;
                ring.hand.retain(|(cell, _)| generations.get(cell.index as usize) == Some(&cell.generation));
            }
        }
        reference
    }

    pub(crate) fn remove(&mut self, cell: CellRef) -> Option<Cell> {
        self.get_mut(cell)?;
        let taken = self.slots[cell.index as usize].take()?;
        let hash = self.spread(taken.hash);
        if let Ok(entry) = self.table.find_entry(hash, |index| *index == cell.index) {
            entry.remove();
        }
        self.generations[cell.index as usize] = cell.generation.wrapping_add(1);
        self.free.push(cell.index);
        if let Some(ring) = self.rings.get_mut(taken.kind as usize).and_then(Option::as_mut) {
            // its place at the hand is dropped when the hand comes by
            ring.resident -= 1;
        }
        Some(taken)
    }

    /// Every cell, in the order of their places.
    pub(crate) fn all(&self) -> Vec<CellRef> {
        self.slots
            .iter()
            .zip(0_u32..)
            .filter_map(|(slot, index)| slot.as_ref().map(|cell| CellRef { index, generation: cell.generation }))
            .collect()
    }

    /// The shortest idle time after which some type leaves memory.
    pub(crate) fn sweep_every(&self) -> Option<Duration> {
        self.rings.iter().flatten().filter_map(|r| r.passivate_after).min().map(|s| Duration::from_secs(s.into()))
    }

    /// Idle cells that should leave: unused for too long, or more than may be resident.
    pub(crate) fn leavers(&mut self, now: u32) -> Vec<CellRef> {
        let mut leavers = Vec::new();
        for kind in 0..self.rings.len() {
            let Some(mut ring) = self.rings[kind].take() else { continue };
            let mut over = ring.resident.saturating_sub(ring.max_resident.unwrap_or(u32::MAX));
            // at most twice around: the first time takes second chances away
            for _ in 0..(ring.hand.len() * 2).min(STEPS) {
                let Some((cell, seen)) = ring.hand.pop_front() else { break };
                let Some(found) = self.get_mut(cell) else { continue };
                let last_used = found.last_used;
                let expired = ring.passivate_after.is_some_and(|after| now.saturating_sub(last_used) >= after);
                let used_since = last_used != seen;
                if found.is_idle() && (expired || (over > 0 && !used_since)) {
                    over = over.saturating_sub(1);
                    leavers.push(cell);
                } else if over == 0 && !expired && !used_since {
                    // the one that was passed longest ago may stay, so all may
                    ring.hand.push_front((cell, seen));
                    break;
                } else {
                    ring.hand.push_back((cell, last_used));
                }
            }
            self.rings[kind] = Some(ring);
        }
        leavers
    }

    /// Whether a type has more residents than it may.
    pub(crate) fn is_over(&self, kind: u16) -> bool {
        self.rings.get(kind as usize).and_then(Option::as_ref).is_some_and(Ring::is_over)
    }

    /// Whether any type has more residents than it may.
    pub(crate) fn is_any_over(&self) -> bool {
        self.rings.iter().flatten().any(Ring::is_over)
    }
}

/// Seconds, rounded up: an aggregate stays at least as long as it was promised.
fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}
