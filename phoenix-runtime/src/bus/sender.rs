//! Sends records until they are acknowledged: many at once, each partition's in their order.
//!
//! A partition has calls of [`Bus::produce`] of its own, one at a time: records of two calls can't pass each other, and a
//! partition that does not answer keeps none of the others from going on. What is under way for several partitions is put
//! together by the bus, which knows where they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    /// The most records of one call, which are of one partition.
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
            under_way: FuturesUnordered::new(),
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
        Ok(self.left(outgoing, within, room))
    }

    /// As [`Sender::send`], where there is room for it now.
    ///
    /// # Errors
    /// The record, where there is none.
    pub fn try_send(&self, outgoing: Outgoing, within: Option<Duration>) -> Result<Sending, Outgoing> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.wanted(&outgoing)) {
            Ok(room) => Ok(self.left(outgoing, within, room)),
            Err(_) => Err(outgoing),
        }
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

    fn left(&self, outgoing: Outgoing, within: Option<Duration>, room: OwnedSemaphorePermit) -> Sending {
        let (tell, told) = oneshot::channel();
        let then = Box::new(move |answer| {
            // whoever waits may be gone
            let _ = tell.send(answer);
        });
        self.leave(outgoing, within, then, room);
        Sending(told)
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
    /// A call is under way, or the pause after one that failed.
    busy: bool,
    /// After a failure: how long the next pause is.
    pause: Option<Duration>,
}

/// What has ended for a partition.
enum End {
    Call(Vec<Waiting>, Vec<Result<u64, BusError>>),
    Pause,
}

struct Work {
    bus: Arc<dyn Bus>,
    options: SenderOptions,
    clock: Arc<dyn Clock>,
    partitions: BTreeMap<TopicPartition, Queue>,
    under_way: FuturesUnordered<BoxFuture<'static, (TopicPartition, End)>>,
}

impl Work {
    async fn run(mut self, mut left: mpsc::UnboundedReceiver<Waiting>) {
        let mut new = Vec::new();
        let mut open = true;
        while open || !self.under_way.is_empty() {
            tokio::select! {
                biased;
                Some((partition, end)) = self.under_way.next(), if !self.under_way.is_empty() => {
                    self.ended(partition, end);
                }
                count = left.recv_many(&mut new, self.options.max_batch), if open => {
                    open = count > 0;
                    self.take(&mut new);
                }
            }
        }
    }

    fn take(&mut self, new: &mut Vec<Waiting>) {
        // all of them before the first call, so that they go together
        let mut idle = BTreeSet::new();
        for waiting in new.drain(..) {
            let queue = self.partitions.entry(waiting.outgoing.to.clone()).or_default();
            if !queue.busy && queue.waiting.is_empty() {
                idle.insert(waiting.outgoing.to.clone());
            }
            queue.waiting.push_back(waiting);
        }
        for partition in idle {
            self.call(partition);
        }
    }

    /// Sends what waits for a partition of which nothing is under way, as much as one call may have.
    fn call(&mut self, partition: TopicPartition) {
        let Some(queue) = self.partitions.get_mut(&partition) else { return };
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(waiting) = queue.waiting.front() {
            let more = waiting.outgoing.record.bytes();
            let full = batch.len() >= self.options.max_batch || bytes + more > self.options.max_batch_bytes;
            if full && !batch.is_empty() {
                break;
            }
            bytes += more;
            batch.extend(queue.waiting.pop_front());
        }
        if batch.is_empty() {
            self.partitions.remove(&partition);
            return;
        }
        queue.busy = true;
        let bus = Arc::clone(&self.bus);
        self.under_way.push(Box::pin(async move {
            let records = batch.iter().map(|waiting| waiting.outgoing.clone()).collect();
            let answers = bus.produce(records).await;
            (partition, End::Call(batch, answers))
        }));
    }

    fn ended(&mut self, partition: TopicPartition, end: End) {
        let Some(queue) = self.partitions.get_mut(&partition) else { return };
        queue.busy = false;
        if let End::Call(batch, answers) = end {
            let failed = settle(batch, answers, self.clock.monotonic());
            if failed.is_empty() {
                queue.pause = None;
            } else {
                for waiting in failed.into_iter().rev() {
                    queue.waiting.push_front(waiting);
                }
                let pause = queue.pause.unwrap_or(FIRST_PAUSE);
                queue.pause = Some((pause * 2).min(self.options.max_backoff));
                queue.busy = true;
                let over = self.clock.sleep(pause);
                self.under_way.push(Box::pin(async move {
                    over.await;
                    (partition, End::Pause)
                }));
                return;
            }
        }
        self.call(partition);
    }
}

/// Tells what became of the records of a call; gives back, in their order, those that are to be tried again.
fn settle(batch: Vec<Waiting>, answers: Vec<Result<u64, BusError>>, now: Duration) -> Vec<Waiting> {
    let lost = || Err(BusError::Unknown("the bus gave no answer for it".to_owned()));
    let mut failed = Vec::new();
    for (waiting, answer) in batch.into_iter().zip(answers.into_iter().chain(std::iter::repeat_with(lost))) {
        match answer {
            Err(error) if error.is_passing() && waiting.until.is_none_or(|until| now < until) => {
                tracing::debug!(to = %waiting.outgoing.to, %error, "not sent; trying again");
                failed.push(waiting);
            }
            answer => {
                let Waiting { then, room, .. } = waiting;
                drop(room);
                then(answer);
            }
        }
    }
    failed
}
