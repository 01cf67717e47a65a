//! Reads the replies of one client, and tells who waits for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::waiting::Waiting;
use crate::bus::envelope::Message;
use crate::bus::port::{Bus, BusError, Follower, Received, TopicPartition};
use crate::domain::ports::Clock;

/// The longest pause between two attempts to read.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The first one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The most replies that are read at once.
const MAX_RECORDS: usize = 1000;

/// Reads one partition from now on.
pub(super) struct Reader {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) place: TopicPartition,
    pub(super) waiting: Arc<Waiting>,
    /// Told once replies can't be missed any more.
    pub(super) ready: Option<oneshot::Sender<Result<(), BusError>>>,
}

impl Reader {
    /// Reads until it is dropped, or the bus can't be worked with.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.bus.follow(self.place.clone(), MAX_RECORDS).await {
                Ok(follower) => self.follow(follower, &mut pause).await,
                Err(error) => error,
            };
            if let Some(ready) = (!error.is_passing()).then(|| self.ready.take()).flatten() {
                // whoever starts may have given up
                let _ = ready.send(Err(error));
                return;
            }
            // what is not read meanwhile is asked for again by whoever waits
            self.rest(&error, &mut pause).await;
        }
    }

    async fn follow(&mut self, mut follower: Box<dyn Follower>, pause: &mut Duration) -> BusError {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Ok(()));
        }
        loop {
            match follower.next().await {
                Ok(records) => {
                    *pause = FIRST_PAUSE;
                    for received in &records {
                        self.take(received);
                    }
                }
                // it goes on where it was
                Err(error) if error.is_passing() => self.rest(&error, pause).await,
                Err(error) => return error,
            }
        }
    }

    async fn rest(&self, error: &BusError, pause: &mut Duration) {
        tracing::warn!(replies = %self.place, %error, "can't read replies; trying again");
        self.clock.sleep(*pause).await;
        *pause = (*pause * 2).min(MAX_PAUSE);
    }

    fn take(&self, Received { from, offset, record }: &Received) {
        match Message::from_record(record) {
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
