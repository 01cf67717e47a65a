//! What the service stored, read from its file.

use std::path::Path;

use phoenix_runtime::event_store::SqliteReader;
use phoenix_runtime::event_store::port::{Position, StoredEvent};
use serde_json::Value;

use crate::crash::history::{Entry, Ledger};

/// How many events are read at once.
const PAGE: usize = 10_000;

/// Reads every event, beside the running service.
pub(crate) fn read(store: &Path) -> Ledger {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let reader = SqliteReader::open(store).await.unwrap_or_else(|error| panic!("{error}"));
        let (mut ledger, mut position) = (Ledger::new(), Position::default());
        loop {
            let (events, behind) = reader.read_all(position, PAGE).await.unwrap_or_else(|error| panic!("{error}"));
            position = behind;
            if events.is_empty() {
                return ledger;
            }
            for event in events {
                ledger.entry(event.stream.id.to_string()).or_default().entries.push(entry(&event));
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
