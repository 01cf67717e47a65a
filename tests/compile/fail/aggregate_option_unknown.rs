use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account", snapshot_evry = 10, colour = "red")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

fn main() {}
