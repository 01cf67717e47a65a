//! A node's life under an operating system: until a signal ends it.

use std::future::Future;

use crate::node::builder::{NodeBuilder, NodeError};
use crate::telemetry::logs;

impl NodeBuilder {
    /// Starts a node, waits for SIGINT or SIGTERM, drains and stops it. A second signal stops it at once.
    ///
    /// # Errors
    /// What keeps the node from starting, and the second signal.
    pub async fn run(self) -> Result<(), NodeError> {
        logs::init(&self.config.clone().unwrap_or_default().log);
        let mut signals = Signals::listen().map_err(NodeError::Signals)?;
        let node = tokio::select! {
            started = self.start() => started?,
            signal = signals.next() => {
                tracing::info!(signal, "stopped before it had started");
                return Ok(());
            }
        };
        let signal = signals.next().await;
        tracing::info!(signal, "draining; a second signal stops at once");
        until(node.drain(), signals.next()).await
    }
}

async fn until<S>(drained: impl Future<Output = bool>, second: impl Future<Output = S>) -> Result<(), NodeError> {
    tokio::select! {
        finished = drained => if finished { Ok(()) } else { Err(NodeError::Unfinished) },
        _ = second => Err(NodeError::Interrupted),
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            // nobody will ever tell: wait for the process to be ended from outside
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_second_signal_ends_the_drain() {
        assert!(matches!(until(pending(), ready("SIGTERM")).await, Err(NodeError::Interrupted)));
        assert!(until(ready(true), pending::<()>()).await.is_ok());
        assert!(matches!(until(ready(false), pending::<()>()).await, Err(NodeError::Unfinished)));
    }
}
