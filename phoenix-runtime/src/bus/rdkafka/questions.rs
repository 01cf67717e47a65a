//! What is asked about topics and groups.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::rdkafka::ClientConfig;
use ::rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use ::rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use ::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ::rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::context::{Context, of_question};
use super::producer::end;
use super::settings;
use crate::bus::options::RdKafkaOptions;
use crate::bus::{BusError, Offsets, TopicPartition};

/// How many groups may be asked about in turn without a new client each time.
const MAX_GROUPS: usize = 4;

/// The pause before a topic that was made, or the leader of its partitions, is looked for again.
const PROPAGATION: Duration = Duration::from_millis(50);

impl ConsumerContext for Context {}

type Group = BaseConsumer<Context>;

/// See the module.
pub(super) struct Questions {
    base: ClientConfig,
    options: RdKafkaOptions,
    admin: Option<Arc<AdminClient<Context>>>,
    groups: Mutex<VecDeque<(String, Arc<Group>)>>,
    /// How many partitions topics had when they were last asked for.
    known: Mutex<BTreeMap<Arc<str>, u16>>,
}

// without the settings, among which are secrets
impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Questions").field("known", &self.known).finish_non_exhaustive()
    }
}

/// Runs what blocks on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| BusError::Unavailable(format!("the question ended without an answer: {error}")))?
}

impl Questions {
    pub(super) fn new(base: ClientConfig, options: RdKafkaOptions) -> Result<Self, BusError> {
        let admin: AdminClient<Context> =
            base.create_with_context(Context::default()).map_err(|error| of_question(&error))?;
        let (groups, known) = (Mutex::default(), Mutex::default());
        Ok(Self { base, options, admin: Some(Arc::new(admin)), groups, known })
    }

    fn admin(&self) -> Result<Arc<AdminClient<Context>>, BusError> {
        self.admin.clone().ok_or_else(|| BusError::Unavailable("the bus is closed".to_owned()))
    }

    /// Whether any broker answers.
    pub(super) async fn reach(&self) -> Result<(), BusError> {
        let (admin, limit) = (self.admin()?, self.options.request_timeout);
        // of a topic that may not be there, as that of all topics may be long
        blocking(move || {
            let answered = admin.inner().fetch_metadata(Some("phoenix"), limit);
            answered.map(drop).map_err(|error| of_question(&error))
        })
        .await
    }

    /// How many partitions a topic has now.
    pub(super) async fn partitions(&self, topic: &Arc<str>) -> Result<Option<u16>, BusError> {
        let (admin, limit, name) = (self.admin()?, self.options.request_timeout, Arc::clone(topic));
        let count = blocking(move || {
            let unknown =
                |code| matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic);
            let answer = match admin.inner().fetch_metadata(Some(&name), limit) {
                Ok(answer) => answer,
                Err(error) if error.rdkafka_error_code().is_some_and(unknown) => return Ok(None),
                Err(error) => return Err(of_question(&error)),
            };
            let Some(found) = answer.topics().iter().find(|found| found.name() == &*name) else { return Ok(None) };
            match found.error().map(RDKafkaErrorCode::from) {
                Some(code) if unknown(code) => Ok(None),
                Some(code) => Err(of_question(&KafkaError::MetadataFetch(code))),
                None => Ok(Some(found.partitions().len()).filter(|count| *count > 0)),
            }
        })
        .await?;
        let count = count.map(|count| {
            let too_many =
                |_| BusError::Unsupported(format!("the topic `{topic}` has more than {} partitions", u16::MAX));
            u16::try_from(count).map_err(too_many)
        });
        let count = count.transpose()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match count {
            Some(count) => known.insert(Arc::clone(topic), count),
            None => known.remove(topic),
        };
        Ok(count)
    }

    /// Whether a partition is there, as far as is known; what is not known is asked for.
    pub(super) async fn exists(&self, partition: &TopicPartition) -> Result<(), BusError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&partition.topic).copied();
        let is_there = |count: Option<u16>| count.is_some_and(|count| partition.partition < count);
        if is_there(known) || is_there(self.partitions(&partition.topic).await?) {
            return Ok(());
        }
        Err(BusError::NoTopic(partition.clone()))
    }

    /// Makes a topic, and waits until it is seen.
    pub(super) async fn create(&self, topic: Arc<str>, wanted: u16) -> Result<(), BusError> {
        let limit = self.options.request_timeout;
        let check = |found| match found {
            Some(found) if found == wanted => Ok(true),
            Some(found) => Err(BusError::Partitions { topic: Arc::clone(&topic), found, wanted }),
            None => Ok(false),
        };
        if check(self.partitions(&topic).await?)? {
            return Ok(());
        }
        let replication = TopicReplication::Fixed(self.options.replication_factor.map_or(-1, i32::from));
        let new = NewTopic::new(&topic, i32::from(wanted), replication);
        let how = AdminOptions::new().request_timeout(Some(limit)).operation_timeout(Some(limit));
        let made = self.admin()?.create_topics([&new], &how).await.map_err(|error| of_question(&error))?;
        for result in made {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(of_question(&KafkaError::AdminOp(code))),
            }
        }
        let seen = async {
            while !check(self.partitions(&topic).await?)? {
                tokio::time::sleep(PROPAGATION).await;
            }
            Ok(())
        };
        let late = |_| BusError::Unavailable(format!("the topic `{topic}` was made and is not seen within {limit:?}"));
        tokio::time::timeout(limit, seen).await.map_err(late)?
    }

    fn group(&self, name: &str) -> Result<Arc<Group>, BusError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = groups.iter().position(|(known, _)| known == name) {
            return Ok(Arc::clone(&groups[at].1));
        }
        let config = settings::consumer(&self.base, &self.options, name);
        let group: Group = config.create_with_context(Context::default()).map_err(|error| of_question(&error))?;
        let group = Arc::new(group);
        groups.push_back((name.to_owned(), Arc::clone(&group)));
        if groups.len() > MAX_GROUPS
            && let Some(oldest) = groups.pop_front()
        {
            end(oldest);
        }
        Ok(group)
    }

    pub(super) async fn offsets(&self, partition: TopicPartition, group: &str) -> Result<Offsets, BusError> {
        if self.partitions(&partition.topic).await?.is_none_or(|count| count <= partition.partition) {
            return Err(BusError::NoTopic(partition));
        }
        let (group, limit) = (self.group(group)?, self.options.request_timeout);
        blocking(move || {
            let starts = ends(&*group, &[partition], limit)?;
            let found = starts.into_iter().next();
            found
                .ok_or_else(|| BusError::Unavailable("the brokers don't tell the offsets".to_owned()))
                .map(|(_, offsets)| offsets)
        })
        .await
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        let groups = std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner));
        end((self.admin.take(), groups));
    }
}

/// How far partitions are filled, and how far the group of a client has read them.
pub(super) fn ends<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    limit: Duration,
) -> Result<Vec<(TopicPartition, Offsets)>, BusError> {
    let mut found = bounds(client, partitions, limit)?;
    if found.is_empty() {
        return Ok(found);
    }
    let wanted = list(partitions, Offset::Invalid)?;
    let committed = patiently(limit, || client.committed_offsets(wanted.clone(), limit))?;
    for (partition, offsets) in &mut found {
        offsets.committed = offset(&committed, partition)?;
    }
    Ok(found)
}

/// How far partitions are filled; nothing of any group.
pub(super) fn bounds<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    limit: Duration,
) -> Result<Vec<(TopicPartition, Offsets)>, BusError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let at = |place: Offset| {
        let wanted = list(partitions, place)?;
        patiently(limit, || client.offsets_for_times(wanted.clone(), limit))
    };
    let (earliest, end) = (at(Offset::Beginning)?, at(Offset::End)?);
    let found = partitions.iter().map(|partition| {
        let missing = || BusError::Unavailable(format!("the brokers don't tell the offsets of {partition}"));
        let earliest = offset(&earliest, partition)?.ok_or_else(missing)?;
        let end = offset(&end, partition)?.ok_or_else(missing)?;
        Ok((partition.clone(), Offsets { earliest, end, committed: None }))
    });
    found.collect()
}

/// Asks again, for a while, where the brokers say that somebody else would know: a partition that was just made has no leader
/// for a moment, and a group that was never heard of no coordinator.
fn patiently<T>(limit: Duration, mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, BusError> {
    use RDKafkaErrorCode as Code;
    let until = Instant::now() + limit / 2;
    loop {
        let found = ask();
        let code = found.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        match code {
            Some(
                Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress,
            ) if Instant::now() < until => std::thread::sleep(PROPAGATION),
            _ => return found.map_err(|error| of_question(&error)),
        }
    }
}

fn list(partitions: &[TopicPartition], place: Offset) -> Result<TopicPartitionList, BusError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        let added = list.add_partition_offset(&partition.topic, i32::from(partition.partition), place);
        added.map_err(|error| of_question(&error))?;
    }
    Ok(list)
}

/// What a list says of a partition.
fn offset(list: &TopicPartitionList, of: &TopicPartition) -> Result<Option<u64>, BusError> {
    let Some(found) = list.find_partition(&of.topic, i32::from(of.partition)) else { return Ok(None) };
    found.error().map_err(|error| of_question(&error))?;
    match found.offset() {
        Offset::Offset(offset) => Ok(u64::try_from(offset).ok()),
        _ => Ok(None),
    }
}
