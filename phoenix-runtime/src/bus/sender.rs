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
use tokio::sync::{Semaphore, mpsc, oneshot};

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

/// What became of a record: its offset, or why it has none.
pub type Answer = Result<u64, BusError>;

/// Where records are left that shall be sent, each with something that comes back with its answer.
pub struct Sender<T = oneshot::Sender<Answer>> {
    records: mpsc::UnboundedSender<Vec<Waiting<T>>>,
    room: Arc<Semaphore>,
    most: usize,
    clock: Arc<dyn Clock>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        let (records, room, clock) = (self.records.clone(), Arc::clone(&self.room), Arc::clone(&self.clock));
        Self { records, room, most: self.most, clock }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} of {} bytes free)", self.room.available_permits(), self.most)
    }
}

struct Waiting<T> {
    outgoing: Outgoing,
    left: Left<T>,
}

/// What is known of a record that was left.
struct Left<T> {
    with: T,
    /// When it is given up, on the monotonic time.
    until: Option<Duration>,
    /// Its part of what may wait.
    room: u32,
}

/// A record that was left to be sent; ready with its offset.
///
/// # Cancel safety
/// The record is sent all the same.
#[derive(Debug)]
pub struct Sending(oneshot::Receiver<Answer>);

impl Future for Sending {
    type Output = Answer;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Answer> {
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
        Self::telling(bus, options, clock, |answers| {
            for (asked, answer) in answers {
                // whoever waits may be gone
                let _ = asked.send(answer);
            }
        })
    }
}

impl<T: From<oneshot::Sender<Answer>> + Send + 'static> Sender<T> {
    /// Leaves a record, once there is room for it. It is tried until the bus takes it, or until `within` is over; the
    /// error is that of the last attempt then. Records for one partition are sent in the order in which this returns.
    ///
    /// # Errors
    /// A sender that was stopped.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves nothing.
    pub async fn send(&self, outgoing: Outgoing, within: Option<Duration>) -> Result<Sending, BusError> {
        let (tell, told) = oneshot::channel();
        self.leave(outgoing, tell.into(), within).await?;
        Ok(Sending(told))
    }

    /// As [`Sender::send`], where there is room for it now.
    ///
    /// # Errors
    /// The record, where there is none, or the sender was stopped.
    pub fn try_send(&self, outgoing: Outgoing, within: Option<Duration>) -> Result<Sending, Outgoing> {
        let (tell, told) = oneshot::channel();
        match self.try_leave(vec![(outgoing, tell.into())], within).pop() {
            None => Ok(Sending(told)),
            Some((outgoing, _)) => Err(outgoing),
        }
    }
}

impl<T: Send + 'static> Sender<T> {
    /// As [`Sender::new`], for whoever has thousands of records on their way and no future for each: `tell` is called with
    /// the answers to those that came together, in the order of each partition.
    #[must_use]
    pub fn telling(
        bus: Arc<dyn Bus>,
        options: SenderOptions,
        clock: Arc<dyn Clock>,
        tell: impl FnMut(Vec<(T, Answer)>) + Send + 'static,
    ) -> (Self, BoxFuture<'static, ()>) {
        let (records, left) = mpsc::unbounded_channel();
        let most = options.max_waiting_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let room = Arc::new(Semaphore::new(most));
        let work = Work {
            bus,
            options,
            clock: Arc::clone(&clock),
            room: Arc::clone(&room),
            tell: Box::new(tell),
            partitions: BTreeMap::new(),
            under_way: FuturesUnordered::new(),
        };
        (Self { records, room, most, clock }, Box::pin(work.run(left)))
    }

    /// Leaves a record, once there is room for it: see [`Sender::send`].
    ///
    /// # Errors
    /// A sender that was stopped; what should come back is dropped.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves nothing.
    pub async fn leave(&self, outgoing: Outgoing, with: T, within: Option<Duration>) -> Result<(), BusError> {
        let room = self.wanted(&outgoing);
        self.room.acquire_many(room).await.map_err(|_| stopped())?.forget();
        let waiting = Waiting { outgoing, left: Left { with, until: self.until(within), room } };
        self.records.send(vec![waiting]).map_err(|_| stopped())
    }

    /// As [`Sender::leave`], as many of these as there is room for now. Gives back the others, and all where the sender was
    /// stopped.
    #[must_use = "without room for them now, they are not sent"]
    pub fn try_leave(&self, all: Vec<(Outgoing, T)>, within: Option<Duration>) -> Vec<(Outgoing, T)> {
        let (until, mut rest) = (self.until(within), Vec::new());
        let mut leaving = Vec::with_capacity(all.len());
        for (outgoing, with) in all {
            let room = self.wanted(&outgoing);
            match self.room.try_acquire_many(room) {
                Ok(permit) if rest.is_empty() => {
                    permit.forget();
                    leaving.push(Waiting { outgoing, left: Left { with, until, room } });
                }
                _ => rest.push((outgoing, with)),
            }
        }
        if !leaving.is_empty()
            && let Err(refused) = self.records.send(leaving)
        {
            // they wait for room that never comes, and are told so
            let refused = refused.0.into_iter().map(|Waiting { outgoing, left }| (outgoing, left.with));
            rest.splice(0..0, refused);
        }
        rest
    }

    fn until(&self, within: Option<Duration>) -> Option<Duration> {
        within.and_then(|within| self.clock.monotonic().checked_add(within))
    }

    fn wanted(&self, outgoing: &Outgoing) -> u32 {
        let bytes = (outgoing.record.bytes() + RECORD_BYTES).min(self.most);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// Records of one partition.
struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    /// A call is under way, or the pause after one that failed.
    busy: bool,
    /// After a failure: how long the next pause is.
    pause: Option<Duration>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), busy: false, pause: None }
    }
}

/// What has ended for a partition.
enum End<T> {
    Call(Arc<[Outgoing]>, Vec<Left<T>>, Vec<Answer>),
    Pause,
}

struct Work<T> {
    bus: Arc<dyn Bus>,
    options: SenderOptions,
    clock: Arc<dyn Clock>,
    room: Arc<Semaphore>,
    tell: Box<dyn FnMut(Vec<(T, Answer)>) + Send>,
    partitions: BTreeMap<TopicPartition, Queue<T>>,
    under_way: FuturesUnordered<BoxFuture<'static, (TopicPartition, End<T>)>>,
}

/// Whoever waits for room is told that none comes any more.
impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl<T: Send + 'static> Work<T> {
    async fn run(mut self, mut left: mpsc::UnboundedReceiver<Vec<Waiting<T>>>) {
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

    fn take(&mut self, new: &mut Vec<Vec<Waiting<T>>>) {
        // all of them before the first call, so that they go together
        let mut idle = BTreeSet::new();
        let mut records = new.drain(..).flatten().peekable();
        while let Some(waiting) = records.next() {
            let to = waiting.outgoing.to.clone();
            let queue = self.partitions.entry(to.clone()).or_default();
            queue.waiting.push_back(waiting);
            // mostly they are for one partition
            while let Some(waiting) = records.next_if(|waiting| waiting.outgoing.to == to) {
                queue.waiting.push_back(waiting);
            }
            if !queue.busy {
                idle.insert(to);
            }
        }
        drop(records);
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
        let (records, left): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.outgoing, waiting.left)).unzip();
        let records: Arc<[Outgoing]> = records.into();
        self.under_way.push(Box::pin(async move {
            let answers = bus.produce(Arc::clone(&records)).await;
            (partition, End::Call(records, left, answers))
        }));
    }

    fn ended(&mut self, partition: TopicPartition, end: End<T>) {
        let failed = match end {
            End::Call(records, left, answers) => Some(self.settle(&records, left, answers)),
            End::Pause => None,
        };
        let Some(queue) = self.partitions.get_mut(&partition) else { return };
        queue.busy = false;
        if let Some(failed) = failed {
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

    /// Tells what became of the records of a call; gives back, in their order, those that are to be tried again.
    fn settle(&mut self, records: &[Outgoing], left: Vec<Left<T>>, answers: Vec<Answer>) -> Vec<Waiting<T>> {
        let now = self.clock.monotonic();
        let lost = || Err(BusError::Unknown("the bus gave no answer for it".to_owned()));
        let (mut failed, mut told, mut room) = (Vec::new(), Vec::with_capacity(left.len()), 0);
        let answers = answers.into_iter().chain(std::iter::repeat_with(lost));
        for ((outgoing, left), answer) in records.iter().zip(left).zip(answers) {
            match answer {
                Err(error) if error.is_passing() && left.until.is_none_or(|until| now < until) => {
                    tracing::debug!(to = %outgoing.to, %error, "not sent; trying again");
                    failed.push(Waiting { outgoing: outgoing.clone(), left });
                }
                answer => {
                    room += left.room as usize;
                    told.push((left.with, answer));
                }
            }
        }
        self.room.add_permits(room);
        (self.tell)(told);
        failed
    }
}
