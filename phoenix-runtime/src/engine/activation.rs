//! Bringing an aggregate into memory: the newest snapshot that fits, then the events behind it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::domain::pending::AnyState;
use crate::engine::journal::Backoff;
use crate::engine::kind::Kind;
use crate::event_store::port::{EventStore, KnownKeys, StoreError, StoredEvent, StreamId};

/// An aggregate as the store has it.
pub(crate) struct Loaded {
    pub(crate) state: AnyState,
    pub(crate) version: u64,
    pub(crate) snapshot_version: u64,
    pub(crate) time_micros: i64,
    pub(crate) keys: KnownKeys,
}

/// Reads an aggregate, waiting for the store as long as it takes.
///
/// # Errors
/// A text for people: why this aggregate can't be brought into memory until somebody mends it.
pub(crate) async fn activate(
    store: Arc<dyn EventStore>,
    kind: Arc<dyn Kind>,
    stream: StreamId,
    page: usize,
    mut backoff: Backoff,
) -> Result<Loaded, String> {
    loop {
        match load(&*store, &*kind, &stream, page).await {
            Ok(loaded) => return Ok(loaded),
            Err(Failure::Store(StoreError::Unavailable(reason) | StoreError::Unknown(reason))) => {
                tracing::warn!(%stream, reason, "can't read the aggregate; trying again");
            }
            Err(Failure::Store(error)) => return Err(error.to_string()),
            Err(Failure::Stream(reason)) => return Err(reason),
        }
        backoff.wait().await;
    }
}

enum Failure {
    Store(StoreError),
    Stream(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn load(store: &dyn EventStore, kind: &dyn Kind, stream: &StreamId, page: usize) -> Result<Loaded, Failure> {
    let limit = kind.options().idempotency_window as usize;
    let mut keys = store.known_keys(stream.clone(), limit).await?;
    let mut loaded = match from_snapshot(store, kind, stream).await? {
        Some(loaded) => loaded,
        None => Loaded {
            state: kind.empty(),
            version: 0,
            snapshot_version: 0,
            time_micros: i64::MIN,
            keys: KnownKeys::default(),
        },
    };
    // the snapshot's own event is read again: a snapshot ahead of its stream must not count
    let mut from = loaded.version.max(1);
    loop {
        let events = store.read_stream(stream.clone(), from, page).await?;
        let complete = events.len() < page;
        if loaded.version > 0 && from == loaded.version && events.is_empty() {
            tracing::error!(%stream, version = loaded.version, "the snapshot is ahead of its stream; replaying instead");
            loaded = Loaded { state: kind.empty(), version: 0, snapshot_version: 0, ..loaded };
            from = 1;
            continue;
        }
        for stored in &events {
            if stored.event.version == loaded.version {
                continue;
            }
            replay(kind, &mut loaded, stored).map_err(Failure::Stream)?;
            if let (false, Some(command)) = (keys.complete, &stored.command) {
                keys.keys.push(command.dedup.short());
            }
        }
        from = loaded.version + 1;
        if complete {
            break;
        }
    }
    if !keys.complete && keys.keys.len() > limit {
        // the newest are the likeliest to come again
        keys.keys.drain(..keys.keys.len() - limit);
    }
    loaded.keys = keys;
    Ok(loaded)
}

async fn from_snapshot(
    store: &dyn EventStore,
    kind: &dyn Kind,
    stream: &StreamId,
) -> Result<Option<Loaded>, StoreError> {
    if kind.options().snapshot_every.is_none() {
        return Ok(None);
    }
    let Some(snapshot) = store.snapshot(stream.clone(), u64::MAX).await? else { return Ok(None) };
    if snapshot.fingerprint != kind.fingerprint() {
        tracing::info!(%stream, version = snapshot.version, "the snapshot is of another layout or logic; replaying");
        return Ok(None);
    }
    let restored = catch_unwind(AssertUnwindSafe(|| kind.restore(snapshot.codec, &snapshot.payload)));
    let (version, time_micros) = (snapshot.version, snapshot.time_micros);
    Ok(match restored {
        Ok(Ok(Some(state))) => {
            Some(Loaded { state, version, snapshot_version: version, time_micros, keys: KnownKeys::default() })
        }
        Ok(Ok(None)) => None,
        Ok(Err(reason)) => {
            tracing::error!(%stream, version, %reason, "the snapshot can't be read; replaying instead");
            None
        }
        Err(_) => {
            tracing::error!(%stream, version, "reading the snapshot panicked; replaying instead");
            None
        }
    })
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
