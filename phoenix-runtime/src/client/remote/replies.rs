//! Reads the replies of one client, and tells who waits for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::waiting::Waiting;
use crate::bus::envelope::Message;
use crate::bus::port::{Bus, BusError, Consumer, Happening, Received, Subscription, TopicPartition};
use crate::domain::ports::Clock;

/// The longest pause between two attempts to read.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The first one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// After how many replies it is said that they were read, so that a bus may remove them.
const COMMIT_EVERY: u64 = 1000;

/// Reads one partition from now on.
pub(super) struct Reader {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) place: TopicPartition,
    pub(super) waiting: Arc<Waiting>,
    /// What comes next; replies from before the client was there are nobody's.
    next: Option<u64>,
    /// Up to where it was said that they were read.
    committed: u64,
    /// Told once replies can't be missed any more.
    ready: Option<oneshot::Sender<Result<(), BusError>>>,
}

impl Reader {
    pub(super) fn new(
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        place: TopicPartition,
        waiting: Arc<Waiting>,
        ready: oneshot::Sender<Result<(), BusError>>,
    ) -> Self {
        Self { bus, clock, place, waiting, next: None, committed: 0, ready: Some(ready) }
    }

    /// Reads until it is dropped, or the bus can't be worked with.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.subscribe().await {
                Ok(mut consumer) => loop {
                    match consumer.next().await {
                        Ok(happening) => match self.happens(happening, &mut *consumer).await {
                            Ok(()) => pause = FIRST_PAUSE,
                            Err(error) => break error,
                        },
                        // a new consumer of the group would wait until this one is forgotten
                        Err(error) if error.is_passing() => self.rest(&error, &mut pause).await,
                        Err(error) => break error,
                    }
                },
                Err(error) => error,
            };
            if let Some(ready) = (!error.is_passing()).then(|| self.ready.take()).flatten() {
                // whoever starts may have given up
                let _ = ready.send(Err(error));
                return;
            }
            self.rest(&error, &mut pause).await;
        }
    }

    async fn rest(&self, error: &BusError, pause: &mut Duration) {
        tracing::warn!(replies = %self.place, %error, "can't read replies; trying again");
        self.clock.sleep(*pause).await;
        *pause = (*pause * 2).min(MAX_PAUSE);
    }

    async fn subscribe(&self) -> Result<Box<dyn Consumer>, BusError> {
        let subscription = Subscription {
            group: self.group(),
            topics: vec![Arc::clone(&self.place.topic)],
            fixed: Some(vec![self.place.partition]),
            max_records: 1000,
        };
        self.bus.subscribe(subscription).await
    }

    fn group(&self) -> String {
        format!("{}.{}", self.place.topic, self.place.partition)
    }

    async fn happens(&mut self, happening: Happening, consumer: &mut dyn Consumer) -> Result<(), BusError> {
        match happening {
            Happening::Assigned(partitions) => {
                let (mine, others): (Vec<_>, Vec<_>) =
                    partitions.into_iter().map(|(partition, _)| partition).partition(|one| *one == self.place);
                consumer.pause(&others);
                if !mine.is_empty() {
                    let next = match self.next {
                        Some(next) => next,
                        None => self.bus.offsets(self.place.clone(), &self.group()).await?.end,
                    };
                    consumer.seek(&self.place, next).await?;
                    (self.next, self.committed) = (Some(next), next);
                    if let Some(ready) = self.ready.take() {
                        let _ = ready.send(Ok(()));
                    }
                }
            }
            Happening::Records(records) => {
                for record in records {
                    self.take(record);
                }
                if let Some(next) = self.next.filter(|next| *next >= self.committed + COMMIT_EVERY) {
                    match consumer.commit(vec![(self.place.clone(), next)]).await {
                        Ok(()) => self.committed = next,
                        // the next ones say it as well
                        Err(error) => tracing::debug!(%error, "it was not noted how far replies were read"),
                    }
                }
            }
            Happening::Revoking(partitions) => consumer.release(partitions).await?,
            // they come back, or somebody else reads what is this client's
            Happening::Lost(_) => {}
            Happening::OutOfRange { partition, earliest, end, .. } => {
                // replies that were removed before they were read are asked for again by whoever waits
                let next = self.next.map_or(end, |next| next.clamp(earliest, end));
                consumer.seek(&partition, next).await?;
            }
        }
        Ok(())
    }

    fn take(&mut self, Received { from, offset, record }: Received) {
        if from != self.place {
            return;
        }
        self.next = Some(offset + 1);
        match Message::from_record(&record) {
            Ok(Message::Reply(reply)) => {
                let id = reply.to;
                if self.waiting.tell(reply) {
                    metrics::counter!("phoenix_remote_replies_total", "what" => "told").increment(1);
                } else {
                    metrics::counter!("phoenix_remote_replies_total", "what" => "late").increment(1);
                    tracing::debug!(%id, "a reply that nobody waits for");
                }
            }
            Ok(Message::Call(call)) => tracing::warn!(id = %call.id, topic = %from, "a command among replies"),
            Err(reason) => tracing::warn!(offset, topic = %from, %reason, "a reply that can't be read"),
        }
    }
}
