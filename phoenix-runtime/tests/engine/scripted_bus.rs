//! A bus that does what a test says: its coordinator does not answer, its reads or sends fail, a consumer is told of what
//! has not happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use phoenix_runtime::bus::{
    Bus, BusError, Consumer, Follower, Happening, Keep, Offsets, Outgoing, Subscription, TopicPartition, Traits,
};
use phoenix_runtime::domain::ports::BoxFuture;
use tokio::sync::watch;

/// What goes wrong.
#[derive(Debug, Default)]
struct Script {
    /// Whether commits wait.
    holds: bool,
    /// Why nothing can be read.
    reads: Option<BusError>,
    /// Why nothing can be sent to these topics.
    sends: BTreeMap<Arc<str>, BusError>,
    /// What the consumer is told next.
    happens: VecDeque<Happening>,
    /// A partition that is told with those that are assigned.
    stranger: Option<TopicPartition>,
    paused: BTreeSet<TopicPartition>,
}

/// A bus that does what a test says, over another one. Clones are the same bus.
#[derive(Debug, Clone)]
pub(crate) struct ScriptedBus {
    inner: Arc<dyn Bus>,
    script: Arc<watch::Sender<Script>>,
}

impl ScriptedBus {
    pub(crate) fn new(inner: Arc<dyn Bus>) -> Self {
        Self { inner, script: Arc::default() }
    }

    /// From now on commits wait; everything else goes on.
    pub(crate) fn hold(&self) {
        self.script.send_modify(|script| script.holds = true);
    }

    pub(crate) fn release(&self) {
        self.script.send_modify(|script| script.holds = false);
    }

    /// From now on nothing can be read; with `None` it can again.
    pub(crate) fn fail_reads(&self, error: Option<BusError>) {
        self.script.send_modify(|script| script.reads = error);
    }

    /// From now on nothing can be sent to a topic; with `None` it can again.
    pub(crate) fn fail_sends(&self, topic: &str, error: Option<BusError>) {
        self.script.send_modify(|script| match error {
            Some(error) => _ = script.sends.insert(topic.into(), error),
            None => _ = script.sends.remove(topic),
        });
    }

    /// The consumer is told of this before anything else.
    pub(crate) fn happens(&self, happening: Happening) {
        self.script.send_modify(|script| script.happens.push_back(happening));
    }

    /// Partitions that are assigned come with this one.
    pub(crate) fn assign_with(&self, stranger: TopicPartition) {
        self.script.send_modify(|script| script.stranger = Some(stranger));
    }

    /// The partitions of which the consumer wants nothing just now.
    pub(crate) fn paused(&self) -> BTreeSet<TopicPartition> {
        self.script.borrow().paused.clone()
    }
}

#[derive(Debug)]
struct ScriptedConsumer {
    inner: Box<dyn Consumer>,
    bus: ScriptedBus,
}

impl ScriptedConsumer {
    async fn scripted_next(&mut self) -> Result<Happening, BusError> {
        let mut changes = self.bus.script.subscribe();
        loop {
            let (failed, mut told) = (changes.borrow_and_update().reads.clone(), None);
            if let Some(error) = failed {
                return Err(error);
            }
            self.bus.script.send_if_modified(|script| {
                told = script.happens.pop_front();
                false
            });
            if let Some(happening) = told {
                return Ok(happening);
            }
            tokio::select! {
                biased;
                Ok(()) = changes.changed() => {}
                happening = self.inner.next() => {
                    let mut happening = happening?;
                    if let Happening::Assigned(partitions) = &mut happening {
                        partitions.extend(self.bus.script.borrow().stranger.clone().map(|stranger| (stranger, None)));
                    }
                    return Ok(happening);
                }
            }
        }
    }

    /// Those of them that the bus below knows.
    fn known(&self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let script = self.bus.script.borrow();
        partitions.iter().filter(|partition| script.stranger.as_ref() != Some(*partition)).cloned().collect()
    }
}

impl Consumer for ScriptedConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Happening, BusError>> {
        Box::pin(self.scripted_next())
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            // an error means that the test is over
            drop(self.bus.script.subscribe().wait_for(|script| !script.holds).await);
            self.inner.commit(offsets).await
        })
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.bus.script.send_modify(|script| script.paused.extend(partitions.iter().cloned()));
        self.inner.pause(&self.known(partitions));
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.bus.script.send_modify(|script| script.paused.retain(|partition| !partitions.contains(partition)));
        self.inner.resume(&self.known(partitions));
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.seek(partition, offset)
    }

    fn release(&mut self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.release(self.known(&partitions))
    }
}

impl Bus for ScriptedBus {
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
        Box::pin(async move {
            let fails = |outgoing: &Outgoing| self.script.borrow().sends.get(&outgoing.to.topic).cloned();
            let failed: Vec<Option<BusError>> = records.iter().map(fails).collect();
            let sent = records.iter().cloned().zip(&failed).filter(|(_, failed)| failed.is_none());
            let mut told = self.inner.produce(sent.map(|(outgoing, _)| outgoing).collect()).await.into_iter();
            failed
                .into_iter()
                .filter_map(|failed| failed.map_or_else(|| told.next(), |error| Some(Err(error))))
                .collect()
        })
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        Box::pin(async move {
            let inner = self.inner.subscribe(subscription).await?;
            Ok(Box::new(ScriptedConsumer { inner, bus: self.clone() }) as Box<dyn Consumer>)
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
