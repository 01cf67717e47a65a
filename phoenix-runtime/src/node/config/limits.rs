//! Limits with which nothing would work, and time-outs that never come.

use std::time::Duration;

use super::NodeConfig;
use crate::domain::id::SLICES;
use crate::domain::units;

/// The keys that are wrong, and why.
pub(super) fn check(config: &NodeConfig) -> Vec<(&'static str, String)> {
    let NodeConfig { database, engine, sqlite, log_store, .. } = config;
    let mut wrong = Vec::new();
    for (key, is_zero) in [
        ("database.append_connections", database.append_connections == 0),
        ("database.read_connections", database.read_connections == 0),
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
    if database.lock_timeout > database.statement_timeout {
        let (lock, statement) =
            (units::format_duration(database.lock_timeout), units::format_duration(database.statement_timeout));
        let message =
            format!("{lock} is longer than `database.statement_timeout`, which is {statement} and ends the wait");
        wrong.push(("database.lock_timeout", message));
    }
    wrong
}
