//! A bus whose partitions stand still, or fail, for as long as a test says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use phoenix_runtime::bus::{
    Bus, BusError, Consumer, Follower, Keep, Offsets, Outgoing, Subscription, TopicPartition, Traits,
};
use phoenix_runtime::domain::ports::BoxFuture;
use tokio::sync::watch;

/// What becomes of a call that has a record for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// Nothing, until that changes.
    Hang,
    Fail,
}

/// A call is as its slowest partition, and as unsuccessful as the worst of them.
#[derive(Debug)]
pub(crate) struct Stubborn {
    inner: Arc<dyn Bus>,
    does: watch::Sender<BTreeMap<u16, Does>>,
    /// The partition of each record of each call.
    calls: Mutex<Vec<Vec<u16>>>,
}

impl Stubborn {
    pub(crate) fn new(inner: Arc<dyn Bus>) -> Self {
        Self { inner, does: watch::Sender::default(), calls: Mutex::default() }
    }

    pub(crate) fn now(&self, partition: u16, does: Option<Does>) {
        self.does.send_modify(|all| match does {
            Some(does) => drop(all.insert(partition, does)),
            None => drop(all.remove(&partition)),
        });
    }

    /// The calls since the last question.
    pub(crate) fn calls(&self) -> Vec<Vec<u16>> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Bus for Stubborn {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn traits(&self) -> Traits {
        self.inner.traits()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn partitions(&self, topic: Arc<str>) -> BoxFuture<'_, Result<Option<u16>, BusError>> {
        self.inner.partitions(topic)
    }

    fn create_keeping(&self, topic: Arc<str>, partitions: u16, keep: Keep) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.create_keeping(topic, partitions, keep)
    }

    fn produce(&self, records: Arc<[Outgoing]>) -> BoxFuture<'_, Vec<Result<u64, BusError>>> {
        let of: Vec<_> = records.iter().map(|outgoing| outgoing.to.partition).collect();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(of.clone());
        Box::pin(async move {
            let mut does = self.does.subscribe();
            let any = |all: &BTreeMap<u16, Does>, what| of.iter().any(|partition| all.get(partition) == Some(&what));
            // an error means that the test is over
            drop(does.wait_for(|all| !any(all, Does::Hang)).await);
            if any(&does.borrow(), Does::Fail) {
                return records.iter().map(|_| Err(BusError::Unavailable("stubborn".to_owned()))).collect();
            }
            self.inner.produce(records).await
        })
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        self.inner.subscribe(subscription)
    }

    fn follow(
        &self,
        partition: TopicPartition,
        max_records: usize,
    ) -> BoxFuture<'_, Result<Box<dyn Follower>, BusError>> {
        self.inner.follow(partition, max_records)
    }

    fn offsets(&self, partition: TopicPartition, group: &str) -> BoxFuture<'_, Result<Offsets, BusError>> {
        self.inner.offsets(partition, group)
    }
}
