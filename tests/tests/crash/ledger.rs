//! What the service stored, read beside it.

use std::error::Error;

use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::event_store::port::{Position, StoredEvent};
use phoenix_runtime::node::{History as Events, NodeConfig};
use serde_json::Value;

use crate::history::{Account, Entry, Ledger};

/// How many events are read at once.
const PAGE: usize = 10_000;

/// Where an event stands, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) slice: Slice,
    pub(crate) sequence: u64,
    pub(crate) stream: String,
    pub(crate) version: u64,
}

impl Mark {
    pub(crate) fn of(event: &StoredEvent) -> Self {
        let stream = event.stream.id.to_string();
        Self { slice: event.slice, sequence: event.sequence, stream, version: event.event.version }
    }
}

/// The configuration of a service with this store.
pub(crate) fn config(url: &str) -> NodeConfig {
    let mut config = NodeConfig::default();
    config.store = url.parse().expect("a store");
    config
}

/// Opens the store beside the service that owns it.
pub(crate) async fn open(config: &NodeConfig) -> Events {
    Events::open(config).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Waits for what is asked of a store.
pub(crate) fn wait<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(what)
}

/// Reads every event from the start.
pub(crate) fn read(config: &NodeConfig) -> (Ledger, Vec<Mark>) {
    try_read(config).unwrap_or_else(|error| panic!("{error}"))
}

/// The same, where what is stored may be spoilt.
pub(crate) fn try_read(config: &NodeConfig) -> Result<(Ledger, Vec<Mark>), Box<dyn Error>> {
    wait(async {
        let store = Events::open(config).await?;
        let (mut ledger, mut marks, mut position) = (Ledger::new(), Vec::new(), Position::default());
        loop {
            let (events, behind) = store.read_all(position, PAGE).await?;
            position = behind;
            if events.is_empty() {
                return Ok((ledger, marks));
            }
            for event in events {
                marks.push(Mark::of(&event));
                let account: &mut Account = ledger.entry(event.stream.id.to_string()).or_default();
                account.entries.push(entry(&event));
            }
        }
    })
}

fn entry(stored: &StoredEvent) -> Entry {
    let event: Value = serde_json::from_slice(&stored.event.payload).expect("events are stored as JSON");
    let amount = event["amount"].as_i64().expect("every event has an amount");
    let change = match &*stored.event.name {
        "deposited" => amount,
        "withdrawn" => -amount,
        other => panic!("the service has no event `{other}`"),
    };
    // every command of these tests has a key, and one event
    let key = stored.command.as_ref().and_then(|command| command.key.clone()).unwrap_or_default();
    Entry { version: stored.event.version, key, change }
}
