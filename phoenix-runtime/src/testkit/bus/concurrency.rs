//! Many at once.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use super::case::{Place, promises};
use super::fixture::{Checked, Reader, equal, numbered, produce, text};

promises! {
    each_producer_keeps_its_order_among_others []
    records_are_read_while_others_are_sent []
}

const PRODUCERS: u64 = 8;
const EACH: u64 = 30;
const ALL: usize = 240;

async fn each_producer_keeps_its_order_among_others(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    let producer = |producer: u64| {
        let (bus, topic) = (&bus, &topic);
        async move {
            let mut offsets = Vec::new();
            for n in 0..EACH {
                let partition = u16::from(n % 2 == 0);
                for offset in produce(place, &**bus, numbered(topic, partition, &format!("p{producer}"), [n])).await? {
                    offsets.push((partition, offset, format!("p{producer} {n}")));
                }
            }
            Ok::<_, super::Failure>(offsets)
        }
    };
    let told: BTreeSet<_> = try_join_all((0..PRODUCERS).map(producer)).await?.into_iter().flatten().collect();
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    let got = reader.take(ALL).await?;
    let found = got.iter().map(|received| (received.from.partition, received.offset, text(received)));
    equal("every record is where its producer was told", &found.collect(), &told)?;
    let mut last: BTreeMap<(u16, String), u64> = BTreeMap::new();
    for received in &got {
        let text = text(received);
        let (producer, n) = text.split_once(' ').unwrap_or_default();
        let n = n.parse().unwrap_or_default();
        let before = last.insert((received.from.partition, producer.to_owned()), n);
        equal("in the order of its producer", &(before < Some(n)), &true)?;
    }
    Ok(())
}

async fn records_are_read_while_others_are_sent(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 3).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    let send = |partition: u16| {
        let (bus, topic) = (&bus, &topic);
        async move {
            for n in 0..40 {
                produce(place, &**bus, numbered(topic, partition, "r", n * 5..n * 5 + 5)).await?;
            }
            Ok::<_, super::Failure>(())
        }
    };
    let (got, _) = futures_util::future::try_join(reader.take(600), try_join_all((0..3).map(send))).await?;
    // the reader checks that none is missing and none comes twice
    equal("records", &got.len(), &600)
}
