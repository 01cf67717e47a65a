//! Leaves calls to be sent, in the order in which they were made.
//!
//! A call is left at once where its topic is known and there is room. What has to wait for that waits in a queue, and all
//! that comes later waits behind it. A task looks after the queue, and not those who call: one of them that does nothing
//! for a while holds up nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::call::fault_of;
use crate::bus::envelope::{Call, Message};
use crate::bus::port::{Bus, BusError, Outgoing, TopicPartition};
use crate::bus::sender::{Sender, Sending};
use crate::domain::error::{Code, Fault};
use crate::domain::id::Slice;
use crate::domain::ports::{BoxFuture, Clock};

/// How long to wait before a bus that failed is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// A call, and where it goes.
pub(super) struct Parcel {
    pub(super) topic: Arc<str>,
    pub(super) call: Call,
    /// The key of its record.
    pub(super) key: Vec<u8>,
}

/// A call that was left to be sent.
pub(super) struct Left {
    pub(super) to: TopicPartition,
    pub(super) sending: Sending,
}

/// Whether a call was left.
pub(super) enum Leaving {
    Now(Result<Left, Fault>),
    /// What is dropped here is taken back.
    Later(oneshot::Receiver<Result<Left, Fault>>),
}

impl Leaving {
    pub(super) async fn done(self) -> Result<Left, Fault> {
        match self {
            Self::Now(left) => left,
            Self::Later(left) => left.await.unwrap_or_else(|_| {
                Err(Fault::new(Code::BusFailed, "the client was stopped before the message was sent"))
            }),
        }
    }
}

/// What waits to be left.
struct Queued {
    what: What,
    until: Duration,
    tell: oneshot::Sender<Result<Left, Fault>>,
}

enum What {
    /// One whose topic was not known.
    Call(Box<Parcel>),
    /// One that had no room.
    Record(Outgoing),
}

/// Where calls are left.
pub(super) struct Outbox {
    way: Arc<Way>,
    queue: mpsc::UnboundedSender<Queued>,
}

impl Outbox {
    /// An outbox, and the future that looks after what waits in it. It ends after the outbox was dropped.
    pub(super) fn new(bus: Arc<dyn Bus>, sender: Sender, clock: Arc<dyn Clock>) -> (Self, BoxFuture<'static, ()>) {
        let (queue, queued) = mpsc::unbounded_channel();
        let way = Arc::new(Way { bus, sender, clock, partitions: Mutex::default(), queued: Mutex::default() });
        (Self { way: Arc::clone(&way), queue }, Box::pin(async move { way.run(queued).await }))
    }

    /// Takes a call, behind those that it took before, until this moment of the monotonic time.
    pub(super) fn leave(&self, parcel: Parcel, until: Duration) -> Leaving {
        let what = match self.way.known(&parcel.topic) {
            Some(count) => self.way.outgoing(parcel, count).map(What::Record),
            None => Ok(What::Call(Box::new(parcel))),
        };
        let mut what = match what {
            Ok(what) => what,
            Err(fault) => return Leaving::Now(Err(fault)),
        };
        // held until it is left, so that one that comes meanwhile is left later
        let mut queued = self.way.queued();
        if *queued == 0
            && let What::Record(outgoing) = what
        {
            let to = outgoing.to.clone();
            match self.way.sender.try_send(outgoing, Some(self.way.time_left(until))) {
                Ok(sending) => return Leaving::Now(Ok(Left { to, sending })),
                Err(no_room) => what = What::Record(no_room),
            }
        }
        let (tell, told) = oneshot::channel();
        // without the task it is dropped, and told so
        if self.queue.send(Queued { what, until, tell }).is_ok() {
            *queued += 1;
        }
        Leaving::Later(told)
    }
}

/// What it takes to leave a call.
struct Way {
    bus: Arc<dyn Bus>,
    sender: Sender,
    clock: Arc<dyn Clock>,
    /// How many partitions each topic has, as far as it was asked for.
    partitions: Mutex<BTreeMap<Arc<str>, u16>>,
    /// How many are in the queue, with the one that the task has.
    queued: Mutex<usize>,
}

impl Way {
    fn queued(&self) -> MutexGuard<'_, usize> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time_left(&self, until: Duration) -> Duration {
        until.saturating_sub(self.clock.monotonic())
    }

    async fn run(&self, mut queue: mpsc::UnboundedReceiver<Queued>) {
        while let Some(Queued { what, until, mut tell }) = queue.recv().await {
            let left = tokio::select! {
                biased;
                () = tell.closed() => None,
                left = self.leave(what, until) => Some(left),
            };
            *self.queued() -= 1;
            if let Some(left) = left {
                // whoever waits may be gone
                let _ = tell.send(left);
            }
        }
    }

    async fn leave(&self, what: What, until: Duration) -> Result<Left, Fault> {
        let outgoing = match what {
            What::Record(outgoing) => outgoing,
            What::Call(parcel) => {
                let count = self.count(&parcel.topic, until).await.map_err(|error| fault_of(&error))?;
                self.outgoing(*parcel, count)?
            }
        };
        let to = outgoing.to.clone();
        let sending = self.sender.send(outgoing, Some(self.time_left(until))).await;
        Ok(Left { to, sending: sending.map_err(|error| fault_of(&error))? })
    }

    fn known(&self, topic: &Arc<str>) -> Option<u16> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    /// Asks for it again where the bus fails for now.
    async fn count(&self, topic: &Arc<str>, until: Duration) -> Result<u16, BusError> {
        loop {
            if let Some(count) = self.known(topic) {
                return Ok(count);
            }
            match self.bus.partitions(Arc::clone(topic)).await {
                Ok(found) => {
                    let missing = || BusError::NoTopic(TopicPartition { topic: Arc::clone(topic), partition: 0 });
                    let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
                    partitions.insert(Arc::clone(topic), found.ok_or_else(missing)?);
                }
                Err(error) if error.is_passing() && !self.time_left(until).is_zero() => self.clock.sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its record, for the partition of its aggregate: the slice modulo the partitions of the topic. Everybody computes it
    /// in this way, so that an aggregate has one door.
    fn outgoing(&self, Parcel { topic, call, key }: Parcel, partitions: u16) -> Result<Outgoing, Fault> {
        let partition = Slice::of(&call.aggregate, &call.subject).0 % partitions.max(1);
        let traits = self.bus.traits();
        let name = call.name.clone();
        let record = Message::Call(call).into_record(Some(key), traits);
        let (bytes, most) = (record.bytes(), traits.max_record_bytes);
        if bytes > most {
            let text = format!(
                "`{name}` takes a record of {bytes} bytes, and the bus takes {most}: send less, or a reference"
            );
            return Err(Fault::new(Code::TooLarge, text));
        }
        Ok(Outgoing { to: TopicPartition { topic, partition }, record })
    }
}
