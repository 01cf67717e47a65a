//! What everybody of one bus looks at: what is committed, and who of each group has what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::group::Group;
use super::marks::Marks;

/// Held for moments only, never while anything is waited for.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) marks: Marks,
    pub(super) groups: BTreeMap<Arc<str>, Group>,
    pub(super) last_member: u64,
}

impl State {
    /// The first offset of a partition that some group still has to read, with that group. Groups count that ever
    /// committed an offset of the topic, and those that read it now.
    pub(super) fn unread_from(&self, number: u32) -> Option<(u64, &Arc<str>)> {
        let committed = self.marks.read_by_all(number);
        let topic = &self.marks.partitions.get(&number)?.of.topic;
        let new = self.groups.iter().find(|(name, group)| {
            group.reads(topic)
                && !self.marks.committed.get(*name).is_some_and(|by| {
                    self.marks.topics.get(topic).is_some_and(|of_topic| of_topic.iter().any(|n| by.contains_key(n)))
                })
        });
        new.map(|(name, _)| (0, name)).or(committed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
