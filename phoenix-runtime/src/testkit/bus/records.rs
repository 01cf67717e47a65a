//! What a record is when it comes out again.

use std::collections::BTreeMap;

use super::case::{Place, promises};
use super::fixture::{Checked, Reader, equal, holds, numbered, produce, record, text, to, within, words};
use crate::bus::{BusError, Record};

promises! {
    records_of_a_partition_keep_their_order []
    a_record_goes_to_the_partition_that_it_names []
    keys_and_values_come_out_as_they_went_in []
    headers_come_out_as_they_went_in [Headers]
    a_record_that_is_too_large_is_refused_alone []
    an_empty_call_is_answered []
}

async fn records_of_a_partition_keep_their_order(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    let mut offsets = produce(place, &*bus, numbered(&topic, 0, "r", 0..300)).await?;
    for n in 300..320 {
        offsets.extend(produce(place, &*bus, numbered(&topic, 0, "r", [n])).await?);
    }
    equal("offsets", &offsets, &(0..320).collect())?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    let got = reader.take(320).await?;
    equal("texts", &got.iter().map(text).collect(), &words("r", 0..320))?;
    equal("offsets that were read", &got.iter().map(|received| received.offset).collect(), &offsets)
}

async fn a_record_goes_to_the_partition_that_it_names(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 5).await?;
    // equal keys, which other partitioners would put into one partition
    let keyed = |n: u16| to(&topic, n * 3 % 5, Record { key: Some(b"same".to_vec()), ..record(n.to_string()) });
    produce(place, &*bus, (0..50).map(keyed).collect()).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for received in reader.take(50).await? {
        found.entry(received.from.partition).or_default().push(text(&received));
    }
    let of = |partition| (0..50).filter(|n| n * 3 % 5 == partition).map(|n: u16| n.to_string()).collect();
    equal("partitions", &found, &(0..5).map(|partition| (partition, of(partition))).collect())
}

async fn there_and_back(place: Place<'_>, records: Vec<Record>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 1).await?;
    produce(place, &*bus, records.iter().map(|record| to(&topic, 0, record.clone())).collect()).await?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    for (index, expected) in records.iter().enumerate() {
        let got = reader.take(1).await?.remove(0).record;
        // not the records themselves: some are large
        let sizes = |record: &Record| (record.key.as_ref().map(Vec::len), record.headers.len(), record.value.len());
        equal(&format!("the sizes of record {index}"), &sizes(&got), &sizes(expected))?;
        holds(&format!("record {index} is the same"), got == *expected)?;
    }
    Ok(())
}

async fn keys_and_values_come_out_as_they_went_in(place: Place<'_>) -> Checked {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let large = place.open().await?.traits().max_record_bytes * 9 / 10;
    let records = vec![
        Record { key: Some(b"k".to_vec()), ..record("v") },
        Record { key: Some(all_bytes.clone()), ..record(all_bytes) },
        Record { key: None, ..record("without a key") },
        Record { key: Some(b"without a value".to_vec()), ..record("") },
        record(vec![0xff; large]),
        record("behind the large one"),
    ];
    there_and_back(place, records).await
}

async fn headers_come_out_as_they_went_in(place: Place<'_>) -> Checked {
    let records = vec![
        Record { headers: [("ce_id", "1"), ("traceparent", "00-ab-cd-01")].into(), ..record("two") },
        Record { headers: [("b", "1"), ("a", "2"), ("b", "3")].into(), ..record("in their order") },
        Record { headers: [("empty", &[][..]), ("binary", &[0, 255, 128])].into(), ..record("odd values") },
        record("none"),
        Record { headers: (0..100).map(|n| (format!("h{n}"), "x")).collect(), ..record("many") },
        Record { headers: [("größe", "ß")].into(), ..record("not only ASCII") },
    ];
    there_and_back(place, records).await
}

async fn a_record_that_is_too_large_is_refused_alone(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    let topic = place.topic(&*bus, "a", 2).await?;
    let oversize = place.subject.oversize(&*bus);
    let records = vec![
        to(&topic, 0, record("one")),
        to(&topic, 0, record(vec![7; oversize])),
        to(&topic, 1, record("two")),
        to(&topic, 0, record("three")),
    ];
    let answers = within(place, "produce", bus.produce(records.into())).await?;
    let refused = |answer: &Result<u64, BusError>| matches!(answer, Err(BusError::Refused(_)));
    equal("which one is refused", &answers.iter().map(refused).collect(), &vec![false, true, false, false])?;
    equal("the first", &answers[0], &Ok(0))?;
    equal("the one in the other partition", &answers[2], &Ok(0))?;
    equal("the one behind it", &answers[3], &Ok(1))?;
    let mut reader = Reader::new(place, &*bus, "g", &[&topic]).await?;
    let mut texts = reader.texts(3).await?;
    texts.sort();
    equal("texts", &texts, &["one", "three", "two"].map(str::to_owned).to_vec())
}

async fn an_empty_call_is_answered(place: Place<'_>) -> Checked {
    let bus = place.open().await?;
    equal("answers", &within(place, "produce", bus.produce(Vec::new().into())).await?.len(), &0)
}
