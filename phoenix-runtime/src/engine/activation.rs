//! Bringing aggregates into memory: many are asked for at once, and each is replayed in small pieces, so that a long
//! stream does not keep its shard from anything else. While one page of it is applied the next is read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::domain::pending::AnyState;
use crate::engine::cell::CellRef;
use crate::engine::journal::Backoff;
use crate::engine::kind::Kind;
use crate::event_store::port::{
    self, EventStore, KnownKeys, Load, Snapshot, StoreError, StoredEvent, StreamId, fills_page,
};

/// The most aggregates that are asked for at once.
pub(crate) const MOST_TOGETHER: usize = 256;

/// The most events that are asked for at once, all aggregates together.
const MOST_EVENTS: usize = 16 * 1024;

/// How many bytes cost as much as an event, when replay is cut into pieces.
const BYTES: usize = 1024;

/// An aggregate as the store has it.
pub(crate) struct Loaded {
    pub(crate) state: AnyState,
    pub(crate) version: u64,
    pub(crate) snapshot_version: u64,
    /// The bytes of the events since the snapshot.
    pub(crate) bytes: u64,
    pub(crate) time_micros: i64,
    pub(crate) keys: KnownKeys,
}

/// An aggregate that shall come into memory.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) cell: CellRef,
    pub(crate) kind: Arc<dyn Kind>,
    pub(crate) load: Load,
}

impl Wish {
    pub(crate) fn new(cell: CellRef, kind: Arc<dyn Kind>, stream: StreamId) -> Self {
        let options = kind.options();
        let fingerprint = options.snapshot_every.is_some().then(|| kind.fingerprint());
        let load = Load { stream, fingerprint, keys: options.idempotency_window as usize, events: 1 };
        Self { cell, kind, load }
    }
}

/// What the store said of wishes.
pub(crate) enum Granted {
    All(Vec<(Wish, port::Loaded)>),
    /// Not together: one of them may be the reason.
    Failed(Vec<Wish>),
    /// The store does not answer, at least not all of them.
    Unanswered(Vec<Wish>),
    /// A text for people: why this aggregate can't be brought into memory until somebody mends it.
    Refused(Wish, String),
}

/// Asks for aggregates, once.
pub(crate) async fn load(store: Arc<dyn EventStore>, mut wishes: Vec<Wish>, page: usize) -> Granted {
    let most = page.min(MOST_EVENTS / wishes.len().max(1)).max(1);
    for wish in &mut wishes {
        wish.load.events = most;
    }
    let failed = match store.load(wishes.iter().map(|wish| wish.load.clone()).collect()).await {
        Ok(found) if found.len() == wishes.len() => return Granted::All(wishes.into_iter().zip(found).collect()),
        Ok(found) => format!("the store gave {} aggregates where {} were asked for", found.len(), wishes.len()),
        Err(StoreError::Unavailable(reason) | StoreError::Unknown(reason)) => {
            let first = wishes.first().map(|wish| wish.load.stream.to_string());
            tracing::warn!(aggregates = wishes.len(), first, reason, "can't read aggregates; trying again");
            return Granted::Unanswered(wishes);
        }
        Err(error) => error.to_string(),
    };
    match wishes.pop() {
        Some(wish) if wishes.is_empty() => Granted::Refused(wish, failed),
        last => {
            wishes.extend(last);
            Granted::Failed(wishes)
        }
    }
}

/// Reads on in a stream, waiting for the store as long as it takes.
///
/// # Errors
/// A text for people, as [`Granted::Refused`].
pub(crate) async fn read_on(
    store: Arc<dyn EventStore>,
    stream: StreamId,
    from: u64,
    page: usize,
    mut backoff: Backoff,
) -> Page {
    loop {
        match store.read_stream(stream.clone(), from, page).await {
            Err(StoreError::Unavailable(reason) | StoreError::Unknown(reason)) => {
                tracing::warn!(%stream, reason, "can't read the aggregate; trying again");
            }
            found => return found.map_err(|error| error.to_string()),
        }
        backoff.wait().await;
    }
}

/// A page of a stream, or a text for people, as [`Granted::Refused`].
pub(crate) type Page = Result<Vec<StoredEvent>, String>;

/// Reads a page that nobody waits for yet, unless nobody will.
pub(crate) async fn read_ahead(reading: impl Future<Output = Page>, mut wanted: oneshot::Sender<Page>) {
    let read = match select(pin!(reading), pin!(wanted.closed())).await {
        Either::Left((page, _)) => Some(page),
        Either::Right(_) => None,
    };
    if let Some(page) = read {
        // its aggregate may be gone
        let _ = wanted.send(page);
    }
}

/// A replay that is under way.
pub(crate) struct Replay {
    wish: Wish,
    snapshot: Option<Snapshot>,
    loaded: Loaded,
    events: IntoIter<StoredEvent>,
    /// The bytes of these when they came.
    held: usize,
    /// Whether the store has more than `events`.
    more: bool,
    /// The events behind these, on their way.
    ahead: Option<oneshot::Receiver<Page>>,
}

/// How far a replay has come.
pub(crate) enum Progress {
    /// It goes on.
    Working,
    /// It goes on with the events from this version on.
    ReadOn(u64),
    /// It begins anew, without a snapshot.
    Anew,
    Done,
    /// A text for people, as [`Granted::Refused`].
    Failed(String),
}

impl Replay {
    pub(crate) fn new(wish: Wish, found: port::Loaded) -> Self {
        let (state, held) = (wish.kind.empty(), found.bytes());
        let loaded =
            Loaded { state, version: 0, snapshot_version: 0, bytes: 0, time_micros: i64::MIN, keys: found.keys };
        let more = found.cut || found.events.len() >= wish.load.events;
        Self { wish, snapshot: found.snapshot, loaded, events: found.events.into_iter(), held, more, ahead: None }
    }

    /// From which version on its next page may be read already.
    pub(crate) fn next_page(&self) -> Option<u64> {
        let last = self.events.as_slice().last().filter(|_| self.more && self.ahead.is_none());
        last.and_then(|last| last.event.version.checked_add(1))
    }

    pub(crate) fn expect(&mut self, ahead: oneshot::Receiver<Page>) {
        self.ahead = Some(ahead);
    }

    /// Its next page, if it was asked for already.
    pub(crate) fn take_ahead(&mut self) -> Option<oneshot::Receiver<Page>> {
        self.ahead.take()
    }

    /// How many bytes of events it holds at most.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn cell(&self) -> CellRef {
        self.wish.cell
    }

    pub(crate) fn stream(&self) -> &StreamId {
        &self.wish.load.stream
    }

    /// The wish to begin anew, without a snapshot.
    pub(crate) fn anew(mut self) -> Wish {
        self.wish.load.fingerprint = None;
        self.wish
    }

    pub(crate) fn finish(self) -> Loaded {
        let Self { wish, mut loaded, .. } = self;
        let keys = &mut loaded.keys;
        if !keys.complete && keys.keys.len() > wish.load.keys {
            // the newest are the likeliest to come again
            keys.keys.drain(..keys.keys.len() - wish.load.keys);
        }
        loaded
    }

    /// More events, as they were asked for.
    pub(crate) fn go_on(&mut self, events: Vec<StoredEvent>, page: usize) {
        self.held = events.iter().map(StoredEvent::bytes).sum();
        self.more = events.len() >= page || fills_page(&events);
        self.events = events.into_iter();
    }

    /// Does a piece of the work; `budget` is in events.
    pub(crate) fn step(&mut self, budget: &mut usize) -> Progress {
        if let Some(snapshot) = self.snapshot.take() {
            *budget = budget.saturating_sub(1 + snapshot.payload.len() / BYTES);
            // the snapshot's own event is read again: a snapshot ahead of its stream must not count
            let own = self.events.as_slice().first().is_some_and(|first| first.event.version == snapshot.version);
            if !own {
                let (stream, version) = (self.stream(), snapshot.version);
                tracing::error!(%stream, version, "the snapshot is ahead of its stream; replaying instead");
            }
            if !own || !self.restore(&snapshot) {
                return Progress::Anew;
            }
            self.events.next();
        }
        while *budget > 0 {
            let Some(stored) = self.events.next() else {
                return if self.more { Progress::ReadOn(self.loaded.version + 1) } else { Progress::Done };
            };
            *budget = budget.saturating_sub(1 + stored.event.payload.len() / BYTES);
            if let Err(reason) = replay(&*self.wish.kind, &mut self.loaded, &stored) {
                return Progress::Failed(reason);
            }
            if let (false, Some(command)) = (self.loaded.keys.complete, &stored.command) {
                self.loaded.keys.keys.push(command.dedup.short());
            }
        }
        Progress::Working
    }

    fn restore(&mut self, snapshot: &Snapshot) -> bool {
        let (stream, version, kind) = (&self.wish.load.stream, snapshot.version, &self.wish.kind);
        if snapshot.fingerprint != kind.fingerprint() {
            tracing::info!(%stream, version, "the snapshot is of another layout or logic; replaying");
            return false;
        }
        match catch_unwind(AssertUnwindSafe(|| kind.restore(snapshot.codec, &snapshot.payload))) {
            Ok(Ok(Some(state))) => {
                self.loaded.state = state;
                self.loaded.version = version;
                self.loaded.snapshot_version = version;
                self.loaded.time_micros = snapshot.time_micros;
                return true;
            }
            Ok(Ok(None)) => {}
            Ok(Err(reason)) => {
                tracing::error!(%stream, version, %reason, "the snapshot can't be read; replaying instead");
            }
            Err(_) => tracing::error!(%stream, version, "reading the snapshot panicked; replaying instead"),
        }
        false
    }
}

fn replay(kind: &dyn Kind, loaded: &mut Loaded, stored: &StoredEvent) -> Result<(), String> {
    let expected = loaded.version + 1;
    let found = stored.event.version;
    if found != expected {
        return Err(format!("the stream has version {found} where {expected} must stand"));
    }
    match catch_unwind(AssertUnwindSafe(|| kind.apply(&mut loaded.state, &stored.event))) {
        Ok(Ok(())) => {
            loaded.version = found;
            loaded.bytes += stored.event.payload.len() as u64;
            loaded.time_micros = loaded.time_micros.max(stored.time_micros);
            Ok(())
        }
        Ok(Err(reason)) => Err(format!("version {found}: {reason}")),
        Err(panic) => Err(format!(
            "version {found}: the event handler of `{}` panicked: {}",
            stored.event.name,
            panic_text(&*panic)
        )),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
