//! The bus that fails: it keeps the port's promises on a bad day, and equal seeds give equal days.

#![allow(clippy::unwrap_used, reason = "a test that can't go on stops at the line that says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::{
    Bus, BusError, Consumer, EmbeddedBus, Happening, Outgoing, Record, Subscription, TopicPartition,
};
use phoenix_runtime::testkit::bus::{BusFaults, FaultyBus};
use phoenix_runtime::testkit::simulation::Simulation;

const PARTITIONS: u16 = 3;
const EACH: u16 = 12;
const CONSUMERS: usize = 2;
const SEEDS: u64 = 300;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("faulty::nothing_acknowledged_is_lost_on_a_bad_day", bad_days),
        Trial::test("faulty::equal_seeds_give_equal_days", equal_days),
        Trial::test("faulty::every_fault_happens", every_fault_happens),
    ]
}

/// What a day was like.
#[derive(Debug, Default, PartialEq, Eq)]
struct Day {
    /// Everything that anybody was told, in its order.
    log: Vec<String>,
    /// Each text, as often as a consumer counted it: it is committed behind it.
    counted: BTreeMap<String, u64>,
    /// Partitions of which each consumer believes that they are its own.
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Day>>;

fn note(day: &Shared, line: String) {
    day.lock().unwrap().log.push(line);
}

/// Sends each text until it is acknowledged.
async fn produce(world: Simulation, bus: FaultyBus, topic: Arc<str>, partition: u16, day: Shared) {
    for n in 0..EACH {
        let text = format!("{partition}:{n}");
        loop {
            let record = Record { value: text.clone().into_bytes(), ..Record::default() };
            let to = TopicPartition::new(topic.clone(), partition);
            let answers = bus.produce(vec![Outgoing { to, record }].into()).await;
            note(&day, format!("produced {text}: {answers:?}"));
            match &answers[0] {
                Ok(_) => break,
                Err(error) if error.is_passing() => world.sleep(std::time::Duration::from_millis(5)).await,
                Err(error) => return day.lock().unwrap().wrong.push(format!("{text}: {error}")),
            }
        }
    }
}

async fn subscribe(bus: &FaultyBus, topic: &Arc<str>) -> Box<dyn Consumer> {
    loop {
        let subscription =
            Subscription { group: "g".to_owned(), topics: vec![topic.clone()], fixed: None, max_records: 4 };
        if let Ok(consumer) = bus.subscribe(subscription).await {
            return consumer;
        }
    }
}

/// Reads, counts, and commits behind what it counted; checks that a partition's records have no gap.
async fn consume(me: usize, bus: FaultyBus, topic: Arc<str>, day: Shared) {
    let mut consumer = subscribe(&bus, &topic).await;
    let mut next: BTreeMap<TopicPartition, u64> = BTreeMap::new();
    loop {
        let happening = consumer.next().await;
        note(&day, format!("consumer {me}: {happening:?}"));
        match happening {
            Ok(Happening::Assigned(partitions)) => {
                next.extend(partitions.into_iter().map(|(partition, committed)| (partition, committed.unwrap_or(0))));
            }
            Ok(Happening::Revoking(partitions)) => {
                next.retain(|partition, _| !partitions.contains(partition));
                let _ = consumer.release(partitions).await;
            }
            Ok(Happening::Lost(partitions)) => next.retain(|partition, _| !partitions.contains(partition)),
            Ok(Happening::Records(records)) => {
                let mut offsets = BTreeMap::new();
                for received in records {
                    let mut day = day.lock().unwrap();
                    match next.get_mut(&received.from) {
                        Some(next) if *next == received.offset => *next += 1,
                        other => day.wrong.push(format!("{}@{} where {other:?}", received.from, received.offset)),
                    }
                    let text = String::from_utf8(received.record.value).unwrap();
                    *day.counted.entry(text).or_default() += 1;
                    offsets.insert(received.from, received.offset + 1);
                }
                let committed = consumer.commit(offsets.into_iter().collect()).await;
                note(&day, format!("consumer {me} committed: {committed:?}"));
            }
            Ok(out @ Happening::OutOfRange { .. }) => day.lock().unwrap().wrong.push(format!("{out:?}")),
            Err(BusError::Unavailable(_)) => {}
            Err(error) => day.lock().unwrap().wrong.push(error.to_string()),
        }
    }
}

fn day(seed: u64, faults: BusFaults) -> Result<Day, Failed> {
    let world = Simulation::new(seed);
    let inner = EmbeddedBus::memory(Arc::new(world.clock()))?;
    let bus = FaultyBus::in_world(Arc::new(inner), &world, faults);
    let shared = Shared::default();
    let main = {
        let (world, bus, shared) = (world.clone(), bus.clone(), shared.clone());
        async move {
            let topic: Arc<str> = "t".into();
            while bus.create(topic.clone(), PARTITIONS).await.is_err() {
                world.sleep(std::time::Duration::from_millis(5)).await;
            }
            let group = world.group();
            for me in 0..CONSUMERS {
                world.spawn(group, consume(me, bus.clone(), topic.clone(), shared.clone()));
            }
            let done = Arc::new(tokio::sync::Semaphore::new(0));
            for partition in 0..PARTITIONS {
                let produce = produce(world.clone(), bus.clone(), topic.clone(), partition, shared.clone());
                let done = done.clone();
                world.spawn(group, async move {
                    produce.await;
                    done.add_permits(1);
                });
            }
            let _all = done.acquire_many(u32::from(PARTITIONS)).await;
            bus.heal();
            while shared.lock().unwrap().counted.len() < usize::from(PARTITIONS) * usize::from(EACH) {
                world.sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    };
    let finished = world.run(200_000, main);
    let day = std::mem::take(&mut *shared.lock().unwrap());
    if finished.is_none() {
        let all: BTreeSet<String> = (0..PARTITIONS).flat_map(|p| (0..EACH).map(move |n| format!("{p}:{n}"))).collect();
        let missing: Vec<_> = all.into_iter().filter(|text| !day.counted.contains_key(text)).collect();
        let last = day.log.iter().rev().take(30).rev().cloned().collect::<Vec<_>>().join("\n");
        return Err(format!("seed {seed}: never read: {missing:?}\n{last}").into());
    }
    if let Some(wrong) = day.wrong.first() {
        return Err(format!("seed {seed}: {wrong}\n{}", day.log.join("\n")).into());
    }
    Ok(day)
}

fn bad_days() -> Result<(), Failed> {
    (0..SEEDS).try_for_each(|seed| day(seed, BusFaults::MANY).map(drop))
}

fn equal_days() -> Result<(), Failed> {
    for seed in 0..20 {
        let (one, two) = (day(seed, BusFaults::MANY)?, day(seed, BusFaults::MANY)?);
        let differs = one.log.iter().zip(&two.log).find(|(a, b)| a != b);
        if one != two {
            return Err(format!("seed {seed}: {differs:?}").into());
        }
    }
    Ok(())
}

/// Without its faults a day is as quiet as this test expects of none; with them each of them is seen.
fn every_fault_happens() -> Result<(), Failed> {
    let quiet = day(1, BusFaults::NONE)?;
    let odd = |word: &str, days: &[Day]| days.iter().flat_map(|day| &day.log).any(|line| line.contains(word));
    let days = (0..30).map(|seed| day(seed, BusFaults::MANY)).collect::<Result<Vec<_>, _>>()?;
    for word in ["Unavailable", "Unknown", "Revoking", "Lost("] {
        if !odd(word, &days) {
            return Err(format!("no day has `{word}`").into());
        }
        // both consumers join one after the other, so a quiet day has a rebalance as well
        if word != "Revoking" && odd(word, std::slice::from_ref(&quiet)) {
            return Err(format!("a quiet day has `{word}`").into());
        }
    }
    if quiet.counted.values().any(|times| *times != 1) || days.iter().all(|day| day.counted.values().all(|n| *n == 1)) {
        return Err("a quiet day has each record once, and bad days some twice".into());
    }
    Ok(())
}
