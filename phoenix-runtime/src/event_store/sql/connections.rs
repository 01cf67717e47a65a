//! Connections that are kept open for statements that must be fast.
//!
//! sqlx's own pool asks a connection whether it is alive each time it comes back; that would double the round trips of
//! an append. Here a connection that failed is dropped, one that was idle for a while is asked, and others are used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::sqlx::{self, Connection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::domain::ports::BoxFuture;

/// After which time an idle connection is asked whether it is alive.
const STALE: Duration = Duration::from_secs(1);

/// Makes a connection whose session is set up.
pub(super) type Connect<C> = Arc<dyn Fn() -> BoxFuture<'static, Result<C, sqlx::Error>> + Send + Sync>;

/// How many connections to a database have been made. With each one perhaps another server answers, which may know less
/// than the one before it: what was learned is counted on while this number stays the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Made(Arc<AtomicU64>);

impl Made {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Connections to one database.
pub(super) struct Connections<C: Connection> {
    connect: Connect<C>,
    connect_timeout: Duration,
    made: Made,
    idle: Mutex<Vec<(C, Instant)>>,
    room: Semaphore,
}

impl<C: Connection> Connections<C> {
    pub(super) fn new(connect: Connect<C>, connect_timeout: Duration, most: u32, made: &Made) -> Self {
        let room = Semaphore::new(most.max(1) as usize);
        Self { connect, connect_timeout, made: made.clone(), idle: Mutex::default(), room }
    }

    /// A connection, perhaps a new one.
    ///
    /// # Errors
    /// A database that can't be reached: nothing was sent.
    pub(super) async fn take(&self) -> Result<Lease<'_, C>, sqlx::Error> {
        let room = self.room.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        if let Some((mut connection, since)) = self.pop() {
            if since.elapsed() < STALE {
                return Ok(Lease { connection, owner: self, _room: room });
            }
            if let Ok(Ok(())) = timeout(self.connect_timeout, connection.ping()).await {
                return Ok(Lease { connection, owner: self, _room: room });
            }
            // the others lead where this one led, and each would be waited for
            self.discard_idle();
        }
        let connection = timeout(self.connect_timeout, (self.connect)()).await;
        let connection = connection.map_err(|_| sqlx::Error::PoolTimedOut)??;
        self.made.one_more();
        Ok(Lease { connection, owner: self, _room: room })
    }

    /// Closes all connections that are not in use: they lead to a server that is gone.
    pub(super) fn discard_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }

    fn pop(&self) -> Option<(C, Instant)> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// A connection in use. Dropped, it is closed: the future that used it may have been dropped in the middle.
pub(super) struct Lease<'a, C: Connection> {
    pub(super) connection: C,
    owner: &'a Connections<C>,
    _room: SemaphorePermit<'a>,
}

impl<C: Connection> Lease<'_, C> {
    /// Gives the connection back: whatever was sent has been answered whole.
    pub(super) fn keep(self) {
        self.owner.idle.lock().unwrap_or_else(PoisonError::into_inner).push((self.connection, Instant::now()));
    }
}
