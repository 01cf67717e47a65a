//! Limits with which nothing would work, and time-outs that never come.

use std::time::Duration;

use super::{BusUrl, ClaimsUrl, NodeConfig};
use crate::domain::id::SLICES;
use crate::domain::units;

/// The keys that are wrong, and why.
pub(super) fn check(config: &NodeConfig) -> Vec<(&'static str, String)> {
    let NodeConfig { database, delivery, embedded_bus, engine, messaging, sqlite, log_store, .. } = config;
    let mut wrong = Vec::new();
    for (key, is_zero) in [
        ("database.append_connections", database.append_connections == 0),
        ("database.read_connections", database.read_connections == 0),
        ("delivery.max_per_aggregate", delivery.max_per_aggregate == 0),
        ("delivery.max_records", delivery.max_records == 0),
        ("delivery.max_resends", delivery.max_resends == 0),
        ("delivery.max_tries", delivery.max_tries == 0),
        ("delivery.max_unfinished", delivery.max_unfinished == 0),
        ("delivery.max_unfinished_bytes", delivery.max_unfinished_bytes == 0),
        ("embedded_bus.records_a_commit", embedded_bus.records_a_commit == 0),
        ("engine.shards", engine.shards == Some(0)),
        ("engine.mailbox_capacity", engine.mailbox_capacity == 0),
        ("engine.max_batch", engine.max_batch == 0),
        ("engine.replay_page", engine.replay_page == 0),
        ("log_store.records_a_commit", log_store.records_a_commit == 0),
        ("sqlite.read_connections", sqlite.read_connections == 0),
        ("sqlite.records_a_commit", sqlite.records_a_commit == 0),
    ] {
        if is_zero {
            wrong.push((key, "must be at least 1".to_owned()));
        }
    }
    if !(1..=SLICES).contains(&engine.partitions) {
        wrong.push(("engine.partitions", format!("must be 1 to {SLICES}, and is {}", engine.partitions)));
    }
    for (key, duration) in [
        ("engine.idle_check", engine.idle_check),
        ("database.connect_timeout", database.connect_timeout),
        ("database.statement_timeout", database.statement_timeout),
        ("database.lock_timeout", database.lock_timeout),
        ("database.max_connect_backoff", database.max_connect_backoff),
    ] {
        // the servers count whole milliseconds, and take none for no limit
        if duration < Duration::from_millis(1) {
            wrong.push((key, "must be longer than nothing".to_owned()));
        }
    }
    for (key, text) in [("messaging.topic", &messaging.topic), ("messaging.group", &messaging.group)] {
        // what Kafka takes for the name of a topic
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if text.is_empty() || text.len() > 200 || !text.chars().all(fits) {
            wrong.push((key, "has 1 to 200 letters, digits, `.`, `_` and `-`".to_owned()));
        }
    }
    if messaging.claim_check != ClaimsUrl::Off && config.bus == BusUrl::Off {
        let message = "there is no bus whose messages could be too large: set `bus`, or write `off`";
        wrong.push(("messaging.claim_check", message.to_owned()));
    }
    if messaging.claim_check_above > messaging.claim_check_most {
        let most = units::format_size(messaging.claim_check_most);
        let message = format!("is more than `messaging.claim_check_most`, which is {most}: nothing would be kept");
        wrong.push(("messaging.claim_check_above", message));
    }
    let unknown = |partition: &&u16| **partition >= engine.partitions;
    if let Some(partition) = messaging.partitions.iter().flatten().find(unknown) {
        let message = format!("there is no partition {partition}: `engine.partitions` is {}", engine.partitions);
        wrong.push(("messaging.partitions", message));
    }
    if database.lock_timeout > database.statement_timeout {
        let (lock, statement) =
            (units::format_duration(database.lock_timeout), units::format_duration(database.statement_timeout));
        let message =
            format!("{lock} is longer than `database.statement_timeout`, which is {statement} and ends the wait");
        wrong.push(("database.lock_timeout", message));
    }
    wrong
}
