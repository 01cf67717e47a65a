//! The listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http::HttpOptions;
use crate::http::routes::{Gateway, router};

/// An address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}: {source}")]
pub struct BindError {
    /// Which address.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// A listener at work.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Listens and answers.
    ///
    /// # Errors
    /// An address that is taken, or not this machine's.
    pub async fn start(options: &HttpOptions, gateway: Arc<Gateway>) -> Result<Self, BindError> {
        let wanted = options.socket();
        let failed = |source| BindError { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, mut stopped) = watch::channel(false);
        let service = router(gateway).into_make_service_with_connect_info::<SocketAddr>();
        let serve = axum::serve(listener, service).with_graceful_shutdown(async move {
            // an error says that the server's handle is gone, which stops it as well
            let _ = stopped.wait_for(|stop| *stop).await;
        });
        let task = tokio::spawn(async move { serve.await });
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets open requests finish, and cuts what is open after `bound`.
    pub async fn stop(self, bound: Duration) {
        self.stop.send_replace(true);
        let mut task = self.task;
        if tokio::time::timeout(bound, &mut task).await.is_err() {
            tracing::warn!(?bound, "open HTTP connections are cut");
            task.abort();
        }
    }
}
