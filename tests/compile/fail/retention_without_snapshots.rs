use phoenix_runtime::prelude::*;

#[aggregate(name = "account", snapshot_every = never, snapshot_bytes = "1MiB", snapshots_kept = 3, archive = true)]
#[derive(Default)]
struct Account {
    balance: i64,
}

fn main() {}
