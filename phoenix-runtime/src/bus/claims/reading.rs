//! Consumers and followers that fetch bodies before they hand records on. While bodies can't be reached, what was read is
//! kept here and nothing behind it is read, so that nothing is lost and the order stays.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::check::Inner;
use crate::bus::envelope::claim;
use crate::bus::port::{BusError, Consumer, Follower, Happening, Received, Record, TopicPartition};
use crate::domain::ports::BoxFuture;

/// Records that were read and not handed on.
#[derive(Default)]
struct Held {
    records: VecDeque<Received>,
    /// How many of them have their bodies.
    whole: usize,
    /// The body of the next one. It outlives the call that asked, so that one who often drops a call gets on all the same.
    fetching: Option<BoxFuture<'static, Result<Option<Record>, BusError>>>,
}

impl Held {
    /// Those that come first, as many as have their bodies or get them now.
    async fn take(&mut self, check: &Arc<Inner>) -> Result<Vec<Received>, BusError> {
        while let Some(received) = self.records.get_mut(self.whole) {
            let fetching = self.fetching.get_or_insert_with(|| {
                let (check, record) = (Arc::clone(check), received.record.clone());
                Box::pin(async move { check.check_out(&record).await })
            });
            let fetched = fetching.await;
            self.fetching = None;
            match fetched {
                Ok(None) => {}
                Ok(Some(record)) => received.record = record,
                Err(error) if self.whole == 0 => return Err(error),
                // the next call tells, if it is still so
                Err(_) => break,
            }
            self.whole += 1;
        }
        let whole = std::mem::take(&mut self.whole);
        Ok(self.records.drain(..whole).collect())
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        let whole = self.records.iter().take(self.whole);
        self.whole = whole.filter(|received| !partitions.contains(&received.from)).count();
        self.records.retain(|received| !partitions.contains(&received.from));
        // perhaps of one that is gone
        self.fetching = None;
    }
}

pub(super) struct CheckingConsumer {
    check: Arc<Inner>,
    consumer: Box<dyn Consumer>,
    held: Held,
    /// Of partitions that were paused since they were read.
    aside: VecDeque<Received>,
}

impl fmt::Debug for CheckingConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckingConsumer({:?}, {} held)", self.consumer, self.held.records.len() + self.aside.len())
    }
}

impl CheckingConsumer {
    pub(super) fn new(check: Arc<Inner>, consumer: Box<dyn Consumer>) -> Self {
        Self { check, consumer, held: Held::default(), aside: VecDeque::new() }
    }

    async fn next_happening(&mut self) -> Result<Happening, BusError> {
        loop {
            if !self.held.records.is_empty() {
                let records = self.held.take(&self.check).await?;
                if !records.is_empty() {
                    return Ok(Happening::Records(records));
                }
            }
            match self.consumer.next().await? {
                Happening::Records(records) => {
                    if records.iter().all(|received| claim::found(&received.record).is_none()) {
                        return Ok(Happening::Records(records));
                    }
                    self.held.records.extend(records);
                }
                other => {
                    match &other {
                        Happening::Revoking(gone) | Happening::Lost(gone) => self.forget(gone),
                        Happening::Assigned(new) => {
                            let new: Vec<_> = new.iter().map(|(partition, _)| partition.clone()).collect();
                            self.forget(&new);
                        }
                        Happening::Records(_) | Happening::OutOfRange { .. } => {}
                    }
                    return Ok(other);
                }
            }
        }
    }

    /// What was read of these partitions is not handed on.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.held.forget(partitions);
        self.aside.retain(|received| !partitions.contains(&received.from));
    }
}

impl Consumer for CheckingConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Happening, BusError>> {
        Box::pin(self.next_happening())
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> BoxFuture<'_, Result<(), BusError>> {
        self.consumer.commit(offsets)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        let aside = self.held.records.iter().filter(|received| partitions.contains(&received.from)).cloned();
        self.aside.extend(aside.collect::<Vec<_>>());
        self.held.forget(partitions);
        self.consumer.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        // before what the bus gives of them
        let (back, aside) = std::mem::take(&mut self.aside).into_iter().partition(|one| partitions.contains(&one.from));
        self.aside = aside;
        self.held.records.extend::<VecDeque<Received>>(back);
        self.consumer.resume(partitions);
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> BoxFuture<'_, Result<(), BusError>> {
        let of = std::slice::from_ref(partition);
        self.held.forget(of);
        self.aside.retain(|received| received.from != *partition);
        self.consumer.seek(partition, offset)
    }

    fn release(&mut self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), BusError>> {
        self.forget(&partitions);
        self.consumer.release(partitions)
    }
}

pub(super) struct CheckingFollower {
    check: Arc<Inner>,
    follower: Box<dyn Follower>,
    held: Held,
}

impl fmt::Debug for CheckingFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckingFollower({:?})", self.follower)
    }
}

impl CheckingFollower {
    pub(super) fn new(check: Arc<Inner>, follower: Box<dyn Follower>) -> Self {
        Self { check, follower, held: Held::default() }
    }

    async fn next_records(&mut self) -> Result<Vec<Received>, BusError> {
        loop {
            if self.held.records.is_empty() {
                self.held.records.extend(self.follower.next().await?);
            }
            let records = self.held.take(&self.check).await?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }
}

impl Follower for CheckingFollower {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Received>, BusError>> {
        Box::pin(self.next_records())
    }
}
