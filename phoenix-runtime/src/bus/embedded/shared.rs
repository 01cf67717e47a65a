//! What everybody of one bus looks at: what is committed, and who of each group has what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::group::{Group, MemberId};
use super::marks::Marks;
use crate::bus::port::TopicPartition;

/// Held for moments only, never while anything is waited for.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) marks: Marks,
    pub(super) groups: BTreeMap<Arc<str>, Group>,
    /// Who follows a partition, by its number.
    pub(super) followers: BTreeMap<(u32, MemberId), Following>,
    pub(super) last_member: MemberId,
}

/// Where a follower is.
#[derive(Debug)]
pub(super) struct Following {
    /// The next offset that it reads.
    pub(super) next: u64,
    pub(super) wake: Arc<Notify>,
}

/// Who has not read a record yet.
#[derive(Debug)]
pub(super) enum Behind<'a> {
    Group(&'a Arc<str>),
    Follower,
}

impl State {
    /// The first offset of a partition that is still to be read, and by whom. Groups count that ever committed an offset of
    /// the topic, and those that read it now; where there are none, whoever follows the partition now.
    pub(super) fn unread_from(&self, number: u32) -> Option<(u64, Behind<'_>)> {
        let committed = self.marks.read_by_all(number);
        let topic = &self.marks.partitions.get(&number)?.of.topic;
        let new = self.groups.iter().find(|(name, group)| {
            group.reads(topic)
                && !self.marks.committed.get(*name).is_some_and(|by| {
                    self.marks.topics.get(topic).is_some_and(|of_topic| of_topic.iter().any(|n| by.contains_key(n)))
                })
        });
        let group = new.map(|(name, _)| (0, name)).or(committed);
        let followed = self.followers(number).map(|following| following.next).min();
        group
            .map(|(offset, name)| (offset, Behind::Group(name)))
            .or_else(|| followed.map(|offset| (offset, Behind::Follower)))
    }

    fn followers(&self, number: u32) -> impl Iterator<Item = &Following> {
        self.followers.range((number, MemberId::MIN)..=(number, MemberId::MAX)).map(|(_, following)| following)
    }

    /// Wakes everybody who reads this partition.
    pub(super) fn wake_readers(&self, number: u32, of: &TopicPartition) {
        self.groups.values().for_each(|group| group.wake_reader(of));
        self.followers(number).for_each(|following| following.wake.notify_one());
    }
}

#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
