use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account", snapshots_kept = 0)]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

fn main() {}
