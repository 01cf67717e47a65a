//! How a consumer is held back, and what it may rely on meanwhile.

use std::task::Poll;

use super::case::{Place, promises};
use super::fixture::{Checked, Reader, equal, holds, numbered, produce, text, within, words};
use crate::bus::{Happening, Subscription, TopicPartition};

promises! {
    a_paused_partition_gives_nothing_and_the_others_go_on []
    a_pause_loses_nothing []
    no_more_records_come_at_once_than_were_asked_for []
    a_consumer_that_is_slow_gets_everything []
    a_consumer_that_waits_is_woken []
    a_dropped_next_loses_nothing []
    a_consumer_reads_several_topics []
}

async fn a_paused_partition_gives_nothing_and_the_others_go_on(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 3).await?;
    let paused = TopicPartition::new(topic.clone(), 1);
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.until_it_has(3).await?;
    reader.consumer.pause(std::slice::from_ref(&paused));
    let of = |partition| numbered(&topic, partition, "r", 0..50);
    produce(place, &*bus, [of(1), of(0), of(2)].concat()).await?;
    let got = reader.take(100).await?;
    equal("of the paused one", &got.iter().find(|received| received.from == paused), &None)?;
    // again, with records that were there before
    produce(place, &*bus, numbered(&topic, 2, "s", 0..50)).await?;
    equal("of the other one", &reader.texts(50).await?, &words("s", 0..50))?;
    reader.consumer.resume(std::slice::from_ref(&paused));
    let got = reader.take(50).await?;
    holds("all of the one that was paused", got.iter().all(|received| received.from == paused))?;
    equal("in their order", &got.iter().map(text).collect(), &words("r", 0..50))
}

async fn a_pause_loses_nothing(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    let partitions = [0, 1].map(|partition| TopicPartition::new(topic.clone(), partition));
    produce(place, &*bus, [numbered(&topic, 0, "r", 0..200), numbered(&topic, 1, "r", 0..200)].concat()).await?;
    let subscription = Subscription { max_records: 7, ..place.subscription("g", &[&topic]) };
    let mut reader = Reader::with(place, &*bus, subscription).await?;
    reader.until_it_has(2).await?;
    let mut turn = 0;
    // one of them is paused all the time, whatever was fetched for it; the reader checks that nothing is missing
    while reader.has.values().any(|next| *next < 200) {
        let unfinished = partitions.iter().position(|p| reader.has[p] < 200).unwrap_or_default();
        let (on, off) = if reader.has[&partitions[1 - unfinished]] < 200 {
            (turn % 2, 1 - turn % 2)
        } else {
            (unfinished, 1 - unfinished)
        };
        reader.consumer.pause(std::slice::from_ref(&partitions[off]));
        reader.consumer.resume(std::slice::from_ref(&partitions[on]));
        let happening = reader.step().await?;
        if let Happening::Records(records) = happening {
            holds("none of the paused one", records.iter().all(|received| received.from == partitions[on]))?;
        }
        turn += 1;
    }
    equal("records", &reader.got.len(), &400)
}

async fn no_more_records_come_at_once_than_were_asked_for(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    produce(place, &*bus, [numbered(&topic, 0, "r", 0..40), numbered(&topic, 1, "r", 0..40)].concat()).await?;
    for max_records in [1, 3] {
        let group = format!("g{max_records}");
        let subscription = Subscription { max_records, ..place.subscription(&group, &[&topic]) };
        let mut reader = Reader::with(place, &*bus, subscription).await?;
        while reader.got.len() < 80 {
            if let Happening::Records(records) = reader.step().await? {
                holds("not more", records.len() <= max_records)?;
            }
        }
    }
    Ok(())
}

async fn a_consumer_that_is_slow_gets_everything(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    let subscription = Subscription { max_records: 10, ..place.subscription("g", &[&topic]) };
    let mut reader = Reader::with(place, &*bus, subscription).await?;
    reader.until_it_has(2).await?;
    for round in 0..20 {
        let more = round * 50..round * 50 + 50;
        produce(place, &*bus, [numbered(&topic, 0, "r", more.clone()), numbered(&topic, 1, "r", more)].concat())
            .await?;
        reader.step().await?;
    }
    while reader.got.len() < 2_000 {
        reader.step().await?;
    }
    equal("how far it is", &reader.has.values().copied().collect(), &vec![1_000, 1_000])
}

async fn a_consumer_that_waits_is_woken(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    reader.until_it_has(2).await?;
    for n in 0..50 {
        let partition = u16::from(n % 3 == 0);
        let (happening, _) =
            futures_util::future::try_join(reader.step(), produce(place, &*bus, numbered(&topic, partition, "r", [n])))
                .await?;
        holds("it has records", matches!(happening, Happening::Records(_)))?;
        equal("the one that came", &reader.texts(1).await?, &words("r", [n]))?;
    }
    Ok(())
}

async fn a_dropped_next_loses_nothing(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    let subscription = Subscription { max_records: 3, ..place.subscription("g", &[&topic]) };
    let mut reader = Reader::with(place, &*bus, subscription).await?;
    let mut sent = 0;
    let mut polls = 0_u64;
    within(place, "all records", async {
        while reader.got.len() < 300 {
            if sent < 300 {
                let partition = u16::from(sent % 2 == 0);
                produce(place, &*bus, numbered(&topic, partition, "r", [sent])).await?;
                sent += 1;
            }
            // polled a few times and then dropped, in every state that it comes to
            polls += 1;
            let mut left = polls % 4 + 1;
            let mut next = reader.consumer.next();
            let happening = std::future::poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Ready(happening) => Poll::Ready(Some(happening)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    left -= 1;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
            drop(next);
            match happening {
                Some(happening) => reader.note(&happening?)?,
                None => tokio::task::yield_now().await,
            }
        }
        Ok::<_, super::Failure>(())
    })
    .await??;
    equal("how far it is", &reader.has.values().copied().collect(), &vec![150, 150])
}

async fn a_consumer_reads_several_topics(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let (a, b, c) =
        (place.topic(&*bus, "a", 1).await?, place.topic(&*bus, "b", 2).await?, place.topic(&*bus, "c", 1).await?);
    let mut reader = Reader::new(place, &*bus, "g", &[&a, &b]).await?;
    let all = [numbered(&a, 0, "a", 0..20), numbered(&c, 0, "c", 0..20), numbered(&b, 1, "b", 0..20)].concat();
    produce(place, &*bus, all).await?;
    let mut texts = reader.texts(40).await?;
    texts.sort();
    let mut expected = [words("a", 0..20), words("b", 0..20)].concat();
    expected.sort();
    equal("texts", &texts, &expected)?;
    let partitions = reader.has.keys().map(ToString::to_string).collect();
    equal("partitions", &partitions, &vec![format!("{a}/0"), format!("{b}/0"), format!("{b}/1")])
}
