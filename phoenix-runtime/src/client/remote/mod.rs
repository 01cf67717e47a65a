//! Calls over a bus: to the aggregates of another service, or of another node.
//!
//! A call goes to the partition of its aggregate's slice, whichever node owns that now; the reply comes back on a partition
//! that is this client's alone. A command that got no answer is sent again with the same id, and done once.
//!
//! # Layout
//! - [`options`]: what can be chosen; [`call`](self): one call
//! - `permits`, `outbox`: how often it calls, and in which order; `waiting`, `replies`: who waits, and who is told
//! - `forward`: what an engine has for other nodes (feature `engine`)

mod call;
#[cfg(feature = "engine")]
mod forward;
pub mod options;
mod outbox;
mod permits;
mod replies;
mod waiting;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::oneshot;

pub use self::options::{Every, RemoteOptions, Replies, Retry};
use self::outbox::Outbox;
use self::permits::Permits;
use self::replies::Reader;
use self::waiting::Waiting;
use crate::bus::port::{Bus, BusError, Keep, TopicPartition};
use crate::bus::sender::Sender;
use crate::client::by_message::{AskByMessage, QueryByMessage, TellByMessage};
use crate::client::door::Door;
use crate::clock::SystemClock;
use crate::domain::aggregate::Aggregate;
use crate::domain::handle::{AnsweredBy, HandledBy};
use crate::domain::message::{Addressed, Command, Query};
use crate::domain::ports::{BoxFuture, Clock, Seed, SplitMix};

/// Starts a task.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// Calls over a bus. A clone is cheap, and leads the same way; when the last one is dropped, nobody reads replies any more.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    bus: Arc<dyn Bus>,
    options: RemoteOptions,
    clock: Arc<dyn Clock>,
    seed: Arc<dyn Seed>,
    outbox: Outbox,
    waiting: Arc<Waiting>,
    permits: Option<Permits>,
    #[cfg(feature = "engine")]
    spawn: Spawn,
    replies: TopicPartition,
    /// Dropped with this, the tasks end.
    _stop: oneshot::Sender<()>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { bus, options, replies, waiting, .. } = &*self.0;
        let waiting = waiting.len();
        write!(f, "Remote({}, to {}, replies on {replies}, {waiting} waiting)", bus.name(), options.topic)
    }
}

impl Remote {
    /// Begins to read replies, on the current tokio runtime and with the machine's clock; ready when none can be missed.
    ///
    /// # Errors
    /// A bus that can't be worked with, and topics that are not there.
    pub async fn connect(bus: Arc<dyn Bus>, options: RemoteOptions) -> Result<Self, BusError> {
        let (clock, seed) = (Arc::new(SystemClock::default()), Arc::new(SplitMix::from_entropy()));
        let spawn: Spawn = Arc::new(|task| {
            tokio::spawn(task);
        });
        Self::start(bus, options, clock, seed, spawn).await
    }

    /// As [`Remote::connect`], with another clock, randomness and executor.
    ///
    /// # Errors
    /// As [`Remote::connect`].
    pub async fn start(
        bus: Arc<dyn Bus>,
        options: RemoteOptions,
        clock: Arc<dyn Clock>,
        seed: Arc<dyn Seed>,
        spawn: Spawn,
    ) -> Result<Self, BusError> {
        let (topic, partition) = options.replies.place();
        if let Replies::Topic(topic) = &options.replies {
            if std::iter::once(&options.topic).chain(options.topics.values()).any(|of_calls| of_calls == topic) {
                return Err(BusError::Refused(format!("`{topic}` can't be the topic of calls and of replies")));
            }
            if matches!(bus.partitions(Arc::clone(topic)).await?, None | Some(1)) {
                bus.create_keeping(Arc::clone(topic), 1, Keep::Newest).await?;
            }
        }
        let replies = TopicPartition { topic, partition };
        let waiting = Waiting::new(options.max_waiting);
        let (sender, sending) = Sender::new(Arc::clone(&bus), options.sender.clone(), Arc::clone(&clock));
        let (ready, told) = oneshot::channel();
        let reader = Reader {
            bus: Arc::clone(&bus),
            clock: Arc::clone(&clock),
            place: replies.clone(),
            waiting: Arc::clone(&waiting),
            ready: Some(ready),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        spawn(Box::pin(async move {
            tokio::select! {
                () = reader.run() => {}
                // never sent: the last client was dropped
                _ = stopped => {}
            }
        }));
        let (outbox, leaving) = Outbox::new(Arc::clone(&bus), sender, Arc::clone(&clock));
        spawn(sending);
        spawn(leaving);
        told.await.unwrap_or_else(|_| Err(BusError::Unavailable("the reader of replies was stopped".to_owned())))?;
        Ok(Self(Arc::new(Inner {
            bus,
            permits: options.rate.map(|rate| Permits::new(rate, Arc::clone(&clock))),
            options,
            clock,
            seed,
            outbox,
            waiting,
            #[cfg(feature = "engine")]
            spawn,
            replies,
            _stop: stop,
        })))
    }

    /// The way to the aggregates of one type. Only messages that `A` handles compile.
    #[must_use]
    pub fn of<A: Aggregate>(&self) -> RemoteOf<A> {
        RemoteOf { remote: self.clone(), aggregate: PhantomData }
    }

    /// Asks with the message alone, which names its aggregate (`aggregate = "..."`).
    #[allow(clippy::needless_pass_by_value, reason = "as the client of an engine takes it")]
    pub fn ask<C: Command + Addressed>(&self, command: C) -> AskByMessage<C> {
        AskByMessage::new(self.door(), C::AGGREGATE.unwrap_or_default(), &command)
    }

    /// Tells with the message alone, which names its aggregate. Ready when the bus has the command.
    #[allow(clippy::needless_pass_by_value, reason = "as the client of an engine takes it")]
    pub fn tell<C: Command + Addressed>(&self, command: C) -> TellByMessage<C> {
        TellByMessage::new(self.door(), C::AGGREGATE.unwrap_or_default(), &command)
    }

    /// Queries with the message alone, which names its aggregate.
    #[allow(clippy::needless_pass_by_value, reason = "as the client of an engine takes it")]
    pub fn query<Q: Query + Addressed>(&self, query: Q) -> QueryByMessage<Q> {
        QueryByMessage::new(self.door(), Q::AGGREGATE.unwrap_or_default(), &query)
    }

    /// The way that calls take by name.
    #[must_use]
    pub fn door(&self) -> Arc<dyn Door> {
        Arc::new(self.clone())
    }

    /// Where replies to this client come.
    #[must_use]
    pub fn replies(&self) -> &TopicPartition {
        &self.0.replies
    }
}

/// The way over a bus to the aggregates of type `A`.
#[derive(Debug)]
pub struct RemoteOf<A> {
    remote: Remote,
    aggregate: PhantomData<fn() -> A>,
}

impl<A> Clone for RemoteOf<A> {
    fn clone(&self) -> Self {
        Self { remote: self.remote.clone(), aggregate: PhantomData }
    }
}

impl<A: Aggregate> RemoteOf<A> {
    /// Sends a command and waits for its reply.
    #[allow(clippy::needless_pass_by_value, reason = "as the client of an engine takes it")]
    pub fn ask<C: HandledBy<A>>(&self, command: C) -> AskByMessage<C> {
        AskByMessage::new(self.remote.door(), A::NAME, &command)
    }

    /// Sends a command. Ready when the bus has it.
    #[allow(clippy::needless_pass_by_value, reason = "as the client of an engine takes it")]
    pub fn tell<C: HandledBy<A>>(&self, command: C) -> TellByMessage<C> {
        TellByMessage::new(self.remote.door(), A::NAME, &command)
    }

    /// Reads the state of an aggregate.
    #[allow(clippy::needless_pass_by_value, reason = "as the client of an engine takes it")]
    pub fn query<Q: AnsweredBy<A>>(&self, query: Q) -> QueryByMessage<Q> {
        QueryByMessage::new(self.remote.door(), A::NAME, &query)
    }
}
