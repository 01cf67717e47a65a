//! The node's part in messaging: its bus, the delivery of commands, and the way to aggregates of other nodes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bus::claims::{ClaimCheck, ClaimCheckOptions, Claims, ClaimsFolderError, FolderClaims};
use crate::bus::port::{Bus, BusError};
use crate::bus::{EmbeddedBus, EmbeddedOptions};
use crate::client::remote::{Remote, RemoteOptions, Replies};
use crate::delivery::{Delivery, DeliveryError, Parts, Redelivery};
use crate::domain::ports::{Clock, Seed};
use crate::domain::units;
use crate::engine::Engine;
use crate::engine::forward::{Forward, Forwarded};
use crate::event_store::{EventStore, sqlite};
use crate::node::config::{BusUrl, ClaimsUrl, NodeConfig};

/// Topics, and who shares them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct MessagingOptions {
    /// The topic of the service's commands and queries. It has as many partitions as `engine.partitions` says.
    pub topic: String,
    /// Under which name the nodes of the service share its partitions.
    pub group: String,
    /// The topic where this node reads replies to what it asks others; each node has one of its own. By default one that
    /// is named after `topic`, the machine and the gateway's port.
    pub replies: Option<String>,
    /// The partitions that this node has, on a bus that does not deal them (`kafka://`); by default all of them.
    pub partitions: Option<Vec<u16>>,
    /// Where the bodies of messages are kept that are too large for the bus; whoever sends to this node, and whoever it
    /// answers, has the same.
    pub claim_check: ClaimsUrl,
    /// Bodies of more bytes are kept there; also smaller ones that the bus would not take.
    #[serde(with = "units::size")]
    pub claim_check_above: usize,
    /// The most bytes of a message whose body is kept there; in the grade of the inbox 3 MiB at most, for a row of the inbox
    /// has the body.
    #[serde(with = "units::size")]
    pub claim_check_most: usize,
    /// How long they are kept: longer than a message may wait on the bus, or as a dead letter that is too large for the
    /// store.
    #[serde(with = "units::duration")]
    pub claim_check_retention: Duration,
}

impl Default for MessagingOptions {
    fn default() -> Self {
        let ClaimCheckOptions { above, most, .. } = ClaimCheckOptions::default();
        Self {
            topic: "phoenix.commands".to_owned(),
            group: "phoenix".to_owned(),
            replies: None,
            partitions: None,
            claim_check: ClaimsUrl::Off,
            claim_check_above: above,
            claim_check_most: most,
            claim_check_retention: Duration::from_hours(14 * 24),
        }
    }
}

/// Why there is no messaging.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessagingError {
    /// The file of an embedded bus can't be opened.
    #[error("failed to open the bus: {0}")]
    Open(#[from] sqlite::OpenError),
    /// The bus can't be worked with.
    #[error("failed to reach the bus: {0}")]
    Bus(#[from] BusError),
    /// There is no place for large messages.
    #[error(transparent)]
    Claims(#[from] ClaimsFolderError),
    /// Commands can't be delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// This program was built without the adapter.
    #[error(
        "`bus` names {0}, and this program was built without the feature `{1}` of phoenix-runtime: add it in Cargo.toml"
    )]
    NotBuilt(String, &'static str),
}

/// Opens the place for large messages that the configuration names; `None` for none.
///
/// # Errors
/// A folder that can't be written to.
pub(super) fn open_claims(config: &NodeConfig) -> Result<Option<Arc<dyn Claims>>, MessagingError> {
    match &config.messaging.claim_check {
        ClaimsUrl::Off => Ok(None),
        ClaimsUrl::Folder(path) => Ok(Some(Arc::new(FolderClaims::open(path)?))),
    }
}

/// How often what is too old is removed.
const EXPIRE_EVERY: Duration = Duration::from_hours(1);

/// Removes large messages that are too old, for as long as it is polled.
pub(super) async fn expire(claims: Arc<dyn Claims>, retention: Duration, clock: Arc<dyn Clock>) {
    let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    loop {
        match claims.expire(clock.wall_micros().saturating_sub(retention)).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "large messages are gone that were kept for long enough"),
            Err(error) => {
                tracing::warn!(%error, "large messages that are too old can't be removed; trying again later");
            }
        }
        clock.sleep(EXPIRE_EVERY).await;
    }
}

/// Opens the bus that the configuration names, with a place for large messages if there is one; `None` for none.
///
/// # Errors
/// A file that has another owner, brokers that can't be reached, and an adapter that was not built in.
pub async fn open_bus(config: &NodeConfig, clock: &Arc<dyn Clock>) -> Result<Option<Arc<dyn Bus>>, MessagingError> {
    let bus: Arc<dyn Bus> = match config.bus.clone().beside(&config.store) {
        BusUrl::Off | BusUrl::Beside => return Ok(None),
        BusUrl::Memory => Arc::new(EmbeddedBus::memory_with(config.embedded_bus.clone(), Arc::clone(clock))?),
        BusUrl::Embedded(path) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                // what is wrong with it is told by whoever opens the file
                let _ = std::fs::create_dir_all(folder);
            }
            let options = EmbeddedOptions { path, ..config.embedded_bus.clone() };
            Arc::new(EmbeddedBus::open(options, Arc::clone(clock)).await?)
        }
        #[cfg(feature = "kafka")]
        BusUrl::Kafka(brokers) => Arc::new(crate::bus::kafka::KafkaBus::connect(brokers, config.kafka.clone()).await?),
        #[cfg(feature = "rdkafka")]
        BusUrl::RdKafka(brokers) => {
            Arc::new(crate::bus::rdkafka::RdKafkaBus::connect(brokers, config.rdkafka.clone()).await?)
        }
        #[cfg(not(feature = "kafka"))]
        url @ BusUrl::Kafka(_) => return Err(MessagingError::NotBuilt(url.to_string(), "kafka")),
        #[cfg(not(feature = "rdkafka"))]
        url @ BusUrl::RdKafka(_) => return Err(MessagingError::NotBuilt(url.to_string(), "rdkafka")),
    };
    let MessagingOptions { claim_check_above: above, claim_check_most: most, .. } = config.messaging;
    let options = ClaimCheckOptions { above, most, ..ClaimCheckOptions::default() };
    Ok(Some(match open_claims(config)? {
        Some(claims) => Arc::new(ClaimCheck::new(bus, claims, options, Arc::clone(clock))),
        None => bus,
    }))
}

/// Takes messages to other nodes once there is a way.
#[derive(Debug, Default)]
pub(super) struct Onward(OnceLock<Remote>);

impl Forward for Onward {
    fn forward(&self, message: Forwarded) {
        if let Some(remote) = self.0.get() {
            remote.forward(message);
        } else {
            // it is dropped, and told that it may be sent again
            tracing::warn!(?message, "a message for another node, before there is a way");
        }
    }
}

/// What messaging works with.
pub(super) struct Ports {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) seed: Arc<dyn Seed>,
    /// When a command is tried again; as the options say where nothing is said.
    pub(super) redelivery: Option<Arc<dyn Redelivery>>,
}

/// Messaging at work.
#[derive(Debug)]
pub(super) struct Messaging {
    bus: Arc<dyn Bus>,
    delivery: Delivery,
    work: tokio::task::JoinHandle<()>,
    /// Kept for whoever calls other nodes.
    _remote: Option<Remote>,
}

impl Messaging {
    pub(super) async fn start(
        config: &NodeConfig,
        Ports { bus, store, clock, seed, redelivery }: Ports,
        engine: &Engine,
        onward: &Onward,
    ) -> Result<Self, MessagingError> {
        let options = &config.messaging;
        let parts = Parts {
            bus: Arc::clone(&bus),
            store,
            client: engine.client().here(),
            partitions: engine.partitions().clone(),
            clock: Arc::clone(&clock),
            seed: Arc::clone(&seed),
            topic: options.topic.as_str().into(),
            group: options.group.clone(),
            fixed: options.partitions.clone(),
            redelivery,
            options: config.delivery.clone(),
        };
        let (delivery, work) = Delivery::start(parts).await?;
        // it waits for thousands of answers in one task: of those that are ready tokio would let it have 128 each time that it is
        // polled, and have all others polled in vain
        let work = tokio::spawn(tokio::task::unconstrained(work));
        let remote = if config.bus.is_shared() {
            let replies = options.replies.clone().unwrap_or_else(|| {
                // nodes of one machine have gateways on different ports
                let port = if config.http.enabled { u32::from(config.http.port) } else { 0 };
                let number = if port == 0 { std::process::id() } else { port };
                format!("{}.replies.{}-{number}", options.topic, machine())
            });
            let remote = RemoteOptions::new(options.topic.as_str(), Replies::Topic(replies.into()));
            let spawn = Arc::new(|task| drop(tokio::spawn(task)));
            let remote = Remote::start(Arc::clone(&bus), remote, clock, seed, spawn).await?;
            // nobody else sets it
            let _ = onward.0.set(remote.clone());
            Some(remote)
        } else {
            None
        };
        Ok(Self { bus, delivery, work, _remote: remote })
    }

    pub(super) fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Takes nothing new, and lets what is there come to its outcomes.
    pub(super) async fn drain(self) {
        self.delivery.drain().await;
        // it has ended, or nothing is left to wait for
        let _ = self.work.await;
    }

    /// Stops at once, and lets go of bus and store.
    pub(super) async fn stop(self) {
        self.work.abort();
        // an error says that it was stopped
        let _ = self.work.await;
    }
}

/// A name for this machine among those of a service.
fn machine() -> String {
    let name = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let name: String =
        name.unwrap_or_default().trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}
