//! Where a group goes on: committed offsets, seeking, restarts.

use super::case::{Place, promises};
use super::fixture::{Checked, Reader, equal, holds, numbered, produce, record, to, words};
use crate::bus::{Happening, TopicPartition};

promises! {
    a_first_group_starts_at_the_earliest_record []
    a_committed_offset_is_the_next_one_to_be_read []
    what_was_not_committed_comes_again []
    offsets_of_several_partitions_are_committed_at_once []
    two_groups_read_independently []
    offsets_tell_how_far_a_group_has_read []
    a_seek_moves_the_reading_and_not_what_is_committed []
    a_committed_offset_that_is_not_there_is_told []
    a_consumer_of_fixed_partitions_has_only_these []
    acknowledged_records_are_there_after_a_restart [Durability]
    a_group_goes_on_from_its_committed_offset_after_a_restart [Durability]
}

async fn a_first_group_starts_at_the_earliest_record(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..5)).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.until_it_has(1).await?;
    equal("committed", &reader.told.into_values().collect(), &vec![None])?;
    let mut reader = Reader::new(place, &*bus, "h", &[&topic]).await?;
    equal("texts", &reader.texts(5).await?, &words("r", 0..5))
}

async fn a_committed_offset_is_the_next_one_to_be_read(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..10)).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.take(10).await?;
    for committed in [4, 7, 0, 10] {
        reader.commit(&topic, 0, committed).await?;
        drop(reader);
        produce(place, &*bus, numbered(&topic, 0, "further", [committed])).await?;
        reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
        equal("the next offset", &reader.take(1).await?[0].offset, &committed)?;
        equal("told", &reader.told.values().copied().collect(), &vec![Some(committed)])?;
    }
    Ok(())
}

async fn what_was_not_committed_comes_again(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    produce(place, &*bus, [numbered(&topic, 0, "r", 0..5), numbered(&topic, 1, "r", 5..10)].concat()).await?;
    for _ in 0..3 {
        let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
        let mut texts = reader.texts(10).await?;
        texts.sort();
        equal("texts", &texts, &words("r", 0..10))?;
    }
    Ok(())
}

async fn offsets_of_several_partitions_are_committed_at_once(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (a, b) = (place.topic(&*bus, "a", 2).await?, place.topic(&*bus, "b", 1).await?);
    let all = [numbered(&a, 0, "r", 0..5), numbered(&a, 1, "r", 0..5), numbered(&b, 0, "r", 0..5)].concat();
    produce(place, &*bus, all).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&a, &b]).await?;
    reader.take(15).await?;
    let offsets = vec![
        (TopicPartition::new(a.clone(), 0), 1),
        (TopicPartition::new(a.clone(), 1), 5),
        (TopicPartition::new(b.clone(), 0), 3),
    ];
    reader.consumer.commit(offsets.clone()).await?;
    reader.consumer.commit(Vec::new()).await?;
    for (partition, committed) in offsets {
        let found = bus.offsets(partition, &place.named("g")).await?;
        equal("offsets", &(found.earliest, found.end, found.committed), &(0, 5, Some(committed)))?;
    }
    Ok(())
}

async fn two_groups_read_independently(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..6)).await?;
    let mut one = Reader::new(place, &*bus, "one", &[&topic]).await?;
    let mut two = Reader::new(place, &*bus, "two", &[&topic]).await?;
    equal("one", &one.texts(6).await?, &words("r", 0..6))?;
    one.commit(&topic, 0, 6).await?;
    equal("two", &two.texts(6).await?, &words("r", 0..6))?;
    two.commit(&topic, 0, 2).await?;
    drop((one, two));
    produce(place, &*bus, numbered(&topic, 0, "r", [6])).await?;
    let mut one = Reader::new(place, &*bus, "one", &[&topic]).await?;
    let mut two = Reader::new(place, &*bus, "two", &[&topic]).await?;
    equal("one again", &one.texts(1).await?, &words("r", [6]))?;
    equal("two again", &two.texts(5).await?, &words("r", 2..7))
}

async fn offsets_tell_how_far_a_group_has_read(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    let partition = TopicPartition::new(topic.clone(), 1);
    produce(place, &*bus, numbered(&topic, 1, "r", 0..8)).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.take(8).await?;
    let group = place.named("g");
    equal("before a commit", &bus.offsets(partition.clone(), &group).await?.committed, &None)?;
    reader.commit(&topic, 1, 5).await?;
    let found = bus.offsets(partition.clone(), &group).await?;
    equal("offsets", &(found.earliest, found.end, found.committed), &(0, 8, Some(5)))?;
    equal("of another group", &bus.offsets(partition, "another").await?.committed, &None)?;
    let other = TopicPartition::new(topic, 0);
    equal("of another partition", &bus.offsets(other, &group).await?.committed, &None)
}

async fn a_seek_moves_the_reading_and_not_what_is_committed(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..10)).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.take(10).await?;
    reader.commit(&topic, 0, 9).await?;
    reader.seek(&topic, 0, 3).await?;
    equal("back", &reader.texts(7).await?, &words("r", 3..10))?;
    reader.seek(&topic, 0, 8).await?;
    reader.seek(&topic, 0, 6).await?;
    equal("twice", &reader.texts(4).await?, &words("r", 6..10))?;
    reader.seek(&topic, 0, 0).await?;
    reader.seek(&topic, 0, 10).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", [10])).await?;
    equal("to the end", &reader.texts(1).await?, &words("r", [10]))?;
    let offsets = bus.offsets(TopicPartition::new(topic, 0), &place.named("g")).await?;
    equal("committed", &offsets.committed, &Some(9))?;
    let foreign = TopicPartition::new(place.named("unknown"), 0);
    holds("no seek where it has nothing", reader.consumer.seek(&foreign, 0).await.is_err())
}

async fn a_committed_offset_that_is_not_there_is_told(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..10)).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.take(10).await?;
    reader.commit(&topic, 0, 1_000).await?;
    drop(reader);
    produce(place, &*bus, numbered(&topic, 1, "other", 0..3)).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    while reader.out_of_range.is_empty() {
        reader.step().await?;
    }
    let partition = TopicPartition::new(topic.clone(), 0);
    equal("what is told", &reader.out_of_range, &vec![(partition, 1_000, 0, 10)])?;
    equal("the other partition goes on", &reader.texts(3).await?, &words("other", 0..3))?;
    produce(place, &*bus, [numbered(&topic, 0, "r", [10]), numbered(&topic, 1, "other", [3])].concat()).await?;
    equal("nothing comes before a seek", &reader.texts(1).await?, &words("other", [3]))?;
    reader.seek(&topic, 0, 8).await?;
    equal("after a seek", &reader.texts(3).await?, &words("r", 8..11))?;
    equal("told once", &reader.out_of_range.len(), &1)
}

async fn a_consumer_of_fixed_partitions_has_only_these(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    if bus.traits().rebalances {
        // a bus that rebalances pays no heed: the consumer has all of them
        let topic = place.topic(&*bus, "a", 3).await?;
        let subscription = crate::bus::Subscription { fixed: Some(vec![1]), ..place.subscription("g", &[&topic]) };
        return Reader::with(place, &*bus, subscription).await?.until_it_has(3).await;
    }
    let topic = place.topic(&*bus, "a", 4).await?;
    produce(place, &*bus, (0..4).map(|p| to(&topic, p, record(format!("in {p}")))).collect()).await?;
    let subscription = crate::bus::Subscription { fixed: Some(vec![3, 1]), ..place.subscription("g", &[&topic]) };
    let mut reader = Reader::with(place, &*bus, subscription).await?;
    let mut texts = reader.texts(2).await?;
    texts.sort();
    equal("texts", &texts, &words("in", [1, 3]))?;
    equal("partitions", &reader.has.keys().map(|p| p.partition).collect(), &vec![1, 3])
}

async fn acknowledged_records_are_there_after_a_restart(place: Place<'_>) -> Checked {
    let mut bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    for round in 0..3 {
        let more = round * 10..round * 10 + 10;
        let offsets = produce(place, &*bus, numbered(&topic, 1, "r", more.clone())).await?;
        equal("offsets go on", &offsets, &more.collect())?;
        drop(bus);
        bus = place.open().await?;
        equal("partitions", &bus.partitions(topic.clone()).await?, &Some(2))?;
    }
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    equal("texts", &reader.texts(30).await?, &words("r", 0..30))
}

async fn a_group_goes_on_from_its_committed_offset_after_a_restart(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    produce(place, &*bus, [numbered(&topic, 0, "r", 0..10), numbered(&topic, 1, "s", 0..10)].concat()).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.take(20).await?;
    reader.commit(&topic, 0, 6).await?;
    drop((reader, bus));
    let bus = place.open().await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    let mut texts = reader.texts(14).await?;
    texts.sort();
    equal("texts", &texts, &[words("r", 6..10), words("s", 0..10)].concat())?;
    equal("committed", &reader.told.values().copied().collect(), &vec![Some(6), None])?;
    let happening = reader.step();
    let produced = produce(place, &*bus, numbered(&topic, 1, "s", [10]));
    let (happening, _) = futures_util::future::try_join(happening, produced).await?;
    holds("a reader that waits is woken", matches!(happening, Happening::Records(_)))
}
