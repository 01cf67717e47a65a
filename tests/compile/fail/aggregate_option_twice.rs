use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account", snapshot_every = 10, snapshot_every = 20)]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

fn main() {}
