//! Groups of Kafka: partitions that move, and consumers that do not do what they should.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use phoenix_runtime::bus::rdkafka::{RdKafkaBus, RdKafkaOptions};
use phoenix_runtime::bus::{Bus, BusError, Consumer, Happening, TopicPartition};
use phoenix_test_servers::Server;
use tokio::time::timeout;

use crate::adapters::{numbered, sent, subscription, wait};
use crate::subject::{prefix, rdkafka_options};

const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct World {
    pub(crate) bus: RdKafkaBus,
    pub(crate) topic: Arc<str>,
}

impl World {
    pub(crate) async fn new(server: &Server, partitions: u16, options: RdKafkaOptions) -> Result<Self, Failed> {
        let bus = RdKafkaBus::connect(vec![server.address().to_owned()], options).await?;
        let topic: Arc<str> = format!("{}topic", prefix()).into();
        bus.create(Arc::clone(&topic), partitions).await?;
        Ok(Self { bus, topic })
    }

    pub(crate) async fn join(&self) -> Result<Box<dyn Consumer>, BusError> {
        self.bus.subscribe(subscription(&self.topic)).await
    }
}

async fn next(consumer: &mut Box<dyn Consumer>) -> Result<Happening, Failed> {
    loop {
        match timeout(PATIENCE, consumer.next()).await.map_err(|_| "nothing happens")? {
            Err(BusError::Unavailable(_)) => {}
            other => return Ok(other?),
        }
    }
}

pub(crate) async fn assigned(consumer: &mut Box<dyn Consumer>) -> Result<Vec<(TopicPartition, Option<u64>)>, Failed> {
    loop {
        if let Happening::Assigned(partitions) = next(consumer).await? {
            return Ok(partitions);
        }
    }
}

/// Reads until as many records are there, and commits behind each.
pub(crate) async fn read(consumer: &mut Box<dyn Consumer>, count: usize) -> Result<Vec<(u16, u64)>, Failed> {
    let mut read = Vec::new();
    while read.len() < count {
        if let Happening::Records(records) = next(consumer).await? {
            for received in records {
                read.push((received.from.partition, received.offset));
                consumer.commit(vec![(received.from, received.offset + 1)]).await?;
            }
        }
    }
    Ok(read)
}

pub(crate) fn a_second_consumer_gets_a_part(server: &'static Server) -> Result<(), Failed> {
    wait(async {
        let world = World::new(server, 4, rdkafka_options()).await?;
        let mut first = world.join().await?;
        assert_eq!(assigned(&mut first).await?.len(), 4);
        for partition in 0..4 {
            sent(world.bus.produce(numbered(&world.topic, partition, 0..5).into()).await)?;
        }
        assert_eq!(read(&mut first, 20).await?.len(), 20);
        let mut second = world.join().await?;
        // only what goes stops: the others stay, and are not given anew
        let mut revoked = loop {
            tokio::select! {
                happening = next(&mut first) => match happening? {
                    Happening::Revoking(partitions) => break partitions,
                    other => return Err(format!("{other:?}").into()),
                },
                happening = next(&mut second) => match happening? {
                    // the round that revokes gives nothing yet
                    Happening::Assigned(partitions) if partitions.is_empty() => {}
                    other => return Err(format!("{other:?} before the first has released").into()),
                },
            }
        };
        assert_eq!(revoked.len(), 2, "{revoked:?}");
        sent(world.bus.produce(numbered(&world.topic, revoked[0].partition, 5..6).into()).await)?;
        // still its own until it is released
        first.commit(vec![(revoked[0].clone(), 4)]).await?;
        first.release(revoked.clone()).await?;
        let lost = first.commit(vec![(revoked[0].clone(), 5)]).await;
        assert!(matches!(lost, Err(BusError::Lost(_))), "{lost:?}");
        let mut given = Vec::new();
        while given.len() < 2 {
            tokio::select! {
                partitions = assigned(&mut second) => given.extend(partitions?),
                happening = next(&mut first) => match happening? {
                    Happening::Assigned(partitions) if partitions.is_empty() => {}
                    other => return Err(format!("{other:?}").into()),
                },
            }
        }
        given.sort();
        revoked.sort();
        let expected: Vec<_> = given.iter().map(|(partition, _)| (partition.clone(), Some(5))).collect();
        let named: Vec<_> = given.iter().map(|(partition, _)| partition.clone()).collect();
        assert_eq!(named, revoked);
        assert_eq!(given.iter().filter(|given| expected.contains(given)).count(), 1, "{given:?}");
        // from the committed offset on: the last one again, and what came since
        let again = read(&mut second, 2).await?;
        assert_eq!(again.iter().map(|(_, offset)| *offset).collect::<BTreeSet<_>>(), BTreeSet::from([4, 5]));
        drop(second);
        let mut back = Vec::new();
        while back.len() < 2 {
            back.extend(assigned(&mut first).await?);
        }
        Ok(())
    })?
}

pub(crate) fn one_that_does_not_release_loses(server: &'static Server) -> Result<(), Failed> {
    wait(async {
        let options = RdKafkaOptions { release_timeout: Duration::from_secs(2), ..rdkafka_options() };
        let world = World::new(server, 2, options).await?;
        let mut first = world.join().await?;
        assert_eq!(assigned(&mut first).await?.len(), 2);
        let mut second = world.join().await?;
        let mut lost = Vec::new();
        let mut given = Vec::new();
        while lost.is_empty() || given.is_empty() {
            tokio::select! {
                happening = next(&mut first) => match happening? {
                    Happening::Lost(partitions) => lost = partitions,
                    Happening::Revoking(_) => {}
                    Happening::Assigned(partitions) if partitions.is_empty() => {}
                    other => return Err(format!("{other:?}").into()),
                },
                partitions = assigned(&mut second) => given.extend(partitions?.into_iter().map(|(partition, _)| partition)),
            }
        }
        assert_eq!(lost, given);
        let refused = first.commit(vec![(lost[0].clone(), 1)]).await;
        assert_eq!(refused, Err(BusError::Lost(lost[0].clone())));
        Ok(())
    })?
}

pub(crate) fn one_that_does_not_ask_loses_and_one_that_pauses_does_not(server: &'static Server) -> Result<(), Failed> {
    wait(async {
        let options = RdKafkaOptions {
            max_poll_interval: Duration::from_secs(6),
            release_timeout: Duration::from_secs(5),
            ..rdkafka_options()
        };
        let world = World::new(server, 1, options).await?;
        let mut first = world.join().await?;
        let own = assigned(&mut first).await?.remove(0).0;
        first.pause(std::slice::from_ref(&own));
        sent(world.bus.produce(numbered(&world.topic, 0, 0..3).into()).await)?;
        // longer than it may be silent: but it asks
        let quiet = timeout(Duration::from_secs(9), first.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        first.resume(std::slice::from_ref(&own));
        assert_eq!(read(&mut first, 3).await?.len(), 3);
        // now it does not ask, and another one gets what it had
        let mut second = world.join().await?;
        assert_eq!(assigned(&mut second).await?, [(own.clone(), Some(3))]);
        let refused = first.commit(vec![(own.clone(), 1)]).await;
        assert_eq!(refused, Err(BusError::Lost(own.clone())));
        loop {
            match next(&mut first).await? {
                Happening::Lost(partitions) => {
                    assert_eq!(partitions, [own]);
                    return Ok(());
                }
                Happening::Revoking(_) => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
    })?
}
