//! Which adapter and broker; topics that are made there, and what they keep.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use phoenix_runtime::bus::Bus;
use phoenix_runtime::domain::ports::Clock;
use phoenix_runtime::engine::SystemClock;
use phoenix_runtime::node::NodeConfig;
use phoenix_runtime::node::config::BusUrl;
use phoenix_runtime::node::messaging::open_bus;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, util::Timeout};

use crate::bench::error::BenchError;

/// How long a broker may take for what is asked around a measurement.
const LIMIT: Duration = Duration::from_secs(30);

/// Which client library speaks to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    RdKafka,
    KafkaRust,
}

impl Library {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RdKafka => "rdkafka",
            Self::KafkaRust => "kafka-rust",
        }
    }
}

/// Brokers, and the topics that a run makes there.
pub(crate) struct Broker {
    url: BusUrl,
    pub(super) library: Library,
    pub(super) hosts: Vec<String>,
    admin: AdminClient<DefaultClientContext>,
    /// What the names of topics and groups begin with.
    name: String,
    number: AtomicU32,
    made: Mutex<Vec<String>>,
}

impl Broker {
    /// Brokers that a node's configuration could name; everything made there has a name that begins with this one.
    pub(crate) fn new(url: &BusUrl, name: &str) -> Result<Self, BenchError> {
        let (library, hosts) = match url {
            BusUrl::RdKafka(hosts) => (Library::RdKafka, hosts.clone()),
            BusUrl::Kafka(hosts) => (Library::KafkaRust, hosts.clone()),
            _ => return Err(BenchError::NotABroker(url.to_string())),
        };
        // topics are made and removed by librdkafka for both: kafka-rust can't
        let admin = ClientConfig::new().set("bootstrap.servers", hosts.join(",")).create()?;
        let (number, made) = (AtomicU32::new(0), Mutex::default());
        Ok(Self { url: url.clone(), library, hosts, admin, name: name.to_owned(), number, made })
    }

    /// The bus as a node opens it that says nothing but which one: with connections of its own.
    pub(super) async fn connect(&self) -> Result<Arc<dyn Bus>, BenchError> {
        let mut config = NodeConfig::default();
        config.bus = self.url.clone();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let bus = open_bus(&config, &clock).await?;
        bus.ok_or_else(|| BenchError::NotABroker(self.url.to_string()))
    }

    /// A name that nothing else has.
    pub(super) fn unique(&self, what: &str) -> String {
        format!("{}-{what}-{}", self.name, self.number.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a topic with a name of its own.
    pub(super) async fn topic(&self, what: &str, partitions: u16) -> Result<Arc<str>, BenchError> {
        let name = self.unique(what);
        self.make(&name, partitions).await?;
        Ok(name.into())
    }

    /// Makes a topic of this name, which begins with that of one of ours.
    pub(super) async fn make(&self, name: &str, partitions: u16) -> Result<(), BenchError> {
        self.made().push(name.to_owned());
        let new = NewTopic::new(name, i32::from(partitions), TopicReplication::Fixed(-1));
        let made = self.admin.create_topics([&new], &options()).await?;
        for one in made {
            one.map_err(|(topic, code)| self.failed(format!("make the topic `{topic}`"), &code))?;
        }
        Ok(())
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a record survives that was acknowledged: by how many brokers a topic is kept, and whether they sync it.
    pub(super) async fn durability(&self, topic: &str) -> Result<String, BenchError> {
        let began = Instant::now();
        // a topic that was just made is not seen at once
        let replicas = loop {
            let metadata = self.admin.inner().fetch_metadata(Some(topic), Timeout::After(LIMIT))?;
            let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            match partitions.map(|partition| partition.replicas().len()).min() {
                None if began.elapsed() < LIMIT => tokio::time::sleep(Duration::from_millis(20)).await,
                replicas => break replicas.unwrap_or(0),
            }
        };
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await?;
        let mut entries = described.into_iter().flatten().flat_map(|resource| resource.entries);
        let flush = entries.find(|entry| entry.name == "flush.messages").and_then(|entry| entry.value);
        let synced = match flush.as_deref() {
            Some(every) if every != i64::MAX.to_string() => format!("flush.messages={every}"),
            _ => "no fsync".to_owned(),
        };
        Ok(format!("Kafka acks=all of {replicas}, {synced}"))
    }

    /// Removes all topics that were made.
    pub(crate) async fn remove(&self) -> Result<(), BenchError> {
        let made = std::mem::take(&mut *self.made());
        if made.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = made.iter().map(String::as_str).collect();
        let removed = self.admin.delete_topics(&names, &options()).await?;
        for one in removed {
            match one {
                Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => return Err(self.failed(format!("remove the topic `{topic}`"), &code)),
            }
        }
        Ok(())
    }

    fn failed(&self, what: String, reason: &dyn std::fmt::Display) -> BenchError {
        BenchError::Server { server: self.url.to_string(), what, reason: reason.to_string() }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT))
}
