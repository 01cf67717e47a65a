//! One typed configuration: a TOML file, and environment variables that go before it.
//!
//! # Layout
//! - `tree`: what is said, and where
//! - `read`: from there to [`NodeConfig`]
//! - `limits`: numbers that can't be meant
//! - [`error`]: every mistake, with its place
//! - [`store_url`], [`archive_url`], [`bus_url`], [`claims_url`]: which event store, where old events go, which bus, and where
//!   large messages are kept

pub mod archive_url;
pub mod bus_url;
pub mod claims_url;
pub mod error;
mod limits;
mod read;
pub mod store_url;
mod tree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::archive_url::ArchiveUrl;
pub use self::bus_url::BusUrl;
pub use self::claims_url::ClaimsUrl;
pub use self::error::{ConfigError, Place, Problem};
pub use self::store_url::StoreUrl;
use self::tree::{PREFIX, Setting};
use crate::bus::EmbeddedOptions;
use crate::bus::options::{KafkaOptions, RdKafkaOptions};
use crate::delivery::DeliveryOptions;
use crate::domain::units;
use crate::engine::EngineOptions;
use crate::event_store::{DatabaseOptions, LogStoreOptions, SqliteOptions};
use crate::http::HttpOptions;
use crate::node::messaging::MessagingOptions;
use crate::telemetry::LogOptions;

/// The file that is read where nobody names another.
pub const DEFAULT_FILE: &str = "phoenix.toml";
/// The environment variable that names another file.
pub const FILE_VARIABLE: &str = "PHOENIX_CONFIG";

/// Everything that can be set about a node. `docs/configuration.md` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
#[non_exhaustive]
pub struct NodeConfig {
    /// Where events are kept.
    pub store: StoreUrl,
    /// Where the bytes of old events go, for aggregates with `archive = true`.
    pub archive: ArchiveUrl,
    /// Further databases that have a part of the slices, by their names; `store` is their home.
    pub sources: BTreeMap<String, StoreUrl>,
    /// Where commands come from and replies go, besides the gateway.
    pub bus: BusUrl,
    /// Topics, and who shares them.
    pub messaging: MessagingOptions,
    /// How commands come from the bus to their aggregates.
    pub delivery: DeliveryOptions,
    /// How an embedded bus is written.
    pub embedded_bus: EmbeddedOptions,
    /// How the node speaks with brokers of `kafka://`.
    pub kafka: KafkaOptions,
    /// How the node speaks with brokers of `rdkafka://`.
    pub rdkafka: RdKafkaOptions,
    /// How a file of SQLite is written, where `store` names one.
    pub sqlite: SqliteOptions,
    /// How a log is written, where `store` names one.
    pub log_store: LogStoreOptions,
    /// How the node speaks with a database, where `store` names one.
    pub database: DatabaseOptions,
    /// The node's own life.
    pub node: NodeOptions,
    /// Shards, mailboxes, batches.
    pub engine: EngineOptions,
    /// The HTTP gateway.
    pub http: HttpOptions,
    /// Logs.
    pub log: LogOptions,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            store: StoreUrl::Sqlite("data/phoenix.db".into()),
            archive: ArchiveUrl::Off,
            sources: BTreeMap::new(),
            bus: BusUrl::default(),
            messaging: MessagingOptions::default(),
            delivery: DeliveryOptions::default(),
            embedded_bus: EmbeddedOptions::default(),
            kafka: KafkaOptions::default(),
            rdkafka: RdKafkaOptions::default(),
            sqlite: SqliteOptions::default(),
            log_store: LogStoreOptions::default(),
            database: DatabaseOptions::default(),
            node: NodeOptions::default(),
            engine: EngineOptions::default(),
            http: HttpOptions::default(),
            log: LogOptions::default(),
        }
    }
}

/// The node's own life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
#[non_exhaustive]
pub struct NodeOptions {
    /// How long open commands may take to finish when the node is told to stop.
    #[serde(with = "units::duration")]
    pub drain_timeout: Duration,
    /// Starts also where the archive is not the one that events were moved to: their aggregates are parked then.
    pub without_archived: bool,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self { drain_timeout: Duration::from_secs(30), without_archived: false }
    }
}

impl NodeConfig {
    /// Reads `phoenix.toml`, or the file that `PHOENIX_CONFIG` names, and the environment. Where no file is named and
    /// none is there, the defaults hold.
    ///
    /// # Errors
    /// A named file that can't be read, and every wrong key of file and environment, each with its place.
    pub fn load() -> Result<Self, ConfigError> {
        let named = std::env::var_os(FILE_VARIABLE).map(PathBuf::from);
        let path = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path.as_path(), text)),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(ConfigError::Unreadable { path, reason: error.to_string() }),
        };
        Self::read(file.as_ref().map(|(path, text)| (*path, text.as_str())), std::env::vars_os())
    }

    /// Reads a file's text (the path only names it in errors) and environment variables; of these only `PHOENIX__...`
    /// counts.
    ///
    /// # Errors
    /// Every wrong key, with its place.
    pub fn read(
        file: Option<(&Path, &str)>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut said = file.map_or_else(Setting::empty, |(path, text)| Setting::of_file(path, text, &mut problems));
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with("PHOENIX_") && name != FILE_VARIABLE)
            .collect();
        variables.sort();
        for (name, value) in variables {
            if let Err(problem) = from_environment(&mut said, &name, value) {
                problems.push(problem);
            }
        }
        let (config, mut problems) = read::read::<Self>(said.clone(), problems);
        problems.extend(config.contradictions().into_iter().map(|(key, message)| {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            let place = said.at_mut(&path).map_or(Place::Program, |setting| setting.place.clone());
            Problem { place, key, message }
        }));
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Wrong(problems)) }
    }

    /// Checks what no single key can know.
    ///
    /// # Errors
    /// Values that do not go together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let problems: Vec<Problem> = self
            .contradictions()
            .into_iter()
            .map(|(key, message)| Problem { place: Place::Program, key, message })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Wrong(problems)) }
    }

    fn contradictions(&self) -> Vec<(String, String)> {
        let mut all = self.http.contradictions();
        all.extend(self.log_store.contradictions());
        all.extend(limits::check(self));
        if let (ArchiveUrl::Table, StoreUrl::Log(_)) = (&self.archive, &self.store) {
            all.push(("archive", "a log has no tables: write `archive = \"folder:<path>\"`".to_owned()));
        }
        if self.bus == BusUrl::Beside && self.store.is_database() {
            let message =
                "there is no place beside a database: write `embedded:<path>` for a node of its own, or brokers";
            all.push(("bus", message.to_owned()));
        }
        let mut all: Vec<_> = all.into_iter().map(|(key, message)| (key.to_owned(), message)).collect();
        if !self.sources.is_empty() {
            let stores = self.sources.iter().map(|(name, url)| (format!("sources.{name}"), url));
            let alone =
                iter::once(("store".to_owned(), &self.store)).chain(stores).filter(|(_, url)| !url.is_database());
            all.extend(alone.map(|(key, url)| {
                let kind = url.scheme();
                (key, format!("`{kind}` can't be one of several sources: use databases of PostgreSQL or MySQL"))
            }));
        }
        all
    }

    /// A configuration file with every key, its meaning and its default.
    #[must_use]
    pub const fn documented() -> &'static str {
        include_str!("phoenix.toml")
    }
}

fn from_environment(said: &mut Setting, name: &str, value: OsString) -> Result<(), Problem> {
    let problem = |message: String| Problem { place: Place::Variable(name.to_owned()), key: String::new(), message };
    let Some(keys) = name.strip_prefix(PREFIX) else {
        return match read::missed::<NodeConfig>(name) {
            Some(meant) => Err(problem(format!("is not read: each level takes two underscores, write `{meant}`"))),
            None => Ok(()),
        };
    };
    let text = value.into_string().map_err(|_| problem("is no UTF-8".to_owned()))?;
    let keys: Vec<String> = keys.split("__").map(str::to_lowercase).collect();
    said.set(name, &keys, text)
}
