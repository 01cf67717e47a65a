//! What a bus promises.
//!
//! - A topic has partitions, whose number does not change while anybody uses it; the records of a partition have an
//!   order, and offsets that grow. Who produces says which partition: a bus never chooses one.
//! - What [`Bus::produce`] acknowledged is as durable as [`Bus::is_durable`] says. One call is one try: records that are
//!   not acknowledged may be there all the same ([`BusError::Unknown`]), and may come later, so whoever tries again
//!   makes duplicates. Records of one call to one partition keep their order; those of two calls only if the second one
//!   is made when the first has ended.
//! - Within a group each partition has one [`Consumer`] at a time. It is told which partitions it has, gets their records
//!   in order, from the committed offset on (the earliest record where there is none), and may get the same record again
//!   after a restart or a change of owner. A committed offset is the next one to be read.
//! - A [`Follower`] is none of a group: it reads a partition from its end on, whoever else reads it or did a moment ago.
//! - A paused partition gives no records; nothing is lost by that. A consumer that does not ask for the next happening
//!   may lose its partitions.

use std::fmt;
use std::sync::Arc;

use super::headers::Headers;
use crate::domain::ports::BoxFuture;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// Its partition, from 0 on.
    pub partition: u16,
}

impl TopicPartition {
    /// A partition of a topic.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: u16) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// What travels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The key: for tools and for compaction, never for choosing a partition.
    pub key: Option<Vec<u8>>,
    /// Names and values, in their order. Empty on a bus without headers ([`Traits::headers`]).
    pub headers: Headers,
    /// The payload.
    pub value: Vec<u8>,
}

impl Record {
    /// What it counts against the bounds of a bus.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.headers.bytes() + self.value.len()
    }
}

/// A record with the partition that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where it goes.
    pub to: TopicPartition,
    /// The record.
    pub record: Record,
}

/// A record with the place that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it was.
    pub from: TopicPartition,
    /// Its offset there.
    pub offset: u64,
    /// The record.
    pub record: Record,
}

/// What a bus can do. What it lacks, its users do without or refuse at start; nothing is imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// Whether records have headers.
    pub headers: bool,
    /// Whether partitions move between the consumers of a group. Without it a consumer has the partitions that its
    /// [`Subscription`] names, and nobody sees to it that another one does not have them as well.
    pub rebalances: bool,
    /// The most bytes of a record, key and headers included.
    pub max_record_bytes: usize,
}

/// Why a bus did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// Certainly not done; may work later.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
    /// Perhaps done, perhaps not, perhaps done later: the answer was lost.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// Never done, and never will be: too large, for example.
    #[error("the bus refuses it: {0}")]
    Refused(String),
    /// There is no such topic, or no such partition of it.
    #[error("there is no {0}")]
    NoTopic(TopicPartition),
    /// The topic exists with another number of partitions.
    #[error("the topic `{topic}` has {found} partitions, and {wanted} are asked for")]
    Partitions {
        /// Which topic.
        topic: Arc<str>,
        /// How many it has.
        found: u16,
        /// How many it should have.
        wanted: u16,
    },
    /// The consumer does not have this partition any more: nothing was committed.
    #[error("another consumer of the group has {0}")]
    Lost(TopicPartition),
    /// What is stored is not what was written, or an offset that was committed is not there any more: needs a person.
    #[error("the bus is damaged: {0}")]
    Damaged(String),
    /// The servers or the settings are none that this adapter can work with; waiting mends nothing.
    #[error("{0}")]
    Unsupported(String),
}

impl BusError {
    /// Whether the same may work later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unknown(_))
    }
}

/// What a consumer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Who share the partitions.
    pub group: String,
    /// Of which topics.
    pub topics: Vec<Arc<str>>,
    /// The partitions of a consumer on a bus that does not rebalance, of every topic; `None` for all of them. A bus that
    /// rebalances pays no heed to it.
    pub fixed: Option<Vec<u16>>,
    /// The most records of one [`Happening::Records`].
    pub max_records: usize,
}

/// What a consumer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// These partitions are this consumer's from now on, each with its committed offset. Their records come from the next
    /// call on, unless they are paused.
    Assigned(Vec<(TopicPartition, Option<u64>)>),
    /// These partitions shall go to another consumer. They stay until [`Consumer::release`], which is to come soon: no
    /// records of them come any more, and offsets of them may still be committed.
    Revoking(Vec<TopicPartition>),
    /// These partitions are gone: another consumer may have them already, and no offset of them can be committed.
    Lost(Vec<TopicPartition>),
    /// Records, each partition's in their order.
    Records(Vec<Received>),
    /// The committed offset of this partition is not there any more, or not yet: records were removed before they were
    /// read, or the topic was made anew. Nothing of it comes before [`Consumer::seek`].
    OutOfRange {
        /// Which one.
        partition: TopicPartition,
        /// The offset that was to be read.
        wanted: u64,
        /// The first one that is there.
        earliest: u64,
        /// The one after the last.
        end: u64,
    },
}

/// Reads topics as one of a group. Dropping it gives its partitions back.
pub trait Consumer: Send + fmt::Debug {
    /// Waits for what happens next.
    ///
    /// # Errors
    /// `Unavailable` where the bus can't be reached for now: ask again. Others are final.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<Happening, BusError>>;

    /// Keeps the next offsets to be read, durably. Several partitions may be kept one after the other: after an error
    /// some may be kept.
    ///
    /// # Errors
    /// `Lost` for a partition that is another consumer's.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether they are kept.
    fn commit(&mut self, offsets: Vec<(TopicPartition, u64)>) -> BoxFuture<'_, Result<(), BusError>>;

    /// No records of these partitions come until they are resumed. Those that are not this consumer's are passed over.
    fn pause(&mut self, partitions: &[TopicPartition]);

    /// Records of these partitions come again, from where they stopped.
    fn resume(&mut self, partitions: &[TopicPartition]);

    /// Reads on from this offset; what is committed stays as it is.
    ///
    /// # Errors
    /// A partition that is not this consumer's.
    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> BoxFuture<'_, Result<(), BusError>>;

    /// Gives partitions back that were [`Happening::Revoking`].
    ///
    /// # Errors
    /// A bus that does not answer: they are gone all the same.
    fn release(&mut self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), BusError>>;
}

/// Reads one partition from a moment on, without a group: others may read it as well, nobody has to go before it begins, and
/// nothing is kept of how far it has come.
pub trait Follower: Send + fmt::Debug {
    /// Waits for the records that come next, in their order. What was removed before it was read is passed over.
    ///
    /// # Errors
    /// `Unavailable` where the bus can't be reached for now: ask again. Others are final.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Received>, BusError>>;
}

/// Which records of a topic stay. A bus on servers leaves that to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// Those that were not read: where there is no room for more, what comes is refused.
    #[default]
    UntilRead,
    /// The newest, as far as there is room: for what is of no use once its readers are gone.
    Newest,
}

/// How far a partition is filled, and how far a group has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first one that is there.
    pub earliest: u64,
    /// The one after the last.
    pub end: u64,
    /// The next one that the group reads; `None` where it never committed.
    pub committed: Option<u64>,
}

/// A bus: see the module's promises.
pub trait Bus: Send + Sync + fmt::Debug + 'static {
    /// A name for logs, with the durability that it gives.
    fn name(&self) -> String;

    /// What it can do.
    fn traits(&self) -> Traits;

    /// Whether what was acknowledged survives the process and the machine's power, as far as this side knows.
    fn is_durable(&self) -> bool;

    /// How many partitions a topic has; `None` where there is none.
    fn partitions(&self, topic: Arc<str>) -> BoxFuture<'_, Result<Option<u16>, BusError>>;

    /// Makes a topic whose records stay until they are read.
    ///
    /// # Errors
    /// As [`Bus::create_keeping`].
    fn create(&self, topic: Arc<str>, partitions: u16) -> BoxFuture<'_, Result<(), BusError>> {
        self.create_keeping(topic, partitions, Keep::UntilRead)
    }

    /// Makes a topic. Of one that is there with as many partitions, from now on those records stay that are named here.
    ///
    /// # Errors
    /// `Partitions` for one that has another number of them.
    fn create_keeping(&self, topic: Arc<str>, partitions: u16, keep: Keep) -> BoxFuture<'_, Result<(), BusError>>;

    /// Sends records, and tells the offset of each, in their order. They are shared, because whoever sends them again keeps
    /// them as well.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open which of them were sent.
    fn produce(&self, records: Arc<[Outgoing]>) -> BoxFuture<'_, Vec<Result<u64, BusError>>>;

    /// Reads as one of a group.
    ///
    /// # Errors
    /// A topic that does not exist, and servers that can't be worked with.
    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, BusError>>;

    /// Follows a partition: all that is acknowledged after this is ready comes, and nothing that was there before. At most
    /// `max_records` come at once.
    ///
    /// # Errors
    /// A partition that does not exist, and servers that can't be worked with.
    fn follow(
        &self,
        partition: TopicPartition,
        max_records: usize,
    ) -> BoxFuture<'_, Result<Box<dyn Follower>, BusError>>;

    /// How far a partition is filled, and how far a group has read it.
    ///
    /// # Errors
    /// A partition that does not exist.
    fn offsets(&self, partition: TopicPartition, group: &str) -> BoxFuture<'_, Result<Offsets, BusError>>;
}
