//! Which offset of a partition may be committed: none behind which something has no outcome.

use std::collections::VecDeque;

/// The records of a partition that were taken, and how far all of them are finished.
#[derive(Debug, Default)]
pub(super) struct Frontier {
    /// In their order, with whether each is finished; offsets may have gaps.
    open: VecDeque<(u64, bool)>,
    /// How many of them are finished.
    overtook: usize,
    /// The offset behind the last that was taken.
    next: u64,
    /// What may be committed.
    finished: u64,
    committed: u64,
}

impl Frontier {
    /// Of a partition that is read from this offset on.
    pub(super) fn new(committed: Option<u64>) -> Self {
        let from = committed.unwrap_or(0);
        Self { open: VecDeque::new(), overtook: 0, next: from, finished: from, committed: from }
    }

    /// Takes a record. False where it was taken before.
    pub(super) fn take(&mut self, offset: u64) -> bool {
        if offset < self.next {
            return false;
        }
        self.next = offset + 1;
        self.open.push_back((offset, false));
        true
    }

    /// A record has its outcome.
    pub(super) fn finish(&mut self, offset: u64) {
        if let Some(place) = self.place(offset)
            && let Some((_, finished @ false)) = self.open.get_mut(place)
        {
            *finished = true;
            self.overtook += 1;
        }
        while let Some((offset, true)) = self.open.front() {
            self.finished = offset + 1;
            self.open.pop_front();
            self.overtook -= 1;
        }
    }

    fn place(&self, offset: u64) -> Option<usize> {
        // mostly there are no gaps
        let first = self.lowest()?;
        let guess = usize::try_from(offset.checked_sub(first)?).ok()?;
        match self.open.get(guess) {
            Some((found, _)) if *found == offset => Some(guess),
            _ => self.open.binary_search_by_key(&offset, |(offset, _)| *offset).ok(),
        }
    }

    /// How many records are taken and not behind the frontier.
    pub(super) fn unfinished(&self) -> usize {
        self.open.len()
    }

    /// How many records are finished behind the lowest that is not.
    pub(super) fn overtook(&self) -> usize {
        self.overtook
    }

    /// The lowest record that is not finished.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.open.front().map(|(offset, _)| *offset)
    }

    /// The next offset to be read after a restart, if it is another one than was committed last.
    pub(super) fn to_commit(&self) -> Option<u64> {
        (self.finished > self.committed).then_some(self.finished)
    }

    pub(super) fn committed(&mut self, offset: u64) {
        self.committed = self.committed.max(offset);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_unfinished_is_ever_behind_it(from in 0..100_u64, steps in prop::collection::vec((1..4_u64, any::<prop::sample::Index>(), any::<bool>()), 1..200)) {
            let mut frontier = Frontier::new(Some(from));
            let (mut open, mut next) = (BTreeSet::new(), from);
            for (gap, which, take) in steps {
                if take || open.is_empty() {
                    let offset = next + gap - 1;
                    prop_assert!(frontier.take(offset));
                    prop_assert!(!frontier.take(offset), "a record that comes again is not taken again");
                    open.insert(offset);
                    next = offset + 1;
                } else {
                    let offset = *open.iter().nth(which.index(open.len())).expect("one of them");
                    open.remove(&offset);
                    frontier.finish(offset);
                }
                let lowest = open.first().copied().unwrap_or(next);
                prop_assert_eq!(frontier.lowest().unwrap_or(next), lowest);
                prop_assert_eq!(frontier.unfinished() - frontier.overtook(), open.len());
                if let Some(commit) = frontier.to_commit() {
                    prop_assert!(commit <= lowest, "{commit} is behind {lowest}");
                    frontier.committed(commit);
                }
                prop_assert_eq!(frontier.to_commit(), None);
                prop_assert!(frontier.unfinished() >= open.len());
            }
            for offset in open {
                frontier.finish(offset);
            }
            prop_assert_eq!(frontier.unfinished(), 0);
            if next > from {
                prop_assert_eq!(frontier.to_commit().unwrap_or(next), next);
            }
        }
    }
}
