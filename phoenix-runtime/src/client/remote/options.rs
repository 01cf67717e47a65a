//! What can be chosen about calls over a bus.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::sender::SenderOptions;
use crate::client::rate::RateLimit;

/// How commands that got no answer are sent again. The id stays, so each is done once.
pub trait Retry: Send + Sync + fmt::Debug + 'static {
    /// How long to wait for an answer after this many attempts before the next one; `None` for no more.
    fn pause(&self, attempts: u32) -> Option<Duration>;
}

/// So many more attempts, one after each pause of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    /// How many there are beside the first.
    pub times: u32,
    /// How long each answer is waited for before the next.
    pub pause: Duration,
}

impl Default for Every {
    fn default() -> Self {
        Self { times: 3, pause: Duration::from_secs(10) }
    }
}

impl Retry for Every {
    fn pause(&self, attempts: u32) -> Option<Duration> {
        (attempts <= self.times).then_some(self.pause)
    }
}

/// What can be chosen about calls over a bus.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// The topic of commands and queries, for aggregates that have none of their own.
    pub topic: Arc<str>,
    /// The topics of aggregates that have one of their own, by their wire names.
    pub topics: BTreeMap<String, Arc<str>>,
    /// Where replies come. No two running clients may read the same partition of a topic: a topic of its own for each is
    /// the simplest, and it is made where there is none.
    pub replies: Replies,
    /// How long an ask waits that says nothing else.
    pub ask_timeout: Duration,
    /// How many asks wait at once; one more is refused.
    pub max_waiting: usize,
    /// How often it calls at most; a call waits for its turn within its time-out, and is refused as `rate-limited` where that
    /// would be later. Sending again what got no answer is no further call.
    pub rate: Option<RateLimit>,
    /// How commands that got no answer are sent again.
    pub retry: Arc<dyn Retry>,
    /// How records are sent.
    pub sender: SenderOptions,
}

/// Where the replies of a client come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replies {
    /// A topic of its own, with one partition.
    Topic(Arc<str>),
    /// One partition of a topic that is shared.
    Partition(Arc<str>, u16),
}

impl Replies {
    pub(super) fn place(&self) -> (Arc<str>, u16) {
        match self {
            Self::Topic(topic) => (Arc::clone(topic), 0),
            Self::Partition(topic, partition) => (Arc::clone(topic), *partition),
        }
    }
}

impl RemoteOptions {
    /// With defaults for everything else.
    pub fn new(topic: impl Into<Arc<str>>, replies: Replies) -> Self {
        Self {
            topic: topic.into(),
            topics: BTreeMap::new(),
            replies,
            ask_timeout: Duration::from_mins(10),
            max_waiting: 100_000,
            rate: None,
            retry: Arc::new(Every::default()),
            sender: SenderOptions::default(),
        }
    }

    pub(super) fn topic_of(&self, aggregate: &str) -> &Arc<str> {
        self.topics.get(aggregate).unwrap_or(&self.topic)
    }
}
