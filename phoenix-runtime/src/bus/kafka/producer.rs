//! Sending: one thread, which takes what many calls have waiting and sends it together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::kafka::client::{ProduceMessage, RequiredAcks};
use ::kafka::error::{Error, KafkaCode};
use tokio::sync::Notify;

use super::connection::{Connection, PAUSE, is_moved, of_records};
use super::worker::Shared;
use crate::bus::{BusError, Outgoing, TopicPartition};

/// What a record costs besides its own bytes, in the formats of either end.
const OVERHEAD: usize = 40;

/// The most bytes of a request, all partitions together.
const MAX_REQUEST: usize = 16 << 20;

/// How long a thread without work waits before it goes.
const IDLE: Duration = Duration::from_mins(1);

/// Records of one call.
#[derive(Debug)]
struct Call {
    records: Arc<[Outgoing]>,
    progress: Mutex<Progress>,
    told: Notify,
}

#[derive(Debug)]
struct Progress {
    results: Vec<Option<Result<u64, BusError>>>,
    /// Which thread sends records of it now.
    sent_by: Option<u64>,
    sent: Vec<bool>,
    /// How many have no result.
    open: usize,
    /// Partitions of which a record failed: what follows would overtake it when it is tried again.
    failed: Vec<TopicPartition>,
    /// Nobody waits for it any more.
    left: bool,
}

impl Call {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, at: usize, result: Result<u64, BusError>) {
        let mut progress = self.progress();
        if progress.results[at].is_none() {
            progress.results[at] = Some(result);
            progress.open -= 1;
        }
        if progress.open == 0 {
            self.told.notify_one();
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// Records that are not sent yet: the call, and which of its records.
    waiting: VecDeque<(Arc<Call>, usize)>,
    bytes: usize,
    /// Counts the threads; the newest one sends.
    thread: u64,
    running: bool,
    closed: bool,
}

#[derive(Debug)]
struct Outbox {
    queue: Mutex<Queue>,
    filled: Condvar,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Producer {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
}

impl Producer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, outbox: Arc::new(Outbox { queue: Mutex::default(), filled: Condvar::new() }) }
    }

    fn enqueue(&self, call: &Arc<Call>) -> Result<(), BusError> {
        let bytes: usize = call.records.iter().map(|outgoing| outgoing.record.bytes()).sum();
        let mut queue = self.outbox.queue();
        if queue.bytes > 0 && queue.bytes + bytes > self.shared.options.max_waiting_bytes {
            return Err(BusError::Unavailable(format!(
                "{} bytes wait to be sent already (max_waiting_bytes = {})",
                queue.bytes, self.shared.options.max_waiting_bytes
            )));
        }
        if !queue.running {
            self.start(&mut queue)?;
        }
        let open: Vec<usize> = {
            let progress = call.progress();
            (0..call.records.len()).filter(|at| progress.results[*at].is_none()).collect()
        };
        for at in open {
            queue.bytes += call.records[at].record.bytes();
            queue.waiting.push_back((Arc::clone(call), at));
        }
        drop(queue);
        self.outbox.filled.notify_all();
        Ok(())
    }

    fn start(&self, queue: &mut Queue) -> Result<(), BusError> {
        let number = queue.thread + 1;
        let sender = Sender { number, shared: Arc::clone(&self.shared), outbox: Arc::clone(&self.outbox) };
        self.shared.spawn("producer", move || sender.run())?;
        queue.thread = number;
        queue.running = true;
        Ok(())
    }

    pub(super) async fn produce(&self, records: Arc<[Outgoing]>) -> Vec<Result<u64, BusError>> {
        let count = records.len();
        let results: Vec<_> = records.iter().map(|outgoing| self.refused(outgoing).map(Err)).collect();
        let open = results.iter().filter(|result| result.is_none()).count();
        let progress =
            Progress { results, sent_by: None, sent: vec![false; count], open, failed: Vec::new(), left: false };
        let call = Arc::new(Call { records, progress: Mutex::new(progress), told: Notify::new() });
        // a call whose future is dropped is not sent, where it is not sent yet
        let left = Left(&call);
        if open > 0 {
            match self.enqueue(&call) {
                Ok(()) => {
                    let limit = self.shared.options.request_timeout;
                    if tokio::time::timeout(limit, call.told.notified()).await.is_err() {
                        self.late(&call);
                    }
                }
                Err(error) => (0..count).for_each(|at| call.settle(at, Err(error.clone()))),
            }
        }
        drop(left);
        let limit = self.shared.options.request_timeout;
        let progress = call.progress();
        let results = progress.results.iter().zip(&progress.sent).map(|(result, sent)| match result {
            Some(result) => result.clone(),
            None if *sent => Err(BusError::Unknown(format!("no acknowledgement within {limit:?}"))),
            None => Err(BusError::Unavailable(format!("it could not be sent within {limit:?}"))),
        });
        results.collect()
    }

    fn refused(&self, outgoing: &Outgoing) -> Option<BusError> {
        let (bytes, max) = (outgoing.record.bytes(), self.shared.options.max_record_bytes);
        if bytes > max {
            return Some(BusError::Refused(format!(
                "a record for {} has {bytes} bytes, and {max} are the most (max_record_bytes)",
                outgoing.to
            )));
        }
        (!outgoing.record.headers.is_empty()).then(|| {
            BusError::Refused(format!(
                "a record for {} has headers, which kafka-rust can't send: put them into the value, or use `rdkafka`",
                outgoing.to
            ))
        })
    }

    /// The thread that sends waits for an answer: it is left, and another one sends what comes next.
    fn late(&self, call: &Call) {
        let by = {
            let mut progress = call.progress();
            progress.left = true;
            progress.sent_by
        };
        let mut queue = self.outbox.queue();
        if by == Some(queue.thread) && queue.running {
            queue.running = false;
            if !queue.waiting.is_empty()
                && let Err(error) = self.start(&mut queue)
            {
                tracing::warn!(%error, "records wait until an older request to the brokers ends");
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.outbox.queue().closed = true;
        self.outbox.filled.notify_all();
    }
}

/// Marks a call as left when its future is dropped.
struct Left<'a>(&'a Call);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.progress().left = true;
    }
}

/// The thread's side.
#[derive(Debug)]
struct Sender {
    number: u64,
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
}

/// Records of one partition that are sent together.
type Group = Vec<(Arc<Call>, usize)>;

impl Sender {
    fn run(self) {
        let mut connection = self.shared.connection();
        while let Some(groups) = self.take() {
            let sent = catch_unwind(AssertUnwindSafe(|| self.send(&mut connection, &groups)));
            if sent.is_err() {
                connection.forget();
                let lost = BusError::Unknown("kafka-rust panicked while it sent".to_owned());
                for group in groups.values() {
                    fail(group, &lost);
                }
            }
        }
    }

    /// What is to be sent next: of each partition no more than a broker takes as one batch.
    fn take(&self) -> Option<BTreeMap<TopicPartition, Group>> {
        let mut queue = self.outbox.queue();
        loop {
            if queue.thread != self.number || !queue.running {
                return None;
            }
            if !queue.waiting.is_empty() {
                break;
            }
            if queue.closed {
                queue.running = false;
                return None;
            }
            let (after, waited) = self.outbox.filled.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = after;
            if waited.timed_out() && queue.waiting.is_empty() && queue.thread == self.number {
                queue.running = false;
                return None;
            }
        }
        let limit = self.shared.options.max_record_bytes + OVERHEAD;
        let mut groups: BTreeMap<TopicPartition, (usize, Group)> = BTreeMap::new();
        let mut full = BTreeSet::new();
        let mut rest = VecDeque::new();
        let mut total = 0;
        while let Some((call, at)) = queue.waiting.pop_front() {
            let outgoing = &call.records[at];
            let bytes = outgoing.record.bytes();
            let (used, group) = groups.entry(outgoing.to.clone()).or_default();
            let fits = group.is_empty() || *used + bytes + OVERHEAD <= limit;
            if full.contains(&outgoing.to) || !fits || (total > 0 && total + bytes > MAX_REQUEST) {
                full.insert(outgoing.to.clone());
                rest.push_back((call, at));
                if total >= MAX_REQUEST {
                    break;
                }
                continue;
            }
            let mut progress = call.progress();
            queue.bytes -= bytes;
            if progress.left || progress.results[at].is_some() {
                continue;
            }
            progress.sent_by = Some(self.number);
            drop(progress);
            *used += bytes + OVERHEAD;
            total += bytes;
            group.push((call, at));
        }
        rest.append(&mut queue.waiting);
        queue.waiting = rest;
        Some(
            groups
                .into_iter()
                .filter(|(_, (_, group))| !group.is_empty())
                .map(|(to, (_, group))| (to, group))
                .collect(),
        )
    }

    /// Records that certainly were not taken, by a broker that does not lead their partition: before all others, as they
    /// came first, and as long as somebody waits for them.
    fn again(&self, group: Group) {
        let mut queue = self.outbox.queue();
        for (call, at) in group.into_iter().rev() {
            call.progress().sent[at] = false;
            queue.bytes += call.records[at].record.bytes();
            queue.waiting.push_front((call, at));
        }
    }

    /// Sends each group to the broker that leads its partition.
    fn send(&self, connection: &mut Connection, groups: &BTreeMap<TopicPartition, Group>) {
        let mut by_leader: BTreeMap<String, Vec<(&TopicPartition, Group)>> = BTreeMap::new();
        for (to, group) in groups {
            let (follows, group): (Group, Group) =
                group.iter().cloned().partition(|(call, _)| call.progress().failed.contains(to));
            fail(&follows, &BusError::Unavailable(format!("an earlier record of the same call for {to} failed")));
            match leader(connection, to) {
                Ok(Some(leader)) => by_leader.entry(leader).or_default().push((to, group)),
                Ok(None) => {
                    self.again(group);
                    std::thread::sleep(PAUSE);
                }
                Err(error) => fail(&group, &error),
            }
        }
        for groups in by_leader.into_values() {
            self.send_to_one(connection, groups);
        }
    }

    fn send_to_one(&self, connection: &mut Connection, mut groups: Vec<(&TopicPartition, Group)>) {
        for (_, group) in &mut groups {
            // from here on it may be there, whatever is heard of it; unless nobody waits any more
            group.retain(|(call, at)| {
                let mut progress = call.progress();
                progress.sent[*at] = !progress.left;
                !progress.left
            });
        }
        groups.retain(|(_, group)| !group.is_empty());
        if groups.is_empty() {
            return;
        }
        let messages = groups.iter().flat_map(|(_, group)| group).map(|(call, at)| {
            let Outgoing { to, record } = &call.records[*at];
            ProduceMessage::new(&to.topic, i32::from(to.partition), record.key.as_deref(), Some(&record.value))
        });
        let wait = self.shared.options.ack_timeout;
        let confirms = match connection.with(|client| client.produce_messages(RequiredAcks::All, wait, messages)) {
            Ok(confirms) => confirms,
            Err(error) => {
                let error = of_sending(&error);
                for (_, group) in &groups {
                    fail(group, &error);
                }
                return;
            }
        };
        for (to, group) in groups {
            let of_topic = confirms.iter().filter(|confirm| *confirm.topic == *to.topic);
            let mut confirmed = of_topic.flat_map(|confirm| &confirm.partition_confirms);
            match confirmed.find(|confirm| confirm.partition == i32::from(to.partition)).map(|confirm| &confirm.offset)
            {
                Some(Ok(first)) => {
                    let first = u64::try_from(*first).unwrap_or(0);
                    group.iter().zip(first..).for_each(|((call, at), offset)| call.settle(*at, Ok(offset)));
                }
                Some(Err(code)) => {
                    if is_moved(*code) {
                        connection.forget();
                    }
                    if matches!(code, KafkaCode::NotLeaderForPartition | KafkaCode::LeaderNotAvailable) {
                        self.again(group);
                        std::thread::sleep(PAUSE);
                    } else {
                        fail(&group, &of_records(*code, to));
                    }
                }
                None => fail(&group, &BusError::Unknown(format!("the broker says nothing of {to}"))),
            }
        }
    }
}

fn fail(group: &Group, error: &BusError) {
    for (call, at) in group {
        call.progress().failed.push(call.records[*at].to.clone());
        call.settle(*at, Err(error.clone()));
    }
}

/// The broker that leads a partition, if there is one for now.
fn leader(connection: &mut Connection, to: &TopicPartition) -> Result<Option<String>, BusError> {
    let unavailable = |error: Error| BusError::Unavailable(error.to_string());
    for anew in [false, true] {
        if connection
            .partitions(&to.topic, anew)
            .map_err(unavailable)?
            .is_some_and(|count| count > usize::from(to.partition))
        {
            let client = connection.client().map_err(unavailable)?;
            let topics = client.topics();
            let partitions = topics.partitions(&to.topic);
            let partition = partitions.and_then(|partitions| partitions.partition(i32::from(to.partition)));
            if let Some(leader) = partition.and_then(|partition| partition.leader().map(|l| l.host().to_owned())) {
                return Ok(Some(leader));
            }
            if anew {
                return Ok(None);
            }
        }
    }
    Err(BusError::NoTopic(to.clone()))
}

/// What a request that failed as a whole means for its records.
fn of_sending(error: &Error) -> BusError {
    match error {
        // no connection was made
        Error::NoHostReachable => BusError::Unavailable(error.to_string()),
        Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => BusError::Unavailable(error.to_string()),
        _ => BusError::Unknown(error.to_string()),
    }
}
