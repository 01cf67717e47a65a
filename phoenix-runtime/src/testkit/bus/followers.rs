//! Followers: whoever reads a partition from now on, without a group.

use std::sync::Arc;

use super::case::{Failure, Place, promises};
use super::fixture::{Checked, Reader, equal, holds, numbered, produce, record, text, to, within, words};
use crate::bus::{Bus, BusError, Follower, Received, TopicPartition};

promises! {
    a_follower_reads_what_comes_after_it_began []
    followers_and_groups_do_not_disturb_each_other []
    a_follower_begins_at_once_where_another_one_was []
    what_nobody_follows_can_not_be_followed []
    a_follower_loses_nothing_when_it_is_interrupted []
    a_follower_begins_at_the_end_after_a_restart [Durability]
    a_follower_goes_on_when_the_servers_are_back [ServerFaults]
}

async fn follow(
    place: Place<'_>,
    bus: &dyn Bus,
    topic: &Arc<str>,
    partition: u16,
) -> Result<Box<dyn Follower>, Failure> {
    let partition = TopicPartition::new(Arc::clone(topic), partition);
    let begin = async {
        loop {
            match bus.follow(partition.clone(), 7).await {
                // a topic that was just made may have no leader yet
                Err(BusError::Unavailable(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    };
    Ok(within(place, "follow", begin).await??)
}

/// The next records, however they are cut.
async fn take(place: Place<'_>, follower: &mut dyn Follower, count: usize) -> Result<Vec<Received>, Failure> {
    let mut got: Vec<Received> = Vec::new();
    while got.len() < count {
        match within(place, "next", follower.next()).await? {
            Ok(records) => {
                holds("records that are none", !records.is_empty())?;
                holds("no more at once than was said", records.len() <= 7)?;
                got.extend(records);
            }
            Err(BusError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
    holds("each behind the other", got.windows(2).all(|two| two[0].offset + 1 == two[1].offset))?;
    Ok(got)
}

async fn texts(place: Place<'_>, follower: &mut dyn Follower, count: usize) -> Result<Vec<String>, Failure> {
    Ok(take(place, follower, count).await?.iter().map(text).collect())
}

async fn a_follower_reads_what_comes_after_it_began(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    produce(place, &*bus, numbered(&topic, 1, "before", 0..5)).await?;
    let mut follower = follow(place, &*bus, &topic, 1).await?;
    produce(place, &*bus, [numbered(&topic, 1, "r", 0..20), numbered(&topic, 0, "elsewhere", 0..5)].concat()).await?;
    let got = take(place, &mut *follower, 20).await?;
    equal("texts", &got.iter().map(text).collect(), &words("r", 0..20))?;
    equal("the first offset", &(got[0].offset, got[0].from.partition), &(5, 1))?;
    // one that waits is woken
    let (got, _) = futures_util::future::try_join(
        texts(place, &mut *follower, 1),
        produce(place, &*bus, numbered(&topic, 1, "r", [20])),
    )
    .await?;
    equal("woken", &got, &words("r", [20]))
}

async fn followers_and_groups_do_not_disturb_each_other(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    let mut one = follow(place, &*bus, &topic, 0).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..3)).await?;
    let mut two = follow(place, &*bus, &topic, 0).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 3..6)).await?;
    equal("one", &texts(place, &mut *one, 6).await?, &words("r", 0..6))?;
    equal("two", &texts(place, &mut *two, 3).await?, &words("r", 3..6))?;
    equal("the group", &reader.texts(6).await?, &words("r", 0..6))?;
    reader.commit(&topic, 0, 6).await?;
    drop((one, reader));
    produce(place, &*bus, numbered(&topic, 0, "r", [6])).await?;
    equal("two goes on", &texts(place, &mut *two, 1).await?, &words("r", [6]))
}

/// The one before is not asked, and need not have gone in good order.
async fn a_follower_begins_at_once_where_another_one_was(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    let mut before = Vec::new();
    for n in 0..3 {
        let mut follower = follow(place, &*bus, &topic, 0).await?;
        produce(place, &*bus, numbered(&topic, 0, "r", [n])).await?;
        equal("at once", &texts(place, &mut *follower, 1).await?, &words("r", [n]))?;
        before.push(follower);
    }
    Ok(())
}

async fn what_nobody_follows_can_not_be_followed(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    for partition in [TopicPartition::new(topic, 2), TopicPartition::new(place.named("missing"), 0)] {
        let refused = within(place, "follow", bus.follow(partition.clone(), 7)).await?.map(drop);
        equal("no such partition", &refused, &Err(BusError::NoTopic(partition)))?;
    }
    Ok(())
}

async fn a_follower_loses_nothing_when_it_is_interrupted(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    let mut follower = follow(place, &*bus, &topic, 0).await?;
    let all = (0..40).map(|n| to(&topic, 0, record(format!("r {n}")))).collect();
    produce(place, &*bus, all).await?;
    let mut got = Vec::new();
    while got.len() < 40 {
        // dropped as soon as it does not answer at once
        let next = tokio::select! {
            biased;
            next = follower.next() => next,
            () = tokio::task::yield_now() => continue,
        };
        match next {
            Ok(records) => got.extend(records),
            Err(BusError::Unavailable(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    equal("texts", &got.iter().map(text).collect(), &words("r", 0..40))
}

async fn a_follower_begins_at_the_end_after_a_restart(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    let follower = follow(place, &*bus, &topic, 0).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..4)).await?;
    drop((follower, bus));
    let bus = place.open().await?;
    let mut follower = follow(place, &*bus, &topic, 0).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", [4])).await?;
    equal("texts", &texts(place, &mut *follower, 1).await?, &words("r", [4]))
}

async fn a_follower_goes_on_when_the_servers_are_back(place: Place<'_>) -> Checked {
    let (bus, servers) = (place.open().await?, place.servers()?);
    let topic = place.topic(&*bus, "a", 1).await?;
    let mut follower = follow(place, &*bus, &topic, 0).await?;
    produce(place, &*bus, numbered(&topic, 0, "r", 0..3)).await?;
    equal("before", &texts(place, &mut *follower, 3).await?, &words("r", 0..3))?;
    servers.kill().await?;
    let lost = within(place, "produce", bus.produce(numbered(&topic, 0, "lost", [0]).into())).await?;
    holds("nobody is there", lost.iter().all(Result::is_err))?;
    servers.revive().await?;
    within(place, "an acknowledgement", async {
        while bus.produce(numbered(&topic, 0, "r", [3]).into()).await.iter().any(Result::is_err) {
            tokio::task::yield_now().await;
        }
    })
    .await?;
    // what had no answer may be there, or come
    while !texts(place, &mut *follower, 1).await?.contains(&"r 3".to_owned()) {}
    Ok(())
}
