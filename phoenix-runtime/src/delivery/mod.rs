//! Commands and queries from a bus to their aggregates, and their outcomes back.
//!
//! A record counts as finished when the outcome of its command is durable and the reply acknowledged by the bus, or the
//! dead letter kept. Offsets are committed behind the lowest that is not finished, never ahead of it. Commands of one
//! aggregate and priority are done in the order in which they came, also when one of them has to be tried again.
//!
//! # Layout
//! - [`options`]: what can be chosen, and when something is tried again
//! - `work`: the loop; `assignment`: partitions that come and go; `intake`: what the bus says; `drive`: to the engine and
//!   back; `flow`: how far the bus may go on
//! - `slot`: a partition; `frontier`: how far it is finished; `lanes`, `lane`: the commands of one aggregate; `job`: one of
//!   them
//! - `inbox`: rows of the inbox are put, read and removed; `spill`: what goes there; `rows`: what is known of it; `pack`: a row
//!   from inside; `examine`, `alone`: what was found there, and may be what ended the process
//! - [`settle`]: replies and dead letters
//! - [`dead`]: what operators do with dead letters

mod alone;
mod assignment;
pub mod dead;
mod drive;
mod examine;
mod flow;
mod frontier;
mod inbox;
mod intake;
mod job;
mod lane;
mod lanes;
pub mod options;
mod pack;
mod rows;
pub mod settle;
mod slot;
mod spill;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use self::options::{DeliveryOptions, Exponential, Grade, Redelivery};
use crate::bus::port::{Bus, BusError, Keep, Subscription, TopicPartition};
use crate::bus::sender::{Sender, SenderOptions};
use crate::client::Client;
use crate::domain::ports::{BoxFuture, Clock, Seed};
use crate::engine::ownership::Partitions;
use crate::event_store::EventStore;

/// What delivery works with.
#[derive(Debug)]
pub struct Parts {
    /// Where commands come from, and replies go.
    pub bus: Arc<dyn Bus>,
    /// Where dead letters are kept.
    pub store: Arc<dyn EventStore>,
    /// The way to the engine.
    pub client: Client,
    /// The engine's partitions: as many as the topic has.
    pub partitions: Partitions,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub seed: Arc<dyn Seed>,
    /// The topic of commands.
    pub topic: Arc<str>,
    /// Who share its partitions.
    pub group: String,
    /// The partitions of this node on a bus that does not rebalance; `None` for all.
    pub fixed: Option<Vec<u16>>,
    /// When something is tried again; [`Exponential`] by the options where nothing is said.
    pub redelivery: Option<Arc<dyn Redelivery>>,
    /// What can be chosen.
    pub options: DeliveryOptions,
}

/// Why delivery does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The bus can't be worked with.
    #[error("failed to begin the delivery of commands: {0}")]
    Bus(#[from] BusError),
    /// The inbox is asked for, and there is none.
    #[error("`delivery.grade` is \"inbox\", and {reason}: set it to \"broker\", or {remedy}")]
    NoInbox {
        /// Why.
        reason: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The topic and the store are cut in different ways, so an aggregate would have two doors.
    #[error(
        "the topic `{topic}` has {found} partitions, and the event store is dealt to {wanted}: both must be equal; make the \
         topic with {wanted}, or, for a new event store, set `engine.partitions` to {found}"
    )]
    Partitions {
        /// Which topic.
        topic: Arc<str>,
        /// How many it has.
        found: u16,
        /// How many the event store has.
        wanted: u16,
    },
}

/// The delivery of commands at work. Dropping it stops it at once: what has no outcome comes again.
#[derive(Debug)]
pub struct Delivery {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl Delivery {
    /// Begins: makes topics that are missing, subscribes, and gives the future that does the work.
    ///
    /// # Errors
    /// A bus that can't be worked with, and a topic with another number of partitions than the store.
    pub async fn start(parts: Parts) -> Result<(Self, BoxFuture<'static, ()>), DeliveryError> {
        if parts.options.grade == Grade::Inbox {
            if parts.store.letters().is_none() {
                let reason = "this event store keeps no inbox";
                return Err(DeliveryError::NoInbox { reason, remedy: "choose another store" });
            }
            if parts.bus.traits().max_record_bytes > pack::MOST_RECORD_BYTES {
                // also of one that travels as a claim: its row has the body
                return Err(DeliveryError::NoInbox {
                    reason: "messages may be larger than a row of the inbox",
                    remedy: "set what bounds them to 3MiB or less: `messaging.claim_check_most` where there is a claim \
                             check, and the bus's `max_record_bytes` where there is none",
                });
            }
            if parts.options.inbox_messages == 0 || parts.options.inbox_bytes == 0 {
                let reason = "nothing may be put there";
                let remedy = "raise `delivery.inbox_messages` and `delivery.inbox_bytes`";
                return Err(DeliveryError::NoInbox { reason, remedy });
            }
        }
        let wanted = parts.partitions.count();
        let found = if let Some(found) = parts.bus.partitions(Arc::clone(&parts.topic)).await? {
            found
        } else {
            parts.bus.create(Arc::clone(&parts.topic), wanted).await?;
            wanted
        };
        if found != wanted {
            return Err(DeliveryError::Partitions { topic: parts.topic, found, wanted });
        }
        let graveyard = TopicPartition::new(format!("{}.dead", parts.topic), 0);
        if parts.bus.partitions(Arc::clone(&graveyard.topic)).await?.is_none() {
            parts.bus.create_keeping(Arc::clone(&graveyard.topic), 1, Keep::Newest).await?;
        }
        let subscription = Subscription {
            group: parts.group.clone(),
            topics: vec![Arc::clone(&parts.topic)],
            fixed: parts.fixed.clone(),
            max_records: parts.options.max_records.max(1),
        };
        let consumer = parts.bus.subscribe(subscription.clone()).await?;
        let (tell, told) = mpsc::unbounded_channel();
        let (bus, clock, answered) = (Arc::clone(&parts.bus), Arc::clone(&parts.clock), settle::answered(tell.clone()));
        let (sender, sending) = Sender::telling(bus, SenderOptions::default(), clock, answered);
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let work = work::Work::new(parts, subscription, sender, (tell, told), graveyard, stopping);
        let all = Box::pin(async move {
            // the sender ends when the work has dropped its handle
            futures_util::future::join(work.run(consumer), sending).await;
            // whoever waits may be gone
            let _ = end.send(());
        });
        Ok((Self { stop, ended }, all))
    }

    /// Takes nothing new, and lets what is there come to its outcomes as when partitions leave; ready when all are gone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: it goes on.
    pub async fn drain(self) {
        self.stop.send_replace(true);
        // an error means that nobody is at work
        let _ = self.ended.await;
    }
}

/// How long the loop waits where nothing else sets the pace.
const TICK: Duration = Duration::from_millis(100);
