//! How the consumers of a group share its partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::select_all;

use super::case::{Failure, Place, promises};
use super::fixture::{Checked, Reader, equal, holds, numbered, produce, text, within, words};
use crate::bus::{Bus, BusError, Happening, TopicPartition};
use crate::domain::ports::{Seed as _, SplitMix};

promises! {
    consumers_of_a_group_share_its_partitions [Rebalances]
    what_a_dropped_consumer_had_goes_to_the_others [Rebalances]
    a_revoked_partition_stays_until_it_is_released [Rebalances]
    what_is_kept_goes_on_while_others_are_revoked [Rebalances KeptGoOn]
    a_new_owner_goes_on_at_the_committed_offset [Rebalances]
    offsets_of_a_released_partition_are_refused [Rebalances]
    what_rested_when_it_went_is_read_when_it_comes_back [Rebalances]
    who_does_not_release_loses_its_partitions [Rebalances]
    consumers_that_come_and_go_share_without_overlap_or_gap [Rebalances]
}

/// Consumers of one group, all of which are asked what happens.
struct Crowd<'a> {
    place: Place<'a>,
    readers: Vec<Reader<'a>>,
    /// What was committed of each partition, as acknowledged.
    committed: BTreeMap<TopicPartition, u64>,
    /// Every text that somebody got.
    seen: BTreeSet<String>,
}

impl<'a> Crowd<'a> {
    fn new(place: Place<'a>) -> Self {
        Self { place, readers: Vec::new(), committed: BTreeMap::new(), seen: BTreeSet::new() }
    }

    async fn join(&mut self, bus: &dyn Bus, topics: &[&Arc<str>]) -> Checked {
        self.readers.push(Reader::new(self.place, bus, "g", topics).await?);
        Ok(())
    }

    /// What happens next at any of them. What is revoked is committed as far as it was read, or not, and released.
    async fn step(&mut self, commits: bool) -> Checked {
        let next = self.readers.iter_mut().map(|reader| Box::pin(reader.next()));
        let (happening, index, others) = within(self.place, "any consumer", select_all(next)).await?;
        drop(others);
        let happening = happening?;
        self.readers[index].note(&happening)?;
        match happening {
            Happening::Assigned(partitions) => {
                for (partition, committed) in partitions {
                    let owners = self.readers.iter().filter(|reader| reader.has.contains_key(&partition)).count();
                    equal(&format!("consumers that have {partition}"), &owners, &1)?;
                    let known = self.committed.get(&partition).copied();
                    equal(&format!("the committed offset of {partition}"), &committed, &known)?;
                }
            }
            Happening::Revoking(partitions) => {
                if commits {
                    self.commit(index, &partitions).await?;
                }
                self.readers[index].release(partitions).await?;
            }
            Happening::Records(_) => {
                self.seen.extend(self.readers[index].got.drain(..).map(|received| text(&received)));
            }
            other => return Err(Failure::new(format_args!("a consumer that does its duty is told {other:?}"))),
        }
        Ok(())
    }

    /// Commits as far as a consumer has read.
    async fn commit(&mut self, index: usize, partitions: &[TopicPartition]) -> Checked {
        let reader = &mut self.readers[index];
        let next = |partition: &TopicPartition| Some((partition.clone(), *reader.has.get(partition)?));
        let offsets: Vec<_> = partitions.iter().filter_map(next).collect();
        within(self.place, "commit", reader.consumer.commit(offsets.clone())).await??;
        self.committed.extend(offsets);
        Ok(())
    }

    async fn until(&mut self, mut done: impl FnMut(&Self) -> bool) -> Checked {
        while !done(self) {
            self.step(true).await?;
        }
        Ok(())
    }

    /// Whether every partition has an owner, as evenly as can be.
    fn is_even(&self, partitions: usize) -> bool {
        let shares = self.readers.iter().map(|reader| reader.has.len());
        let (least, most) = (shares.clone().min().unwrap_or(0), shares.clone().max().unwrap_or(0));
        shares.sum::<usize>() == partitions && most - least <= 1
    }
}

async fn consumers_of_a_group_share_its_partitions(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 6).await?;
    let mut crowd = Crowd::new(place);
    for _ in 0..4 {
        crowd.join(&*bus, &[&topic]).await?;
        crowd.until(|crowd| crowd.is_even(6)).await?;
    }
    produce(place, &*bus, (0..6).flat_map(|p| numbered(&topic, p, "r", [u64::from(p)])).collect()).await?;
    crowd.until(|crowd| crowd.seen.len() == 6).await?;
    equal("texts", &crowd.seen.into_iter().collect(), &words("r", 0..6))
}

async fn what_a_dropped_consumer_had_goes_to_the_others(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 4).await?;
    let mut crowd = Crowd::new(place);
    for _ in 0..3 {
        crowd.join(&*bus, &[&topic]).await?;
    }
    crowd.until(|crowd| crowd.is_even(4)).await?;
    produce(place, &*bus, (0..4).flat_map(|p| numbered(&topic, p, "r", [u64::from(p)])).collect()).await?;
    // what was committed until now is in front of these records, and nothing is from now on
    while crowd.seen.len() < 4 || !crowd.is_even(4) {
        crowd.step(false).await?;
    }
    crowd.seen.clear();
    let mut due = BTreeSet::new();
    for index in [1, 0] {
        // in the middle of its work
        let dropped = crowd.readers.remove(index);
        due.extend(dropped.has.keys().flat_map(|partition| words("r", [u64::from(partition.partition)])));
        drop(dropped);
        while !crowd.is_even(4) {
            crowd.step(false).await?;
        }
    }
    holds("the dropped ones had partitions", !due.is_empty())?;
    while !crowd.seen.is_superset(&due) {
        crowd.step(false).await?;
    }
    Ok(())
}

/// Two partitions with ten records each, one consumer that read them all, and a second one that wants one of them.
async fn two_want<'a>(
    place: Place<'a>,
    bus: &dyn Bus,
) -> Result<(Arc<str>, Reader<'a>, Reader<'a>, TopicPartition), Failure> {
    let topic = place.topic(bus, "a", 2).await?;
    produce(place, bus, [numbered(&topic, 0, "r", 0..10), numbered(&topic, 1, "r", 0..10)].concat()).await?;
    let mut one = Reader::new(place, bus, "g", &[&topic]).await?;
    one.take(20).await?;
    let mut two = Reader::new(place, bus, "g", &[&topic]).await?;
    // both are asked, as each joins by that
    let revoked = loop {
        let mut next = [Box::pin(one.next()), Box::pin(two.next())];
        let (happening, index, _) = within(place, "revoking", select_all(next.iter_mut())).await?;
        drop(next);
        match (happening?, index) {
            (Happening::Revoking(partitions), 0) => break partitions,
            (happening, 0) => one.note(&happening)?,
            (happening, _) => two.note(&happening)?,
        }
    };
    equal("partitions that move", &revoked.len(), &1)?;
    equal("partitions of the new one", &two.has.len(), &0)?;
    Ok((topic, one, two, revoked[0].clone()))
}

async fn a_revoked_partition_stays_until_it_is_released(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (topic, mut one, mut two, revoked) = two_want(place, &*bus).await?;
    let kept = 1 - revoked.partition;
    produce(place, &*bus, numbered(&topic, revoked.partition, "moved", [10])).await?;
    produce(place, &*bus, numbered(&topic, kept, "kept", [10])).await?;
    one.commit(&topic, revoked.partition, 7).await?;
    equal("the new one still has nothing", &two.has.len(), &0)?;
    one.release(vec![revoked.clone()]).await?;
    two.until_it_has(1).await?;
    equal("the committed offset", &two.told, &BTreeMap::from([(revoked, Some(7))]))?;
    equal("texts", &two.texts(4).await?, &[words("r", 7..10), words("moved", [10])].concat())?;
    // nothing of what it was to give back
    equal("texts", &one.texts(1).await?, &words("kept", [10]))
}

async fn what_is_kept_goes_on_while_others_are_revoked(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (topic, mut one, mut two, revoked) = two_want(place, &*bus).await?;
    let kept = 1 - revoked.partition;
    produce(place, &*bus, numbered(&topic, revoked.partition, "moved", [10])).await?;
    produce(place, &*bus, numbered(&topic, kept, "kept", [10])).await?;
    equal("texts", &one.texts(1).await?, &words("kept", [10]))?;
    one.commit(&topic, kept, 11).await?;
    equal("the new one still has nothing", &two.has.len(), &0)?;
    one.release(vec![revoked]).await?;
    two.until_it_has(1).await
}

async fn a_new_owner_goes_on_at_the_committed_offset(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (topic, mut one, mut two, revoked) = two_want(place, &*bus).await?;
    one.commit(&topic, revoked.partition, 4).await?;
    one.release(vec![revoked.clone()]).await?;
    two.until_it_has(1).await?;
    equal("what was not committed comes again", &two.texts(6).await?, &words("r", 4..10))?;
    two.commit(&topic, revoked.partition, 10).await?;
    let offsets = bus.offsets(revoked, &place.named("g")).await?;
    equal("committed by the new owner", &offsets.committed, &Some(10))
}

async fn offsets_of_a_released_partition_are_refused(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (topic, mut one, mut two, revoked) = two_want(place, &*bus).await?;
    one.commit(&topic, revoked.partition, 4).await?;
    one.release(vec![revoked.clone()]).await?;
    let refused = one.commit(&topic, revoked.partition, 9).await;
    equal("before it has a new owner", &refused, &Err(BusError::Lost(revoked.clone())))?;
    two.until_it_has(1).await?;
    let refused = one.commit(&topic, revoked.partition, 9).await;
    equal("afterwards", &refused, &Err(BusError::Lost(revoked.clone())))?;
    holds("no seek either", one.consumer.seek(&revoked, 0).await.is_err())?;
    one.commit(&topic, 1 - revoked.partition, 9).await?;
    equal("what is committed", &bus.offsets(revoked, &place.named("g")).await?.committed, &Some(4))
}

async fn what_rested_when_it_went_is_read_when_it_comes_back(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (topic, mut one, mut two, revoked) = two_want(place, &*bus).await?;
    one.consumer.pause(std::slice::from_ref(&revoked));
    one.commit(&topic, revoked.partition, 10).await?;
    one.release(vec![revoked.clone()]).await?;
    two.until_it_has(1).await?;
    drop(two);
    one.until_it_has(2).await?;
    produce(place, &*bus, numbered(&topic, revoked.partition, "back", [10])).await?;
    equal("texts", &one.texts(1).await?, &words("back", [10]))
}

async fn who_does_not_release_loses_its_partitions(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (topic, mut one, mut two, revoked) = two_want(place, &*bus).await?;
    one.commit(&topic, revoked.partition, 3).await?;
    // it is not asked any more, as one that hangs; the other one waits
    two.until_it_has(1).await?;
    equal("texts", &two.texts(7).await?, &words("r", 3..10))?;
    let refused = one.commit(&topic, revoked.partition, 9).await;
    holds("its offset is refused", matches!(refused, Err(BusError::Lost(_))))?;
    while !one.lost.contains(&revoked) {
        one.step().await?;
    }
    equal("what is committed", &bus.offsets(revoked, &place.named("g")).await?.committed, &Some(3))
}

/// The reader checks that nobody's records have a gap, each step that nobody has what another one has.
async fn consumers_that_come_and_go_share_without_overlap_or_gap(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    for history in 0..place.subject.histories() {
        let told = |failure: Failure| Failure::new(format_args!("history {history}: {failure}"));
        random_history(place, &*bus, history).await.map_err(told)?;
    }
    Ok(())
}

async fn random_history(place: Place<'_>, bus: &dyn Bus, history: u64) -> Checked {
    let seed = SplitMix::new(history);
    let below = |bound: usize| usize::try_from(seed.next_u64() % bound.max(1) as u64).unwrap_or_default();
    let partitions = 1 + below(6);
    let count = u16::try_from(partitions).unwrap_or(1);
    let topic = place.topic(bus, &format!("h{history}"), count).await?;
    let mut crowd = Crowd::new(place);
    let mut sent = 0;
    crowd.join(bus, &[&topic]).await?;
    for _ in 0..40 {
        match below(10) {
            0 | 1 if crowd.readers.len() < 5 => crowd.join(bus, &[&topic]).await?,
            // gone without a word, and without a commit
            2 if crowd.readers.len() > 1 => {
                let index = below(crowd.readers.len());
                drop(crowd.readers.remove(index));
            }
            3 => {
                let index = below(crowd.readers.len());
                let all: Vec<_> = crowd.readers[index].has.keys().cloned().collect();
                crowd.commit(index, &all).await?;
            }
            _ => {
                let partition = u16::try_from(below(partitions)).unwrap_or_default();
                produce(place, bus, numbered(&topic, partition, "r", sent..sent + 3)).await?;
                sent += 3;
                // as much as there is to happen for sure: the records, sooner or later
                if crowd.seen.len() < usize::try_from(sent).unwrap_or_default() {
                    crowd.step(below(2) == 0).await?;
                }
            }
        }
    }
    let all: BTreeSet<String> = words("r", 0..sent).into_iter().collect();
    crowd.until(|crowd| crowd.is_even(partitions)).await?;
    crowd.until(|crowd| crowd.seen == all).await
}
