//! A client of kafka-rust that is left for a new one after a failure: an answer that comes late on its connection would be
//! taken for that to the next request.

use std::time::{Duration, Instant};

use ::kafka::client::{Compression, GroupOffsetStorage, KafkaClient};
use ::kafka::error::{Error, KafkaCode};

use crate::bus::options::KafkaOptions;
use crate::bus::{BusError, TopicPartition};

/// How long a partition may be without a leader until that is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two questions.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    hosts: Vec<String>,
    options: KafkaOptions,
    client: Option<KafkaClient>,
}

impl Connection {
    pub(super) const fn new(hosts: Vec<String>, options: KafkaOptions) -> Self {
        Self { hosts, options, client: None }
    }

    /// The client, with what it knows of the topics.
    pub(super) fn client(&mut self) -> Result<&mut KafkaClient, Error> {
        if self.client.is_none() {
            // the one that failed may be the first
            self.hosts.rotate_left(1);
            let mut client = KafkaClient::new(self.hosts.clone());
            client.set_client_id(self.options.client_id.clone());
            client.set_compression(Compression::NONE);
            client.set_group_offset_storage(Some(GroupOffsetStorage::Kafka));
            client.set_fetch_max_wait_time(self.options.fetch_wait)?;
            client.set_fetch_min_bytes(1);
            // it repeats without a pause, and without an end, once these are used up
            client.set_retry_max_attempts(u32::MAX);
            client.load_metadata_all()?;
            self.client = Some(client);
        }
        self.client.as_mut().ok_or(Error::NoHostReachable)
    }

    /// Does something with the client, which is left after any failure but one that a broker told in good order.
    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut KafkaClient) -> Result<T, Error>) -> Result<T, Error> {
        let done = self.client().and_then(work);
        match &done {
            Ok(_) => {}
            Err(Error::Kafka(code) | Error::TopicPartitionError { error_code: code, .. }) if !is_moved(*code) => {}
            Err(_) => self.client = None,
        }
        done
    }

    /// Asks again, for a while, where the brokers say that somebody else would know: a topic that was just made, or whose
    /// leader has gone, has none for a moment.
    pub(super) fn patiently<T>(
        &mut self,
        mut ask: impl FnMut(&mut KafkaClient) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let until = Instant::now() + PATIENCE.min(self.options.request_timeout / 2);
        loop {
            match self.with(&mut ask) {
                Err(Error::Kafka(code) | Error::TopicPartitionError { error_code: code, .. })
                    if is_moved(code) && Instant::now() < until =>
                {
                    std::thread::sleep(PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Leaves the client.
    pub(super) fn forget(&mut self) {
        self.client = None;
    }

    /// The partitions of a topic, asked anew where it is not known.
    pub(super) fn partitions(&mut self, topic: &str, anew: bool) -> Result<Option<usize>, Error> {
        self.with(|client| {
            if anew || !client.topics().contains(topic) {
                // all of them: a broker may make a topic that is asked for by its name
                client.load_metadata_all()?;
            }
            Ok(client.topics().partitions(topic).map(|partitions| partitions.len()))
        })
    }
}

/// Whether what is known of the topics is old.
pub(super) const fn is_moved(code: KafkaCode) -> bool {
    matches!(
        code,
        KafkaCode::UnknownTopicOrPartition
            | KafkaCode::LeaderNotAvailable
            | KafkaCode::NotLeaderForPartition
            | KafkaCode::BrokerNotAvailable
            | KafkaCode::NotCoordinatorForGroup
    )
}

/// What the failure of a question means.
pub(super) fn of_question(error: &Error) -> BusError {
    let code = match error {
        Error::Kafka(code) | Error::TopicPartitionError { error_code: code, .. } => *code,
        Error::UnsupportedCompression => {
            return BusError::Unsupported(
                "a record is compressed by a method that this adapter (kafka-rust) does not know: let its producers send \
                 without compression, with gzip or snappy, or read it by `rdkafka`"
                    .to_owned(),
            );
        }
        other => return BusError::Unavailable(other.to_string()),
    };
    match code {
        KafkaCode::TopicAuthorizationFailed
        | KafkaCode::GroupAuthorizationFailed
        | KafkaCode::ClusterAuthorizationFailed => {
            BusError::Unsupported(format!("the brokers allow it to others only ({code:?})"))
        }
        KafkaCode::InvalidGroupId | KafkaCode::InvalidTopic => BusError::Refused(format!("{code:?}")),
        KafkaCode::UnsupportedVersion => BusError::Unsupported(format!(
            "the brokers do not speak the version of the protocol that kafka-rust does ({code:?}): use `rdkafka`"
        )),
        _ => BusError::Unavailable(format!("the brokers say {code:?}")),
    }
}

/// What a broker says of records that were sent to one partition.
pub(super) fn of_records(code: KafkaCode, partition: &TopicPartition) -> BusError {
    match code {
        KafkaCode::MessageSizeTooLarge
        | KafkaCode::RecordListTooLarge
        | KafkaCode::CorruptMessage
        | KafkaCode::InvalidMessageSize
        | KafkaCode::InvalidTopic
        | KafkaCode::InvalidTimestamp
        | KafkaCode::TopicAuthorizationFailed => BusError::Refused(format!("{partition}: {code:?}")),
        KafkaCode::UnknownTopicOrPartition => BusError::NoTopic(partition.clone()),
        KafkaCode::Unknown
        | KafkaCode::RequestTimedOut
        | KafkaCode::NetworkException
        | KafkaCode::NotEnoughReplicasAfterAppend => BusError::Unknown(format!("{partition}: {code:?}")),
        _ => BusError::Unavailable(format!("{partition}: {code:?}")),
    }
}
