//! Sends records until they are acknowledged: many at once, each partition's in their order.
//!
//! A partition has one call of [`Bus::produce`] under way at a time, so that records of two calls can't pass each other;
//! a partition that does not answer keeps none of the others from going on.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::bus::port::{Bus, BusError, Outgoing, TopicPartition};
use crate::domain::ports::{BoxFuture, Clock};

/// How much is sent at once, and waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderOptions {
    /// The most records of one call.
    pub max_batch: usize,
    /// The most bytes of one call.
    pub max_batch_bytes: usize,
    /// The most bytes of all records that were not acknowledged yet. Whoever has more waits.
    pub max_waiting_bytes: usize,
    /// The longest pause between two attempts.
    pub max_backoff: Duration,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self {
            max_batch: 2000,
            max_batch_bytes: 4 << 20,
            max_waiting_bytes: 64 << 20,
            max_backoff: Duration::from_secs(2),
        }
    }
}

/// What every record counts besides its own bytes.
const RECORD_BYTES: usize = 256;
/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Where records are left that shall be sent.
#[derive(Clone)]
pub struct Sender {
    records: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    most: usize,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} of {} bytes free)", self.room.available_permits(), self.most)
    }
}

/// What is done with the offset of a record, or with the reason why there is none. It is dropped with the sender.
pub type Then = Box<dyn FnOnce(Result<u64, BusError>) + Send>;

struct Waiting {
    outgoing: Outgoing,
    /// When it is given up, on the monotonic time.
    until: Option<Duration>,
    then: Then,
    room: OwnedSemaphorePermit,
}

/// A record that was left to be sent; ready with its offset.
///
/// # Cancel safety
/// The record is sent all the same.
#[derive(Debug)]
pub struct Sending(oneshot::Receiver<Result<u64, BusError>>);

impl Future for Sending {
    type Output = Result<u64, BusError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<u64, BusError>> {
        let answered = std::pin::Pin::new(&mut self.0).poll(cx);
        answered.map(|answer| answer.unwrap_or_else(|_| Err(stopped())))
    }
}

fn stopped() -> BusError {
    BusError::Unknown("the sender was stopped before the bus answered".to_owned())
}

impl Sender {
    /// A sender, and the future that does its work: whoever drops that stops it.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, options: SenderOptions, clock: Arc<dyn Clock>) -> (Self, BoxFuture<'static, ()>) {
        let (records, left) = mpsc::unbounded_channel();
        let most = options.max_waiting_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let room = Arc::new(Semaphore::new(most));
        let work = Work {
            bus,
            options,
            clock: Arc::clone(&clock),
            partitions: BTreeMap::new(),
            calls: FuturesUnordered::new(),
        };
        (Self { records, room, most, clock }, Box::pin(work.run(left)))
    }

    /// Leaves a record, once there is room for it. It is tried until the bus takes it, or until `within` is over; the
    /// error is that of the last attempt then. Records for one partition are sent in the order in which this returns.
    ///
    /// # Errors
    /// A sender that was stopped.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves nothing.
    pub async fn send(&self, outgoing: Outgoing, within: Option<Duration>) -> Result<Sending, BusError> {
        let room = Arc::clone(&self.room).acquire_many_owned(self.wanted(&outgoing)).await.map_err(|_| stopped())?;
        let (tell, told) = oneshot::channel();
        let then = Box::new(move |answer| {
            // whoever waits may be gone
            let _ = tell.send(answer);
        });
        self.leave(outgoing, within, then, room);
        Ok(Sending(told))
    }

    /// As [`Sender::send`], for whoever has thousands of records on their way and no future for each. Without room for it
    /// now, gives what leaves it as soon as there is some.
    #[must_use = "without room for it now, nothing is sent until what is given is awaited"]
    pub fn send_then(
        &self,
        outgoing: Outgoing,
        within: Option<Duration>,
        then: Then,
    ) -> Option<BoxFuture<'static, ()>> {
        let wanted = self.wanted(&outgoing);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(wanted) {
            self.leave(outgoing, within, then, room);
            return None;
        }
        let sender = self.clone();
        Some(Box::pin(async move {
            match Arc::clone(&sender.room).acquire_many_owned(wanted).await {
                Ok(room) => sender.leave(outgoing, within, then, room),
                Err(_) => then(Err(stopped())),
            }
        }))
    }

    fn wanted(&self, outgoing: &Outgoing) -> u32 {
        let bytes = (outgoing.record.bytes() + RECORD_BYTES).min(self.most);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn leave(&self, outgoing: Outgoing, within: Option<Duration>, then: Then, room: OwnedSemaphorePermit) {
        let until = within.and_then(|within| self.clock.monotonic().checked_add(within));
        if let Err(refused) = self.records.send(Waiting { outgoing, until, then, room }) {
            (refused.0.then)(Err(stopped()));
        }
    }
}

/// Records of one partition.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    busy: bool,
    /// After a failure: until when nothing is tried, and how long the next pause is.
    pause: Option<(Duration, Duration)>,
}

type Called = (Vec<Waiting>, Vec<Result<u64, BusError>>);

struct Work {
    bus: Arc<dyn Bus>,
    options: SenderOptions,
    clock: Arc<dyn Clock>,
    partitions: BTreeMap<TopicPartition, Queue>,
    calls: FuturesUnordered<BoxFuture<'static, Called>>,
}

impl Work {
    async fn run(mut self, mut left: mpsc::UnboundedReceiver<Waiting>) {
        let mut new = Vec::new();
        let mut open = true;
        while open || self.is_at_work() {
            self.call();
            let timer: BoxFuture<'static, ()> = match self.next_try() {
                Some(at) => self.clock.sleep(at.saturating_sub(self.clock.monotonic())),
                None => Box::pin(std::future::pending()),
            };
            tokio::select! {
                biased;
                Some(called) = self.calls.next(), if !self.calls.is_empty() => self.called(called),
                count = left.recv_many(&mut new, self.options.max_batch), if open => {
                    open = count > 0;
                    for waiting in new.drain(..) {
                        self.partitions.entry(waiting.outgoing.to.clone()).or_default().waiting.push_back(waiting);
                    }
                }
                () = timer => {}
            }
        }
    }

    fn is_at_work(&self) -> bool {
        !self.calls.is_empty() || self.partitions.values().any(|queue| !queue.waiting.is_empty())
    }

    fn next_try(&self) -> Option<Duration> {
        let idle = self.partitions.values().filter(|queue| !queue.busy && !queue.waiting.is_empty());
        idle.filter_map(|queue| queue.pause.map(|(until, _)| until)).min()
    }

    /// Sends what waits in all partitions that can take it, as one call.
    fn call(&mut self) {
        let now = self.clock.monotonic();
        let mut batch = Vec::new();
        let mut bytes = 0;
        for queue in self.partitions.values_mut() {
            if queue.busy || queue.pause.is_some_and(|(until, _)| until > now) {
                continue;
            }
            while let Some(waiting) = queue.waiting.front() {
                let more = waiting.outgoing.record.bytes();
                let full = batch.len() >= self.options.max_batch || bytes + more > self.options.max_batch_bytes;
                if full && !batch.is_empty() {
                    break;
                }
                bytes += more;
                queue.busy = true;
                batch.extend(queue.waiting.pop_front());
            }
        }
        if batch.is_empty() {
            return;
        }
        let bus = Arc::clone(&self.bus);
        self.calls.push(Box::pin(async move {
            let records = batch.iter().map(|waiting: &Waiting| waiting.outgoing.clone()).collect();
            let answers = bus.produce(records).await;
            (batch, answers)
        }));
    }

    fn called(&mut self, (batch, answers): Called) {
        let now = self.clock.monotonic();
        let lost = || Err(BusError::Unknown("the bus gave no answer for it".to_owned()));
        let mut again: BTreeMap<TopicPartition, Vec<Waiting>> = BTreeMap::new();
        for (waiting, answer) in batch.into_iter().zip(answers.into_iter().chain(std::iter::repeat_with(lost))) {
            if let Some(queue) = self.partitions.get_mut(&waiting.outgoing.to) {
                queue.busy = false;
            }
            match answer {
                Err(error) if error.is_passing() && waiting.until.is_none_or(|until| now < until) => {
                    tracing::debug!(to = %waiting.outgoing.to, %error, "not sent; trying again");
                    again.entry(waiting.outgoing.to.clone()).or_default().push(waiting);
                }
                answer => {
                    let Waiting { then, room, .. } = waiting;
                    drop(room);
                    then(answer);
                }
            }
        }
        self.partitions.retain(|partition, queue| {
            if queue.busy {
                return true;
            }
            match again.remove(partition) {
                Some(failed) => {
                    let pause = queue.pause.map_or(FIRST_PAUSE, |(_, next)| next);
                    queue.pause = Some((now + pause, (pause * 2).min(self.options.max_backoff)));
                    for waiting in failed.into_iter().rev() {
                        queue.waiting.push_front(waiting);
                    }
                }
                None if queue.pause.is_some_and(|(until, _)| until <= now) => queue.pause = None,
                None => {}
            }
            !queue.waiting.is_empty()
        });
    }
}
