//! What is promised of the adapters besides what all buses promise.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use phoenix_runtime::bus::kafka::{KafkaBus, KafkaOptions};
use phoenix_runtime::bus::{
    Bus, BusError, Happening, Headers, Outgoing, Received, Record, Subscription, TopicPartition,
};
use phoenix_test_servers::{Kind, Private, Server, trial};
use tokio::time::timeout;

use crate::subject::{Adapter, prefix};
use crate::{groups, replies, stopped};

const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> Result<T, Failed> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(future))
}

pub(crate) fn trials(adapter: Adapter, kind: Kind, name: &str) -> Vec<Trial> {
    let mut trials = vec![
        trial(kind, format!("{name}: a broker that was killed is found again"), move |_| killed(adapter, kind)),
        trial(kind, format!("{name}: what a frozen broker did not acknowledge is there all the same"), move |_| {
            frozen(adapter, kind)
        }),
    ];
    match adapter {
        Adapter::Kafka => {
            let made = format!("{name}: a topic that it can't make is refused with the command");
            trials.push(trial(kind, made, no_topic));
        }
        Adapter::RdKafka => trials.extend([
            trial(kind, format!("{name}: a second consumer gets a part"), groups::a_second_consumer_gets_a_part),
            trial(kind, format!("{name}: one that does not release loses"), groups::one_that_does_not_release_loses),
            trial(
                kind,
                format!("{name}: a process that was stopped for too long can not commit"),
                stopped::a_stopped_process_can_not_commit,
            ),
            trial(
                kind,
                format!("{name}: a client that comes back after kill -9 is answered at once"),
                replies::a_client_that_comes_back_after_kill_9_is_answered_at_once,
            ),
            trial(
                kind,
                format!("{name}: one that does not ask loses, and one that pauses does not"),
                groups::one_that_does_not_ask_loses_and_one_that_pauses_does_not,
            ),
        ]),
    }
    trials
}

pub(crate) fn numbered(topic: &Arc<str>, partition: u16, numbers: Range<u64>) -> Vec<Outgoing> {
    let record = |n: u64| Record { key: None, headers: Headers::new(), value: n.to_string().into_bytes() };
    numbers.map(|n| Outgoing { to: TopicPartition::new(Arc::clone(topic), partition), record: record(n) }).collect()
}

pub(crate) fn sent(answers: Vec<Result<u64, BusError>>) -> Result<Vec<u64>, BusError> {
    answers.into_iter().collect()
}

async fn made(address: &str, partitions: u16) -> Result<Arc<str>, Failed> {
    let topic: Arc<str> = format!("{}topic", prefix()).into();
    Adapter::RdKafka.connect(address).await?.create(Arc::clone(&topic), partitions).await?;
    Ok(topic)
}

pub(crate) fn subscription(topic: &Arc<str>) -> Subscription {
    let topics = vec![Arc::clone(topic)];
    Subscription { group: format!("{topic}-group"), topics, fixed: None, max_records: 100 }
}

/// Reads until a record has this text.
async fn read_to(consumer: &mut Box<dyn phoenix_runtime::bus::Consumer>, text: &str) -> Result<Vec<Received>, Failed> {
    let mut read: Vec<Received> = Vec::new();
    loop {
        match timeout(PATIENCE, consumer.next()).await.map_err(|_| format!("nothing happens; read {read:?}"))? {
            Ok(Happening::Records(records)) => read.extend(records),
            Ok(Happening::Assigned(_) | Happening::Lost(_)) | Err(BusError::Unavailable(_)) => {}
            other => return Err(format!("{other:?}").into()),
        }
        if read.iter().any(|received| received.record.value == text.as_bytes()) {
            return Ok(read);
        }
    }
}

/// Produces until it is acknowledged.
async fn insist(bus: &dyn Bus, records: &[Outgoing]) -> Result<u64, Failed> {
    let insist = async {
        loop {
            match bus.produce(records.into()).await.remove(0) {
                Err(error) if error.is_passing() => {}
                other => return other,
            }
        }
    };
    Ok(timeout(PATIENCE, insist).await.map_err(|_| "never acknowledged")??)
}

fn killed(adapter: Adapter, kind: Kind) -> Result<(), Failed> {
    let own = Private::start(kind)?;
    wait(async {
        let topic = made(own.address(), 1).await?;
        let bus = adapter.connect(own.address()).await?;
        let mut consumer = bus.subscribe(subscription(&topic)).await?;
        assert_eq!(sent(bus.produce(numbered(&topic, 0, 0..3).into()).await)?, [0, 1, 2]);
        read_to(&mut consumer, "2").await?;
        consumer.commit(vec![(TopicPartition::new(Arc::clone(&topic), 0), 2)]).await?;
        own.kill()?;
        let gone = bus.produce(numbered(&topic, 0, 3..4).into()).await.remove(0).unwrap_err();
        assert!(gone.is_passing(), "{gone}");
        let asked = bus.partitions(Arc::clone(&topic)).await.unwrap_err();
        assert!(matches!(asked, BusError::Unavailable(_)), "{asked}");
        own.restart()?;
        insist(&*bus, &numbered(&topic, 0, 4..5)).await?;
        let read = read_to(&mut consumer, "4").await?;
        assert!(read.windows(2).all(|two| two[0].offset < two[1].offset), "{read:?}");
        let offsets = bus.offsets(TopicPartition::new(Arc::clone(&topic), 0), &format!("{topic}-group")).await?;
        assert_eq!((offsets.earliest, offsets.committed), (0, Some(2)));
        Ok(())
    })?
}

fn frozen(adapter: Adapter, kind: Kind) -> Result<(), Failed> {
    let own = Private::start(kind)?;
    wait(async {
        let topic = made(own.address(), 1).await?;
        let bus = adapter.connect(own.address()).await?;
        let mut consumer = bus.subscribe(subscription(&topic)).await?;
        assert_eq!(sent(bus.produce(numbered(&topic, 0, 0..2).into()).await)?, [0, 1]);
        own.freeze()?;
        let lost = bus.produce(numbered(&topic, 0, 2..3).into()).await.remove(0);
        assert!(matches!(lost, Err(BusError::Unknown(_))), "{lost:?}");
        own.thaw()?;
        // the answer to the lost request is not taken for that to a later one
        let told = insist(&*bus, &numbered(&topic, 0, 3..4)).await?;
        let end = insist(&*bus, &numbered(&topic, 0, 4..5)).await?;
        let mut read = read_to(&mut consumer, "4").await?;
        let is_lost = |received: &Received| received.record.value == b"2";
        if !read.iter().any(is_lost) {
            // it was on another connection, and may come later
            read.extend(read_to(&mut consumer, "2").await?);
        }
        assert_eq!(read.iter().filter(|received| is_lost(received)).count(), 1, "it was sent once: {read:?}");
        let at =
            |offset| read.iter().find(|received| received.offset == offset).map(|found| found.record.value.clone());
        assert_eq!((at(told), at(end)), (Some(b"3".to_vec()), Some(b"4".to_vec())), "{read:?}");
        Ok(())
    })?
}

pub(crate) fn kafka_4_is_refused(server: &'static Server) -> Result<(), Failed> {
    let refused = wait(KafkaBus::connect(vec![server.address().to_owned()], KafkaOptions::default()))?.unwrap_err();
    let BusError::Unsupported(why) = refused else { return Err(format!("{refused:?}").into()) };
    for word in ["Kafka 4", "`rdkafka`", "rdkafka://", server.address()] {
        assert!(why.contains(word), "{why}");
    }
    Ok(())
}

fn no_topic(server: &'static Server) -> Result<(), Failed> {
    wait(async {
        let bus = Adapter::Kafka.connect(server.address()).await?;
        let topic: Arc<str> = format!("{}missing", prefix()).into();
        let refused = bus.create(Arc::clone(&topic), 3).await.unwrap_err();
        assert!(matches!(&refused, BusError::Unsupported(why) if why.contains("--partitions 3")), "{refused}");
        // looking for it has not made it either
        assert_eq!(bus.partitions(topic).await?, None);
        Ok(())
    })?
}
