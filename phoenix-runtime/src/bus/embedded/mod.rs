//! A bus in one file, in the process that uses it: `SQLite` with a write-ahead log, the default of every service.
//!
//! One thread writes. It makes everything that waits durable with one commit, before it is acknowledged or read by
//! anybody; another one reads. Consumers of a group share its partitions in this process, and wait for news without
//! asking for them. The owner of a file holds a lock on another one beside it.
//!
//! # Layout
//! - `options`, `error`: what can be chosen, and what can go wrong
//! - `schema`, `marks`: the tables; what of them is known without asking
//! - `worker`: on which thread jobs are done
//! - `writer`, `trim`, `read`: what writes, what removes and what reads records
//! - `group`, `assignment`: who of a group has which partition, and who should
//! - `shared`, `core`: what all look at; `consumer`, `follower`: what they are

mod assignment;
mod consumer;
mod core;
mod error;
mod follower;
mod group;
mod marks;
mod options;
mod read;
mod schema;
mod shared;
mod trim;
mod worker;
mod writer;

use std::fmt;
use std::sync::Arc;

pub use self::options::EmbeddedOptions;

use self::consumer::EmbeddedConsumer;
use self::core::Core;
use self::follower::EmbeddedFollower;
use self::shared::Shared;
use self::worker::Worker;
use self::writer::Job;
use crate::bus::port::{
    Bus, BusError, Consumer, Follower, Keep, Offsets, Outgoing, Subscription, TopicPartition, Traits,
};
use crate::domain::ports::{BoxFuture, Clock};
use crate::event_store::sqlite::{OpenError, Synchronous};

/// A bus in a `SQLite` file, and the only one that may write to it; or in memory, for tests.
///
/// Dropping it and its consumers waits for what was sent to be written, and lets the file go.
pub struct EmbeddedBus(Arc<Core>);

impl fmt::Debug for EmbeddedBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl EmbeddedBus {
    /// Opens a bus as its owner: makes the file where there is none.
    ///
    /// # Errors
    /// A file that has another owner, was written by a newer release, is no bus, or can't be read and written.
    pub async fn open(options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (options, shared) = (Arc::new(options.bounded()), Arc::new(Shared::default()));
        let worker = Worker::threads(Arc::clone(&options), Arc::clone(&clock), Arc::clone(&shared)).await?;
        Ok(Self(Arc::new(Core::new(options, clock, shared, worker))))
    }

    /// A bus in memory with the default options: nothing of it is durable. It has no threads: a call is done when it is
    /// made, so that it runs in a simulated world.
    ///
    /// # Errors
    /// A database that can't be made in memory.
    pub fn memory(clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::memory_with(EmbeddedOptions::at(":memory:"), clock)
    }

    /// A bus in memory with other options; their path is a name for messages.
    ///
    /// # Errors
    /// A database that can't be made in memory.
    pub fn memory_with(options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (options, shared) = (Arc::new(options.bounded()), Arc::new(Shared::default()));
        let worker = Worker::inline(Arc::clone(&options), Arc::clone(&clock), Arc::clone(&shared))?;
        Ok(Self(Arc::new(Core::new(options, clock, shared, worker))))
    }

    /// Forgets the offsets of a group that will never read again, so that records need not be kept for it. Tells whether
    /// there were any.
    ///
    /// # Errors
    /// A group that has consumers now.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is forgotten.
    pub async fn forget(&self, group: &str) -> Result<bool, BusError> {
        if self.0.shared.lock().groups.contains_key(group) {
            return Err(BusError::Refused(format!(
                "the group `{group}` has consumers; stop them before it is forgotten"
            )));
        }
        self.0.send(|reply| Job::Forget(group.into(), reply)).await
    }

    /// Answers for itself what can't be sent; gives the number of the partition otherwise.
    fn accepts(&self, outgoing: &Outgoing) -> Result<u32, BusError> {
        let (bytes, most) = (outgoing.record.bytes(), self.0.options.max_record_bytes);
        let number = self.0.shared.lock().marks.number(&outgoing.to);
        let number = number.ok_or_else(|| BusError::NoTopic(outgoing.to.clone()))?;
        if bytes > most {
            return Err(BusError::Refused(format!(
                "a record of {bytes} bytes for {} is larger than `max_record_bytes`, which is {most}; send less, or raise it",
                outgoing.to
            )));
        }
        Ok(number)
    }

    async fn send_records(&self, records: Arc<[Outgoing]>) -> Vec<Result<u64, BusError>> {
        let (mut answers, mut sent, mut bytes) = (Vec::with_capacity(records.len()), Vec::new(), 0);
        for outgoing in &*records {
            answers.push(match self.accepts(outgoing) {
                Ok(number) => {
                    bytes += outgoing.record.bytes() + 64;
                    sent.push((number, outgoing.record.clone()));
                    // replaced by its own answer
                    Ok(0)
                }
                Err(error) => Err(error),
            });
        }
        if sent.is_empty() {
            return answers;
        }
        let most = self.0.options.waiting_bytes.div_ceil(1024).max(1);
        let permits = u32::try_from(bytes.div_ceil(1024).min(most)).unwrap_or(u32::MAX);
        // it is never closed; if it were, nothing would be held back
        let _room = self.0.room.acquire_many(permits).await.ok();
        let produced = self.0.send(|reply| Job::Produce(sent, reply)).await;
        let mut produced = produced.map(Vec::into_iter);
        for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
            let lost = || Err(BusError::Unknown("the answer to this record is missing".to_owned()));
            *answer = match &mut produced {
                Ok(produced) => produced.next().unwrap_or_else(lost),
                Err(error) => Err(error.clone()),
            };
        }
        answers
    }
}

/// The names that other buses take as well, so that a service can change its bus.
fn check_name(topic: &str) -> Result<(), BusError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(fits) {
        return Err(BusError::Refused(format!(
            "`{topic}` can't be the name of a topic: write 1 to 249 letters, digits, dots, underscores and hyphens"
        )));
    }
    Ok(())
}

impl Bus for EmbeddedBus {
    fn name(&self) -> String {
        if self.0.worker.is_memory() {
            return "embedded (memory, not durable)".to_owned();
        }
        format!("embedded (sqlite wal, synchronous={})", self.0.options.synchronous)
    }

    fn traits(&self) -> Traits {
        Traits { headers: true, rebalances: true, max_record_bytes: self.0.options.max_record_bytes }
    }

    fn is_durable(&self) -> bool {
        !self.0.worker.is_memory() && self.0.options.synchronous == Synchronous::Full
    }

    fn partitions(&self, topic: Arc<str>) -> BoxFuture<'_, Result<Option<u16>, BusError>> {
        let found = self.0.shared.lock().marks.topics.get(&topic).map(Vec::len);
        Box::pin(std::future::ready(Ok(found.map(|count| u16::try_from(count).unwrap_or(u16::MAX)))))
    }

    fn create_keeping(&self, topic: Arc<str>, partitions: u16, keep: Keep) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            check_name(&topic)?;
            if partitions == 0 {
                return Err(BusError::Refused(format!("the topic `{topic}` needs a partition at least")));
            }
            self.0.send(|reply| Job::Create(topic, partitions, keep, reply)).await
        })
    }

    fn produce(&self, records: Arc<[Outgoing]>) -> BoxFuture<'_, Vec<Result<u64, BusError>>> {
        Box::pin(self.send_records(records))
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>> {
        let Subscription { group, topics, max_records, .. } = subscription;
        let joined = EmbeddedConsumer::join(Arc::clone(&self.0), group.into(), &topics, max_records);
        Box::pin(std::future::ready(joined.map(|consumer| Box::new(consumer) as Box<dyn Consumer>)))
    }

    fn follow(
        &self,
        partition: TopicPartition,
        max_records: usize,
    ) -> BoxFuture<'_, Result<Box<dyn Follower>, BusError>> {
        let begun = EmbeddedFollower::begin(Arc::clone(&self.0), partition, max_records);
        Box::pin(std::future::ready(begun.map(|follower| Box::new(follower) as Box<dyn Follower>)))
    }

    fn offsets(&self, partition: TopicPartition, group: &str) -> BoxFuture<'_, Result<Offsets, BusError>> {
        let state = self.0.shared.lock();
        let mark =
            state.marks.number(&partition).and_then(|number| Some((number, state.marks.partitions.get(&number)?)));
        let found = mark.map(|(number, mark)| {
            let committed = state.marks.committed(group, number);
            Offsets { earliest: mark.earliest, end: mark.end, committed }
        });
        drop(state);
        Box::pin(std::future::ready(found.ok_or(BusError::NoTopic(partition))))
    }
}
