//! Shards end a drain together: a handler that is at work on one may still ask an aggregate of another.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use tokio::sync::watch;

use crate::domain::ports::BoxFuture;

/// One shard's word on whether it has anything left to do, and what all of them say.
pub(crate) struct Idle {
    /// How many shards have nothing left to do.
    count: Arc<watch::Sender<usize>>,
    said: bool,
    all: BoxFuture<'static, ()>,
}

impl Idle {
    /// Of one among so many shards, which share `count`.
    pub(crate) fn new(count: Arc<watch::Sender<usize>>, shards: usize) -> Self {
        let mut seen = count.subscribe();
        let all = Box::pin(async move {
            // an error means that nobody else is left
            let _ = seen.wait_for(|idle| *idle >= shards).await;
        });
        Self { count, said: false, all }
    }

    /// Says whether this shard has nothing left to do; ready when no other has either.
    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>, idle: bool) -> Poll<()> {
        self.say(idle);
        if idle { self.all.as_mut().poll(cx) } else { Poll::Pending }
    }

    fn say(&mut self, idle: bool) {
        if self.said != idle {
            self.said = idle;
            self.count.send_modify(|count| *count = if idle { *count + 1 } else { count.saturating_sub(1) });
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // nobody waits for a shard that is gone
        self.say(true);
    }
}
