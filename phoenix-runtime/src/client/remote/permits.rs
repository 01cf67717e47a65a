//! Waits for the permission to call, one after the other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use crate::client::rate::{Governed, RateLimit};
use crate::domain::error::{Code, Fault};
use crate::domain::ports::Clock;

/// Permissions for the calls of a client. Nobody waits who would wait for longer than the call may take, so no more wait than
/// the rate allows in that time.
#[derive(Debug)]
pub(super) struct Permits {
    limit: RateLimit,
    governed: Governed,
    clock: Arc<dyn Clock>,
    /// Whose turn it is; tokio's is fair.
    turn: Mutex<()>,
    /// How many wait, the one whose turn it is among them.
    waiting: AtomicU32,
    /// When the one whose turn it is gets its permission.
    first: std::sync::Mutex<Option<Duration>>,
}

/// One who waits; dropped, it waits no more.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Permits {
    pub(super) fn new(limit: RateLimit, clock: Arc<dyn Clock>) -> Self {
        Self {
            limit,
            governed: Governed::new(limit, Arc::clone(&clock)),
            clock,
            turn: Mutex::default(),
            waiting: AtomicU32::new(0),
            first: std::sync::Mutex::default(),
        }
    }

    fn set_first(&self, first: Option<Duration>) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = first;
    }

    /// How long one that comes now waits for those before it.
    fn behind(&self, ahead: u32) -> Duration {
        let first = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        // while nobody sleeps there may be permissions left for all
        first.map_or(Duration::ZERO, |first| {
            let each = Duration::from_secs(1) / self.limit.calls_per_second.get();
            first.saturating_sub(self.clock.monotonic()).saturating_add(each.saturating_mul(ahead))
        })
    }

    fn refusal(&self, within: Duration) -> Fault {
        let per_second = self.limit.calls_per_second;
        let text = format!(
            "this client makes {per_second} calls a second at most, and the next that is free is later than {within:?} from \
             now: nothing was sent; call less often, wait longer, or raise its rate"
        );
        Fault::new(Code::RateLimited, text)
    }

    /// Takes the permission for a call, once there is one. Until what is given is dropped nobody else gets one, so that
    /// calls are made in the order of their permissions.
    ///
    /// # Errors
    /// None that comes in time.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place, and no permission.
    pub(super) async fn take(&self, within: Duration) -> Result<MutexGuard<'_, ()>, Fault> {
        let until = self.clock.monotonic().saturating_add(within);
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if self.behind(ahead) > within {
            return Err(self.refusal(within));
        }
        let turn = tokio::select! {
            biased;
            turn = self.turn.lock() => turn,
            () = self.clock.sleep(within) => return Err(self.refusal(within)),
        };
        // one that was dropped while it slept has left its moment here
        self.set_first(None);
        while let Err(wait) = self.governed.take() {
            let at = self.clock.monotonic().saturating_add(wait);
            if at > until {
                return Err(self.refusal(within));
            }
            self.set_first(Some(at));
            self.clock.sleep(wait).await;
            self.set_first(None);
        }
        Ok(turn)
    }
}
