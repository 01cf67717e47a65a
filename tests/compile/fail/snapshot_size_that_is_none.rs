use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account", snapshot_bytes = "1 megabyte")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[aggregate(name = "wallet", snapshot_bytes = 65536)]
#[derive(Default, Serialize, Deserialize)]
struct Wallet {
    balance: i64,
}

#[aggregate(name = "purse", snapshot_bytes = "0KiB")]
#[derive(Default, Serialize, Deserialize)]
struct Purse {
    balance: i64,
}

fn main() {}
