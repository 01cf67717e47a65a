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
