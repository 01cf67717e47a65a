//! What a service says about itself, and how a node comes from it.

use std::sync::Arc;

use futures_util::future::OptionFuture;

use crate::clock::SystemClock;
use crate::delivery::Redelivery;
use crate::delivery::dead::{DeadLetters, Upcasts, Way};
use crate::domain::aggregate::Aggregate;
use crate::domain::context::Resources;
use crate::domain::handle::HandledBy;
use crate::domain::message::Command;
use crate::domain::ports::{Clock, Seed, SplitMix};
use crate::engine::forward::Forward;
use crate::engine::ownership::Owning;
use crate::engine::{Engine, EngineBuilder, StartError};
use crate::event_store::{EventStore, OpenError};
use crate::http::{BindError, Gateway, Phase, Readiness, Server};
use crate::node::Node;
use crate::node::config::{ConfigError, NodeConfig, StoreUrl};
use crate::node::inspect::{InspectError, Inspector};
use crate::node::messaging::{self, Messaging, MessagingError, Onward, Ports};
use crate::node::{archives, stores};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::UPKEEP;

/// Why a node does not start, or does not end as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The event store can't be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A stored aggregate can't be shown.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The arguments of the program make no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody takes what the program prints.
    #[error("failed to write: {0}")]
    Output(#[from] std::io::Error),
    /// There is no messaging.
    #[error(transparent)]
    Messaging(#[from] MessagingError),
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The gateway does not listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no async runtime.
    #[error("failed to start the async runtime: {0}")]
    Runtime(#[source] std::io::Error),
    /// The process can't be told of signals.
    #[error("failed to listen for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// Commands were still open when the time to finish them was over.
    #[error("stopped with open commands after `node.drain_timeout`: they have no known outcome")]
    Unfinished,
    /// A second signal came while the node was draining.
    #[error("stopped at once by a second signal: commands that were open have no known outcome")]
    Interrupted,
}

/// An aggregate that the node was given.
#[derive(Clone, Copy)]
pub(super) struct Registered {
    pub(super) name: &'static str,
    pub(super) inspector: Inspector,
    archives: bool,
    add: fn(EngineBuilder) -> EngineBuilder,
}

impl Registered {
    fn of<A: Aggregate>() -> Self {
        Self {
            name: A::NAME,
            inspector: Inspector::of::<A>(),
            archives: A::OPTIONS.archive,
            add: EngineBuilder::aggregate::<A>,
        }
    }
}

/// Says what a node is made of.
#[derive(Default)]
pub struct NodeBuilder {
    pub(super) config: Option<NodeConfig>,
    pub(super) aggregates: Vec<Registered>,
    store: Option<Arc<dyn EventStore>>,
    resources: Resources,
    upcasts: Upcasts,
    redelivery: Option<Arc<dyn Redelivery>>,
}

impl std::fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.aggregates.iter().map(|registered| registered.name).collect();
        f.debug_struct("NodeBuilder").field("aggregates", &names).finish_non_exhaustive()
    }
}

impl NodeBuilder {
    /// The node runs aggregates of this type.
    #[must_use]
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.aggregates.push(Registered::of::<A>());
        self
    }

    /// A command of the aggregate `A` was `Old` before: dead letters with one, of another name or with other fields, can be
    /// upcast. `Old` is a command that nobody handles any more, with the name that it had; `impl From<Old> for New` says what it
    /// became.
    #[must_use]
    pub fn upcast<A: Aggregate, Old: Command + Into<New>, New: HandledBy<A>>(mut self) -> Self {
        self.upcasts.add::<Old, New>(A::NAME);
        self
    }

    /// Lends something to handlers that say `uses(T)`; an earlier one of the same type is replaced.
    #[must_use]
    pub fn resource<T: Send + Sync + 'static>(mut self, resource: T) -> Self {
        self.resources = self.resources.with(resource);
        self
    }

    /// Decides by this policy when a command from the bus is tried again that came to no outcome, and for how long. Without
    /// one it is [`Exponential`](crate::delivery::Exponential), by `delivery.first_pause`, `max_pause` and `max_age`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use phoenix_runtime::delivery::Redelivery;
    /// use phoenix_runtime::node::Node;
    ///
    /// /// Every second, for an hour.
    /// #[derive(Debug)]
    /// struct Steady;
    ///
    /// impl Redelivery for Steady {
    ///     fn pause(&self, _failures: u32, _draw: u64) -> Duration {
    ///         Duration::from_secs(1)
    ///     }
    ///
    ///     fn max_age(&self) -> Option<Duration> {
    ///         Some(Duration::from_hours(1))
    ///     }
    /// }
    ///
    /// let builder = Node::builder().redelivery(Steady);
    /// ```
    #[must_use]
    pub fn redelivery(mut self, policy: impl Redelivery) -> Self {
        self.redelivery = Some(Arc::new(policy));
        self
    }

    /// Takes this configuration. Without one, [`NodeBuilder::main`] reads file and environment, and the others take
    /// the defaults.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Takes the configuration of file and environment.
    ///
    /// # Errors
    /// As [`NodeConfig::load`].
    pub fn load_config(self) -> Result<Self, ConfigError> {
        Ok(self.config(NodeConfig::load()?))
    }

    /// Takes this event store instead of the one that the configuration names.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn EventStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Starts a node on the current tokio runtime.
    ///
    /// # Errors
    /// Whatever keeps it from taking commands: configuration, missing resources, store, engine, address.
    pub async fn start(self) -> Result<Node, NodeError> {
        // it is large, and callers hold it in futures of their own
        Box::pin(self.assemble()).await
    }

    async fn assemble(self) -> Result<Node, NodeError> {
        let Self { config, aggregates, store, resources, upcasts, redelivery } = self;
        let config = config.unwrap_or_default();
        config.check()?;

        let readiness = Arc::new(Readiness::new());
        let metrics = Metrics::install();
        let (clock, seed): (Arc<dyn Clock>, Arc<dyn Seed>) =
            (Arc::new(SystemClock::default()), Arc::new(SplitMix::from_entropy()));
        let gateway = Gateway::new(config.http.clone(), Arc::clone(&readiness), metrics.clone(), Arc::clone(&clock));
        let gateway = Arc::new(gateway);
        let server =
            if config.http.enabled { Some(Server::start(&config.http, Arc::clone(&gateway)).await?) } else { None };
        // one that was handed over is not what the configuration names
        let named = if store.is_some() { StoreUrl::Memory } else { config.store.clone() };
        let (store, home) = match store {
            Some(store) => (archives::over(&config.archive, store, None)?, None),
            None => stores::open_store_of_node(&config).await?,
        };
        // to find the ids of a log is work for all of its aggregates
        if !matches!(named, StoreUrl::Log(_)) {
            let types = aggregates.iter().map(|one| one.name);
            archives::check(&store, types, config.node.without_archived).await?;
        }
        let claims = messaging::open_claims(&config)?;
        let bus = messaging::open_bus(&config, &clock).await?;
        let onward = Arc::new(Onward::default());
        let mut builder = Engine::builder(Arc::clone(&store) as Arc<dyn EventStore>).options(config.engine.clone());
        if config.bus.is_shared() {
            // the bus deals the partitions
            builder = builder.owning(Owning::Nothing).forward(Arc::clone(&onward) as Arc<dyn Forward>);
        }
        let builder = aggregates.iter().fold(builder.resources(resources), |builder, one| (one.add)(builder));
        let engine = builder.start().await?;
        if let Some(home) = home {
            home.is_owned().await?;
        }
        let bus_name = bus.as_ref().map_or_else(|| "off".to_owned(), |bus| bus.name());
        let way = bus.as_ref().map(|bus| Way {
            bus: Arc::clone(bus),
            topic: config.messaging.topic.as_str().into(),
            partitions: engine.partitions().count(),
        });
        let letters = DeadLetters::new(
            Arc::clone(&store) as Arc<dyn EventStore>,
            engine.client(),
            Arc::clone(&clock),
            way,
            upcasts,
        );
        let messaging = match bus {
            Some(bus) => {
                let store = Arc::clone(&store) as Arc<dyn EventStore>;
                let ports = Ports { bus, store, clock: Arc::clone(&clock), seed, redelivery };
                Some(Messaging::start(&config, ports, &engine, &onward).await?)
            }
            None => None,
        };
        if config.bus.is_shared() {
            readiness.deals();
        }
        readiness.watch(Arc::clone(engine.health()));
        gateway.serve(engine.client());
        gateway.keep(Arc::clone(&store));
        gateway.mend(letters);
        readiness.enter(Phase::Running);

        let http = server.as_ref().map_or_else(|| "off".to_owned(), |server| format!("http://{}", server.address()));
        tracing::info!(
            store = store.name(),
            durable = store.is_durable(),
            bus = bus_name,
            shards = engine.shards(),
            http,
            aggregates = aggregates.len(),
            "started"
        );
        if !store.is_durable() {
            tracing::warn!(store = store.name(), "THE STORE IS NOT DURABLE: {}", named.not_durable());
        }
        let unkept: Vec<_> = aggregates.iter().filter(|one| one.archives).map(|one| one.name).collect();
        if store.archive_port().is_none() && !unkept.is_empty() {
            tracing::warn!(
                aggregates = unkept.join(", "),
                "aggregates with `archive = true`, and no archive: their events stay in the store; set `archive`"
            );
        }
        let upkeep = tokio::spawn(async move {
            let metrics = async {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    metrics.run_upkeep();
                }
            };
            let retention = config.messaging.claim_check_retention;
            let expiring = OptionFuture::from(claims.map(|claims| messaging::expire(claims, retention, clock)));
            futures_util::future::join(metrics, expiring).await;
        });
        Ok(Node { engine, messaging, server, readiness, drain_timeout: config.node.drain_timeout, upkeep })
    }
}
