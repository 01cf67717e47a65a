//! A bus whose coordinator does not answer for as long as a test says so.

use std::sync::Arc;

use phoenix_runtime::bus::{
    Bus, BusError, Consumer, Follower, Happening, Keep, Offsets, Outgoing, Subscription, TopicPartition, Traits,
};
use phoenix_runtime::domain::ports::BoxFuture;
use tokio::sync::watch;

/// Commits wait while it is held; everything else goes on.
#[derive(Debug, Clone)]
pub(crate) struct HeldBus {
    inner: Arc<dyn Bus>,
    held: watch::Sender<bool>,
}

impl HeldBus {
    pub(crate) fn new(inner: Arc<dyn Bus>) -> Self {
        Self { inner, held: watch::Sender::new(false) }
    }

    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }
}

#[derive(Debug)]
struct HeldConsumer {
    inner: Box<dyn Consumer>,
    held: watch::Receiver<bool>,
}

impl Consumer for HeldConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Happening, BusError>> {
        self.inner.next()
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            // an error means that the test is over
            drop(self.held.wait_for(|held| !held).await);
            self.inner.commit(offsets).await
        })
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.seek(partition, offset)
    }

    fn release(&mut self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.release(partitions)
    }
}

impl Bus for HeldBus {
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

    fn produce(&self, records: Vec<Outgoing>) -> BoxFuture<'_, Vec<Result<u64, BusError>>> {
        self.inner.produce(records)
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        Box::pin(async move {
            let inner = self.inner.subscribe(subscription).await?;
            Ok(Box::new(HeldConsumer { inner, held: self.held.subscribe() }) as Box<dyn Consumer>)
        })
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
