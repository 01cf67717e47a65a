//! The adapters, for the suite.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use phoenix_runtime::bus::kafka::{KafkaBus, KafkaOptions};
use phoenix_runtime::bus::rdkafka::{RdKafkaBus, RdKafkaOptions};
use phoenix_runtime::bus::{Bus, BusError};
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::testkit::bus::{Failure, Need, ServerFaults, Subject};
use phoenix_test_servers::Private;

/// Which client is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adapter {
    Kafka,
    RdKafka,
}

impl Adapter {
    pub(crate) const fn lacks(self) -> &'static [Need] {
        match self {
            Self::Kafka => &[Need::Headers, Need::Rebalances, Need::KeptGoOn, Need::Create],
            // librdkafka holds back what a consumer keeps until what it is to release is released
            Self::RdKafka => &[Need::KeptGoOn],
        }
    }

    /// With time-outs that tests can wait for.
    pub(crate) async fn connect(self, address: &str) -> Result<Arc<dyn Bus>, BusError> {
        let brokers = vec![address.to_owned()];
        Ok(match self {
            Self::Kafka => {
                let timeout = Duration::from_secs(5);
                let options =
                    KafkaOptions { request_timeout: timeout, ack_timeout: timeout, ..KafkaOptions::default() };
                Arc::new(KafkaBus::connect(brokers, options).await?)
            }
            Self::RdKafka => Arc::new(RdKafkaBus::connect(brokers, rdkafka_options()).await?),
        })
    }
}

pub(crate) fn rdkafka_options() -> RdKafkaOptions {
    RdKafkaOptions {
        delivery_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        session_timeout: Duration::from_secs(3),
        release_timeout: Duration::from_secs(5),
        ..RdKafkaOptions::default()
    }
}

/// A name for topics and groups that no other run has.
pub(crate) fn prefix() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("t{}-{}-", std::process::id(), now.as_nanos() % 1_000_000_000_000)
}

/// A broker that may be harmed.
struct Faults<'a>(&'a Private);

impl fmt::Debug for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl Faults<'_> {
    fn done(done: Result<(), phoenix_test_servers::Error>) -> BoxFuture<'static, Result<(), Failure>> {
        Box::pin(std::future::ready(done.map_err(Failure::new)))
    }
}

impl ServerFaults for Faults<'_> {
    fn kill(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Self::done(tokio::task::block_in_place(|| self.0.kill()))
    }

    fn revive(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Self::done(tokio::task::block_in_place(|| self.0.restart()))
    }

    fn freeze(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Self::done(tokio::task::block_in_place(|| self.0.freeze()))
    }

    fn thaw(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Self::done(tokio::task::block_in_place(|| self.0.thaw()))
    }
}

/// An adapter and a broker.
pub(crate) struct KafkaSubject<'a> {
    adapter: Adapter,
    address: String,
    faults: Option<Faults<'a>>,
    lacks: Vec<Need>,
    prefix: String,
}

impl<'a> KafkaSubject<'a> {
    pub(crate) fn new(adapter: Adapter, address: &str, own: Option<&'a Private>) -> Self {
        let mut lacks = adapter.lacks().to_vec();
        // a broker that others use as well stays as it is
        if own.is_none() {
            lacks.push(Need::ServerFaults);
        }
        Self { adapter, address: address.to_owned(), faults: own.map(Faults), lacks, prefix: prefix() }
    }
}

impl Subject for KafkaSubject<'_> {
    fn open<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn Bus>, BusError>> {
        Box::pin(self.adapter.connect(&self.address))
    }

    fn lacks(&self) -> &[Need] {
        &self.lacks
    }

    fn prefix(&self) -> String {
        self.prefix.clone()
    }

    fn create<'a>(&'a self, bus: &'a dyn Bus, topic: Arc<str>, partitions: u16) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            if self.adapter == Adapter::RdKafka {
                return bus.create(topic, partitions).await;
            }
            Adapter::RdKafka.connect(&self.address).await?.create(topic, partitions).await
        })
    }

    fn servers(&self) -> Option<&dyn ServerFaults> {
        self.faults.as_ref().map(|faults| faults as &dyn ServerFaults)
    }

    fn histories(&self) -> u64 {
        4
    }
}
