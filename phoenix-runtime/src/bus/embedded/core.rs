//! What a bus and its consumers have in common.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::group::Moment;
use super::options::EmbeddedOptions;
use super::shared::Shared;
use super::worker::Worker;
use super::writer::{Job, Reply};
use crate::bus::port::BusError;
use crate::domain::ports::{BoxFuture, Clock};

pub(super) struct Core {
    pub(super) options: Arc<EmbeddedOptions>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
    /// In KiB: how much more may wait to be written.
    pub(super) room: Semaphore,
    /// Held while it is asked who has a partition and its offset is sent off, so that offsets of a former owner are
    /// written before those of the next.
    commits: Mutex<()>,
    pub(super) worker: Worker,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBus").field("path", &self.options.path).finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(
        options: Arc<EmbeddedOptions>,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        worker: Worker,
    ) -> Self {
        let room = Semaphore::new(options.waiting_bytes.div_ceil(1024).clamp(1, Semaphore::MAX_PERMITS));
        Self { options, clock, shared, room, commits: Mutex::default(), worker }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { now: self.clock.monotonic(), release_timeout: self.options.release_timeout }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(super) fn commits(&self) -> MutexGuard<'_, ()> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a job at once, so that jobs are done in the order in which they were sent.
    pub(super) fn send<T: Send + 'static>(
        &self,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> BoxFuture<'_, Result<T, BusError>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.worker.write(job(reply));
        Box::pin(async move {
            if !sent {
                return Err(BusError::Unavailable(self.ended("writes", "was not sent")));
            }
            answer.await.unwrap_or_else(|_| Err(BusError::Unknown(self.ended("writes", "was perhaps written"))))
        })
    }

    pub(super) fn ended(&self, does: &str, what: &str) -> String {
        let path = self.options.path.display();
        format!("the thread that {does} `{path}` has ended, and this {what}; restart the service")
    }
}
