//! Who of a group has which partition: a cooperative rebalance, without time or threads of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::assignment::targets;
use crate::bus::port::TopicPartition;

/// A consumer of the group, for as long as it lives.
pub(super) type MemberId = u64;

/// The consumers that share the partitions of their topics.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
    partitions: BTreeMap<TopicPartition, Held>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) topics: BTreeSet<Arc<str>>,
    /// What it has to be told that it lost.
    lost: BTreeSet<TopicPartition>,
    pub(super) wake: Arc<Notify>,
}

/// Who has a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Free,
    /// Not told yet, so it can still go to another one at once.
    Offered(MemberId),
    Owned(MemberId),
    /// Until it is released, or until that time.
    Revoking {
        from: MemberId,
        told: bool,
        until: Duration,
    },
}

/// What a member is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Lost(Vec<TopicPartition>),
    Revoking(Vec<TopicPartition>),
    Assigned(Vec<TopicPartition>),
}

/// What is needed to share anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Duration,
    pub(super) release_timeout: Duration,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a member reads this topic.
    pub(super) fn reads(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.topics.contains(topic))
    }

    /// A new member, which reads these partitions.
    pub(super) fn join(
        &mut self,
        id: MemberId,
        partitions: impl IntoIterator<Item = TopicPartition>,
        wake: Arc<Notify>,
        at: Moment,
    ) {
        let mut topics = BTreeSet::new();
        for partition in partitions {
            topics.insert(Arc::clone(&partition.topic));
            self.partitions.entry(partition).or_insert(Held::Free);
        }
        self.members.insert(id, Member { topics, lost: BTreeSet::new(), wake });
        self.share(at);
    }

    /// A member is gone, and what it had is free.
    pub(super) fn leave(&mut self, id: MemberId, at: Moment) {
        self.members.remove(&id);
        self.partitions
            .retain(|partition, _| self.members.values().any(|member| member.topics.contains(&partition.topic)));
        self.partitions.values_mut().filter(|held| held.member() == Some(id)).for_each(|held| *held = Held::Free);
        self.share(at);
    }

    /// A member gives back what it was told to.
    pub(super) fn release(&mut self, id: MemberId, partitions: &[TopicPartition], at: Moment) {
        for partition in partitions {
            if let Some(held) = self.partitions.get_mut(partition)
                && matches!(held, Held::Revoking { from, .. } if *from == id)
            {
                *held = Held::Free;
            }
        }
        self.share(at);
    }

    /// Takes from members what they should have given back by now.
    pub(super) fn expire(&mut self, at: Moment) {
        let mut expired = false;
        for (partition, held) in &mut self.partitions {
            let Held::Revoking { from, until, .. } = *held else { continue };
            if until > at.now {
                continue;
            }
            *held = Held::Free;
            expired = true;
            if let Some(member) = self.members.get_mut(&from) {
                member.lost.insert(partition.clone());
            }
        }
        if expired {
            self.share(at);
        }
    }

    /// When the next one is to be taken away.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        let until = |held: &Held| if let Held::Revoking { until, .. } = held { Some(*until) } else { None };
        self.partitions.values().filter_map(until).min()
    }

    /// What a member is to be told next; it is told by this.
    pub(super) fn news(&mut self, id: MemberId) -> Option<News> {
        let member = self.members.get_mut(&id)?;
        if !member.lost.is_empty() {
            return Some(News::Lost(std::mem::take(&mut member.lost).into_iter().collect()));
        }
        let (mut revoking, mut assigned) = (Vec::new(), Vec::new());
        for (partition, held) in &mut self.partitions {
            match held {
                Held::Revoking { from, told, .. } if *from == id && !*told => {
                    *told = true;
                    revoking.push(partition.clone());
                }
                _ => {}
            }
        }
        if !revoking.is_empty() {
            return Some(News::Revoking(revoking));
        }
        for (partition, held) in &mut self.partitions {
            if *held == Held::Offered(id) {
                *held = Held::Owned(id);
                assigned.push(partition.clone());
            }
        }
        (!assigned.is_empty()).then_some(News::Assigned(assigned))
    }

    /// Whether a member has a partition and need not give it back.
    pub(super) fn owns(&self, id: MemberId, partition: &TopicPartition) -> bool {
        self.partitions.get(partition) == Some(&Held::Owned(id))
    }

    /// Whether a member may still commit offsets of a partition.
    pub(super) fn may_commit(&self, id: MemberId, partition: &TopicPartition) -> bool {
        match self.partitions.get(partition) {
            Some(Held::Owned(owner)) => *owner == id,
            Some(Held::Revoking { from, .. }) => *from == id,
            _ => false,
        }
    }

    /// Wakes who reads this partition.
    pub(super) fn wake_reader(&self, partition: &TopicPartition) {
        if let Some(Held::Owned(id)) = self.partitions.get(partition)
            && let Some(member) = self.members.get(id)
        {
            member.wake.notify_one();
        }
    }

    /// Deals the partitions anew, and wakes everybody, who then ask for [`Group::news`].
    fn share(&mut self, at: Moment) {
        let members = self.members.iter().map(|(id, member)| (*id, &member.topics)).collect();
        let holders = self.partitions.iter().map(|(partition, held)| (partition, held.to_stay())).collect();
        let targets = targets(&members, &holders);
        for (held, target) in self.partitions.values_mut().zip(targets) {
            let Some(target) = target else { continue };
            *held = match *held {
                Held::Free | Held::Offered(_) => Held::Offered(target),
                Held::Owned(from) if from != target => {
                    Held::Revoking { from, told: false, until: at.now.saturating_add(at.release_timeout) }
                }
                Held::Revoking { from, told: false, .. } if from == target => Held::Owned(from),
                other => other,
            };
        }
        self.members.values().for_each(|member| member.wake.notify_one());
    }
}

impl Held {
    fn member(self) -> Option<MemberId> {
        match self {
            Self::Free => None,
            Self::Offered(id) | Self::Owned(id) | Self::Revoking { from: id, .. } => Some(id),
        }
    }

    /// Who keeps it if nobody else lacks partitions. Who was told to give it back does not.
    fn to_stay(self) -> Option<MemberId> {
        match self {
            Self::Revoking { told: true, .. } => None,
            other => other.member(),
        }
    }
}
