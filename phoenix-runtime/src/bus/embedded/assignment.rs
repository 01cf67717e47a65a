//! Who should have which partition: as even as can be, with as few moves as that takes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::group::MemberId;
use crate::bus::port::TopicPartition;

/// The member that should have each partition, in the order of the partitions; `None` where no member reads its topic.
pub(super) fn targets(
    members: &BTreeMap<MemberId, &BTreeSet<Arc<str>>>,
    holders: &BTreeMap<&TopicPartition, Option<MemberId>>,
) -> Vec<Option<MemberId>> {
    let mut loads: BTreeMap<MemberId, usize> = members.keys().map(|id| (*id, 0)).collect();
    let reads = |id: MemberId, partition: &TopicPartition| {
        members.get(&id).is_some_and(|topics| topics.contains(&partition.topic))
    };
    let mut targets: Vec<Option<MemberId>> =
        holders.iter().map(|(partition, holder)| holder.filter(|id| reads(*id, partition))).collect();
    for id in targets.iter().flatten() {
        *loads.entry(*id).or_default() += 1;
    }
    let least = |loads: &BTreeMap<MemberId, usize>, partition: &TopicPartition| {
        loads.iter().filter(|(id, _)| reads(**id, partition)).min_by_key(|(id, load)| (**load, **id)).map(|(id, _)| *id)
    };
    for (partition, target) in holders.keys().zip(&mut targets).filter(|(_, target)| target.is_none()) {
        *target = least(&loads, partition);
        if let Some(id) = target {
            *loads.entry(*id).or_default() += 1;
        }
    }
    // Always from one that has the most: otherwise one that already gave takes again. Each move lowers the sum of the
    // squares of the loads, so this ends.
    loop {
        let load = |id: MemberId| loads.get(&id).copied().unwrap_or_default();
        let move_of = |(index, partition): (usize, &&TopicPartition)| {
            let (from, to) = (targets.get(index).copied().flatten()?, least(&loads, partition)?);
            (load(to) + 1 < load(from)).then_some((load(from), Reverse(index), from, to))
        };
        let Some((_, Reverse(index), from, to)) = holders.keys().enumerate().filter_map(move_of).max() else { break };
        if let Some(target) = targets.get_mut(index) {
            *target = Some(to);
        }
        *loads.entry(from).or_default() -= 1;
        *loads.entry(to).or_default() += 1;
    }
    targets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread(targets: &[Option<MemberId>]) -> Vec<usize> {
        let mut loads: BTreeMap<MemberId, usize> = BTreeMap::new();
        targets.iter().flatten().for_each(|id| *loads.entry(*id).or_default() += 1);
        loads.into_values().collect()
    }

    proptest! {
        #[test]
        fn every_partition_has_one_evenly_and_nothing_moves_without_need(
            members in 1_u16..8, partitions in 0_u16..40, joined in 0_u16..4, seed in any::<u64>()
        ) {
            let topic: Arc<str> = "t".into();
            let topics = BTreeSet::from([Arc::clone(&topic)]);
            let all: Vec<_> = (0..partitions).map(|p| TopicPartition::new(Arc::clone(&topic), p)).collect();
            let of = |count: u16| (0..count).map(|id| (MemberId::from(id), &topics)).collect::<BTreeMap<_, _>>();
            let random = |p: u16| (seed >> (p % 60)) % (u64::from(members) + 2);
            // holders that are gone have none
            let holders = all.iter().map(|p| (p, Some(random(p.partition)))).collect();
            let first = targets(&of(members), &holders);
            prop_assert!(first.iter().all(|target| target.is_some_and(|id| id < u64::from(members))));
            let even = |loads: &[usize]| loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0) <= 1;
            prop_assert!(even(&spread(&first)) && spread(&first).len() == usize::from(partitions.min(members)));
            let holders = all.iter().zip(&first).map(|(p, id)| (p, *id)).collect();
            prop_assert_eq!(&targets(&of(members), &holders), &first, "nothing moves where all is even");
            let more = targets(&of(members + joined), &holders);
            let moved = more.iter().zip(&first).filter(|(a, b)| a != b);
            prop_assert!(moved.clone().all(|(to, _)| to.is_some_and(|id| id >= u64::from(members))), "only to new ones");
        }

        #[test]
        fn nobody_gets_what_it_does_not_read(reads in proptest::collection::vec(0_u8..4, 1..6), partitions in 1_u16..12) {
            let topics: [Arc<str>; 2] = ["a".into(), "b".into()];
            let sets: Vec<BTreeSet<Arc<str>>> = reads
                .iter()
                .map(|bits| (0..2).filter(|n| bits >> n & 1 == 1).map(|n| Arc::clone(&topics[n])).collect())
                .collect();
            let members = (0..).zip(&sets).collect();
            let all: Vec<_> = topics.iter()
                .flat_map(|t| (0..partitions).map(|p| TopicPartition::new(Arc::clone(t), p))).collect();
            let holders = all.iter().map(|p| (p, None)).collect();
            for (partition, target) in all.iter().zip(targets(&members, &holders)) {
                let readers = sets.iter().any(|topics| topics.contains(&partition.topic));
                prop_assert_eq!(target.is_some(), readers);
                prop_assert!(target.is_none_or(|id| members[&id].contains(&partition.topic)));
            }
        }
    }
}
