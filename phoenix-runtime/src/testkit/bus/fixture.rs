//! Records, a reader that keeps account of what it has, and comparisons that say where they failed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use super::case::{Failure, Place};
use crate::bus::{
    Bus, BusError, Consumer, Happening, Headers, Outgoing, Received, Record, Subscription, TopicPartition,
};

pub(super) type Checked = Result<(), Failure>;

#[track_caller]
pub(super) fn equal<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Checked {
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(format_args!("{what}: expected {expected:?}, found {found:?}")))
}

#[track_caller]
pub(super) fn holds(what: &str, truth: bool) -> Checked {
    equal(what, &truth, &true)
}

/// What comes of a future, unless it takes too long.
pub(super) async fn within<T>(place: Place<'_>, what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    let patience = place.subject.patience();
    tokio::time::timeout(patience, future)
        .await
        .map_err(|_| Failure::new(format_args!("{what}: nothing within {patience:?}")))
}

pub(super) fn record(value: impl Into<Vec<u8>>) -> Record {
    Record { key: None, headers: Headers::new(), value: value.into() }
}

pub(super) fn to(topic: &Arc<str>, partition: u16, record: Record) -> Outgoing {
    Outgoing { to: TopicPartition::new(Arc::clone(topic), partition), record }
}

/// The records `{word} {n}` for each of the numbers.
pub(super) fn numbered(
    topic: &Arc<str>,
    partition: u16,
    word: &str,
    numbers: impl IntoIterator<Item = u64>,
) -> Vec<Outgoing> {
    numbers.into_iter().map(|n| to(topic, partition, record(format!("{word} {n}")))).collect()
}

pub(super) fn words(word: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("{word} {n}")).collect()
}

/// Sends records, all of which are to be acknowledged, and tells their offsets.
pub(super) async fn produce(place: Place<'_>, bus: &dyn Bus, records: Vec<Outgoing>) -> Result<Vec<u64>, Failure> {
    let count = records.len();
    let answers = within(place, "produce", bus.produce(records.into())).await?;
    equal("an answer for each record", &answers.len(), &count)?;
    answers.into_iter().map(|answer| answer.map_err(Failure::from)).collect()
}

pub(super) fn text(received: &Received) -> String {
    String::from_utf8_lossy(&received.record.value).into_owned()
}

/// A consumer, and what it was told.
pub(super) struct Reader<'a> {
    place: Place<'a>,
    pub(super) consumer: Box<dyn Consumer>,
    /// The partitions that it has, with the offset of the next record that it is to get.
    pub(super) has: BTreeMap<TopicPartition, u64>,
    /// The committed offset that it was told of each partition, the last time.
    pub(super) told: BTreeMap<TopicPartition, Option<u64>>,
    /// Everything that it got and that was not taken yet.
    pub(super) got: Vec<Received>,
    pub(super) out_of_range: Vec<(TopicPartition, u64, u64, u64)>,
    pub(super) lost: Vec<TopicPartition>,
}

impl<'a> Reader<'a> {
    pub(super) async fn new(
        place: Place<'a>,
        bus: &dyn Bus,
        group: &str,
        topics: &[&Arc<str>],
    ) -> Result<Self, Failure> {
        Self::with(place, bus, place.subscription(group, topics)).await
    }

    pub(super) async fn with(place: Place<'a>, bus: &dyn Bus, subscription: Subscription) -> Result<Self, Failure> {
        let consumer = within(place, "subscribe", bus.subscribe(subscription)).await??;
        let (has, told) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { place, consumer, has, told, got: Vec::new(), out_of_range: Vec::new(), lost: Vec::new() })
    }

    /// What happens next, after it was noted. What is revoked is released at once.
    pub(super) async fn step(&mut self) -> Result<Happening, Failure> {
        let happening = within(self.place, "next", self.next()).await??;
        self.note(&happening)?;
        if let Happening::Revoking(partitions) = &happening {
            self.release(partitions.clone()).await?;
        }
        Ok(happening)
    }

    /// The next happening; a bus that can't be reached for now is asked again.
    pub(super) async fn next(&mut self) -> Result<Happening, BusError> {
        loop {
            match self.consumer.next().await {
                Err(BusError::Unavailable(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }

    /// Keeps account, and checks what can be checked of one happening.
    pub(super) fn note(&mut self, happening: &Happening) -> Checked {
        match happening {
            Happening::Assigned(partitions) => {
                for (partition, committed) in partitions {
                    // topics of the suite are new: their earliest record is the first one
                    let before = self.has.insert(partition.clone(), committed.unwrap_or(0));
                    self.told.insert(partition.clone(), *committed);
                    equal("a partition that it had already", &before, &None)?;
                }
            }
            Happening::Revoking(partitions) => {
                let foreign = partitions.iter().find(|partition| !self.has.contains_key(partition));
                equal("a revoked partition that it did not have", &foreign, &None)?;
            }
            Happening::Lost(partitions) => {
                for partition in partitions {
                    holds("it had what it lost", self.has.remove(partition).is_some())?;
                    self.lost.push(partition.clone());
                }
            }
            Happening::Records(records) => {
                holds("records that are none", !records.is_empty())?;
                for received in records {
                    let Some(next) = self.has.get_mut(&received.from) else {
                        return Err(Failure::new(format_args!(
                            "a record of {}, which it does not have",
                            received.from
                        )));
                    };
                    equal(&format!("the next record of {} in its order", received.from), &received.offset, next)?;
                    *next += 1;
                    self.got.push(received.clone());
                }
            }
            Happening::OutOfRange { partition, wanted, earliest, end } => {
                holds("out of range is what it has", self.has.contains_key(partition))?;
                self.out_of_range.push((partition.clone(), *wanted, *earliest, *end));
            }
        }
        Ok(())
    }

    pub(super) async fn release(&mut self, partitions: Vec<TopicPartition>) -> Checked {
        for partition in &partitions {
            self.has.remove(partition);
        }
        Ok(within(self.place, "release", self.consumer.release(partitions)).await??)
    }

    /// Goes on until it has this many partitions.
    pub(super) async fn until_it_has(&mut self, partitions: usize) -> Checked {
        while self.has.len() != partitions {
            self.step().await?;
        }
        Ok(())
    }

    /// Goes on until it got this many records, and takes them.
    pub(super) async fn take(&mut self, count: usize) -> Result<Vec<Received>, Failure> {
        while self.got.len() < count {
            self.step().await?;
        }
        Ok(self.got.drain(..count).collect())
    }

    /// The texts of the next records.
    pub(super) async fn texts(&mut self, count: usize) -> Result<Vec<String>, Failure> {
        Ok(self.take(count).await?.iter().map(text).collect())
    }

    pub(super) async fn commit(&mut self, topic: &Arc<str>, partition: u16, offset: u64) -> Result<(), BusError> {
        self.consumer.commit(vec![(TopicPartition::new(Arc::clone(topic), partition), offset)]).await
    }

    pub(super) async fn seek(&mut self, topic: &Arc<str>, partition: u16, offset: u64) -> Checked {
        let partition = TopicPartition::new(Arc::clone(topic), partition);
        within(self.place, "seek", self.consumer.seek(&partition, offset)).await??;
        self.has.insert(partition, offset);
        Ok(())
    }
}
