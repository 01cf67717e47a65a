//! Who waits for a reply, by the id of the message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tokio::sync::oneshot;

use crate::bus::envelope::Replied;
use crate::domain::id::MessageId;

/// The table of those who wait.
#[derive(Debug)]
pub(super) struct Waiting {
    asks: Mutex<HashMap<MessageId, oneshot::Sender<Replied>, RandomState>>,
    most: usize,
}

/// A place in the table; dropped, it is given up.
#[derive(Debug)]
pub(super) struct Place {
    waiting: Arc<Waiting>,
    id: MessageId,
    pub(super) told: oneshot::Receiver<Replied>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    Full(usize),
    /// Somebody waits for this id already.
    Taken,
}

impl Waiting {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { asks: Mutex::default(), most })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MessageId, oneshot::Sender<Replied>, RandomState>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>, id: MessageId) -> Result<Place, NoPlace> {
        let (tell, told) = oneshot::channel();
        let mut asks = self.lock();
        if asks.len() >= self.most {
            return Err(NoPlace::Full(asks.len()));
        }
        if asks.contains_key(&id) {
            return Err(NoPlace::Taken);
        }
        asks.insert(id, tell);
        Ok(Place { waiting: Arc::clone(self), id, told })
    }

    /// Tells whoever waits for it. Says whether anybody did: each attempt of a message has a reply, and one is enough.
    pub(super) fn tell(&self, reply: Replied) -> bool {
        let waiting = self.lock().remove(&reply.to);
        waiting.is_some_and(|waiting| waiting.send(reply).is_ok())
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // one that was told has left the table, and another one may wait for the same id by now: that one is open
        self.told.close();
        let mut asks = self.waiting.lock();
        if asks.get(&self.id).is_some_and(oneshot::Sender::is_closed) {
            asks.remove(&self.id);
        }
    }
}
