//! Topics and their partitions, and what a bus says of itself.

use super::case::{Place, promises};
use super::fixture::{Checked, equal, holds, produce, record, to, within};
use super::subject::Need;
use crate::bus::{BusError, TopicPartition};

promises! {
    what_it_lacks_is_what_it_declares []
    a_topic_that_is_made_has_its_partitions []
    making_a_topic_again_changes_nothing [Create]
    another_number_of_partitions_is_refused [Create]
    an_unknown_topic_or_partition_is_named_and_the_others_go_through []
}

async fn what_it_lacks_is_what_it_declares(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (lacks, traits) = (place.subject.lacks(), bus.traits());
    holds("it has a name", !bus.name().is_empty())?;
    equal("headers", &traits.headers, &!lacks.contains(&Need::Headers))?;
    equal("rebalances", &traits.rebalances, &!lacks.contains(&Need::Rebalances))?;
    equal("durability", &bus.is_durable(), &!lacks.contains(&Need::Durability))?;
    equal("server faults", &place.subject.servers().is_some(), &!lacks.contains(&Need::ServerFaults))?;
    holds("a record of some size goes through", traits.max_record_bytes >= 16 << 10)
}

async fn a_topic_that_is_made_has_its_partitions(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    equal("before", &bus.partitions(place.named("a")).await?, &None)?;
    let topic = place.topic(&*bus, "a", 7).await?;
    equal("partitions", &bus.partitions(topic.clone()).await?, &Some(7))?;
    let offsets = bus.offsets(TopicPartition::new(topic, 6), &place.named("nobody")).await?;
    equal("nothing in it", &(offsets.earliest, offsets.end, offsets.committed), &(0, 0, None))
}

async fn making_a_topic_again_changes_nothing(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 3).await?;
    equal("its first record", &produce(place, &*bus, vec![to(&topic, 2, record("x"))]).await?, &vec![0])?;
    bus.create(topic.clone(), 3).await?;
    equal("partitions", &bus.partitions(topic.clone()).await?, &Some(3))?;
    equal("its second record", &produce(place, &*bus, vec![to(&topic, 2, record("y"))]).await?, &vec![1])
}

async fn another_number_of_partitions_is_refused(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 3).await?;
    let refused = bus.create(topic.clone(), 4).await;
    equal("refused", &refused, &Err(BusError::Partitions { topic: topic.clone(), found: 3, wanted: 4 }))?;
    equal("partitions", &bus.partitions(topic).await?, &Some(3))
}

async fn an_unknown_topic_or_partition_is_named_and_the_others_go_through(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    let unknown = place.named("unknown");
    let records = vec![
        to(&topic, 1, record("first")),
        to(&unknown, 0, record("lost")),
        to(&topic, 2, record("beyond")),
        to(&topic, 1, record("second")),
    ];
    let answers = within(place, "produce", bus.produce(records.into())).await?;
    let no = |topic, partition| Err(BusError::NoTopic(TopicPartition::new(topic, partition)));
    equal("answers", &answers, &vec![Ok(0), no(unknown.clone(), 0), no(topic, 2), Ok(1)])?;
    let refused = bus.subscribe(place.subscription("g", &[&unknown])).await.map(drop);
    holds("no consumer of an unknown topic", matches!(refused, Err(BusError::NoTopic(of)) if of.topic == unknown))?;
    let refused = bus.offsets(TopicPartition::new(unknown.clone(), 0), "g").await;
    holds("no offsets of an unknown topic", matches!(refused, Err(BusError::NoTopic(of)) if of.topic == unknown))
}
