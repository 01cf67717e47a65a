//! A node: everything put together, started, drained and stopped.
//!
//! # Layout
//! - [`config`]: what can be set, and every mistake in it
//! - [`builder`]: what a service says about itself
//! - [`run`]: until a signal ends it
//! - [`cli`]: the arguments that every service takes
//! - [`inspect`]: state and schemas, read without an engine
//! - [`messaging`]: the bus, the delivery of commands, the way to other nodes
//! - `stores`, `archives`: open what the configuration names, to write or to look

mod archives;
pub mod builder;
pub mod cli;
pub mod config;
pub mod inspect;
pub mod messaging;
pub mod run;
mod stores;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::{NodeBuilder, NodeError};
pub use self::config::NodeConfig;
pub use self::stores::{History, look_at_members, open_members, open_store};
use crate::bus::port::Bus;
use crate::client::Client;
use crate::engine::Engine;
use crate::http::{Phase, Readiness, Server};
use crate::node::messaging::Messaging;

/// How long open HTTP requests may take to get what the drained engine has answered.
const HTTP_STOP: Duration = Duration::from_secs(5);

/// A running node.
#[derive(Debug)]
pub struct Node {
    engine: Engine,
    messaging: Option<Messaging>,
    server: Option<Server>,
    readiness: Arc<Readiness>,
    drain_timeout: Duration,
    upkeep: tokio::task::JoinHandle<()>,
}

impl Node {
    /// Says what a node is made of.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Sends commands and queries to the node's aggregates.
    #[must_use]
    pub fn client(&self) -> Client {
        self.engine.client()
    }

    /// The node's bus, if it has one: for clients of this process that go by it.
    #[must_use]
    pub fn bus(&self) -> Option<&Arc<dyn Bus>> {
        self.messaging.as_ref().map(Messaging::bus)
    }

    /// Where the HTTP gateway listens, if it does.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Takes no new commands, finishes those that are open within `node.drain_timeout`, and stops. The gateway answers
    /// until the end, and is not ready. Says whether all was finished.
    pub async fn drain(mut self) -> bool {
        self.readiness.enter(Phase::Draining);
        if let Some(messaging) = self.messaging.take() {
            // within `delivery.handover`; replies still go out
            messaging.drain().await;
        }
        let finished = self.engine.drain(self.drain_timeout).await;
        if let Some(server) = self.server.take() {
            server.stop(HTTP_STOP).await;
        }
        self.upkeep.abort();
        tracing::info!(finished, "stopped");
        finished
    }

    /// Stops at once: who was not told yet gets an error.
    pub async fn stop(mut self) {
        self.readiness.enter(Phase::Draining);
        if let Some(messaging) = self.messaging.take() {
            messaging.stop().await;
        }
        self.engine.stop().await;
        if let Some(server) = self.server.take() {
            server.stop(HTTP_STOP).await;
        }
        self.upkeep.abort();
    }
}
