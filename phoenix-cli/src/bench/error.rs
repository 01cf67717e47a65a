//! Why there are no figures.

use std::path::PathBuf;

use phoenix_bench::LoadError;
use phoenix_runtime::engine::StartError;
use phoenix_runtime::event_store::{OpenError, StoreError};
use phoenix_runtime::node::config::store_url::InvalidStoreUrl;
use sea_orm::sqlx;

/// Why there are no figures.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum BenchError {
    /// A store that this build does not know.
    #[error(transparent)]
    Store(#[from] InvalidStoreUrl),
    /// A store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An engine does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A store does not take what was prepared for it.
    #[error("failed to fill a store beforehand: {0}")]
    Prefill(#[from] StoreError),
    /// A bare insert failed.
    #[error("a bare insert failed: {0}")]
    Bare(String),
    /// The server does not do what is needed around a measurement.
    #[error("{server} failed to {what}: {reason}")]
    Server {
        /// Which server, without its password.
        server: String,
        what: String,
        reason: String,
    },
    /// A build without buses.
    #[error(
        "this program was built without buses: build it with `--features kafka` (`cargo run --release -p phoenix-cli --features kafka -- bench --bus ...`)"
    )]
    #[cfg(not(feature = "kafka"))]
    NoBus,
    /// A bus that is no broker of Kafka.
    #[error("`{0}` is measured with no broker: write `rdkafka://HOST:PORT`, or `kafka://HOST:PORT` (Kafka up to 3.9)")]
    #[cfg(feature = "kafka")]
    NotABroker(String),
    /// The bus can't be worked with.
    #[error(transparent)]
    #[cfg(feature = "kafka")]
    Bus(#[from] phoenix_runtime::node::messaging::MessagingError),
    /// A broker does not do what is needed around a measurement.
    #[error("a client of the broker failed: {0}")]
    #[cfg(feature = "kafka")]
    Broker(String),
    /// A command or its caller failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The folder for files can't be made.
    #[error("failed to make `{}`", folder.display())]
    Folder {
        /// Which one.
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Memory can't be measured.
    #[error("failed to measure memory: {0}")]
    Probe(String),
    /// The template can't be built.
    #[error("failed to build the bank template: {0}")]
    Build(String),
    /// There is nothing to measure.
    #[error("nothing to measure: `--seconds`, `--clients`, `--in-flight` and `--runs` must be above 0")]
    Nothing,
    /// Somebody does not want to wait any longer.
    #[error("interrupted: what was made for the measurement is removed")]
    Interrupted,
}

#[cfg(feature = "kafka")]
impl From<phoenix_runtime::bus::BusError> for BenchError {
    fn from(error: phoenix_runtime::bus::BusError) -> Self {
        Self::Bus(error.into())
    }
}

#[cfg(feature = "kafka")]
impl From<phoenix_runtime::delivery::DeliveryError> for BenchError {
    fn from(error: phoenix_runtime::delivery::DeliveryError) -> Self {
        Self::Bus(error.into())
    }
}

#[cfg(feature = "kafka")]
impl From<rdkafka::error::KafkaError> for BenchError {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Self::Broker(error.to_string())
    }
}

#[cfg(feature = "kafka")]
impl From<kafka::Error> for BenchError {
    fn from(error: kafka::Error) -> Self {
        Self::Broker(error.to_string())
    }
}

impl From<rusqlite::Error> for BenchError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Bare(error.to_string())
    }
}

impl From<sqlx::Error> for BenchError {
    fn from(error: sqlx::Error) -> Self {
        Self::Bare(error.to_string())
    }
}

impl From<tokio::task::JoinError> for BenchError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Load(LoadError::Caller(error.to_string()))
    }
}
