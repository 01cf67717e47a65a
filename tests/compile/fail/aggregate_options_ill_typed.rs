use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(
    name = account,
    snapshot_every = "often",
    idempotency_window = -1,
    max_resident = 0,
    logic_version = 2.5,
    crate = "phoenix_runtime"
)]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[aggregate(name, snapshot_every = 0, max_resident(5) logic_version = 2)]
#[derive(Default, Serialize, Deserialize)]
struct Wallet {
    balance: i64,
}

fn main() {}
