use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account", passivate_after = "10 minutes")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[aggregate(name = "wallet", passivate_after = 10)]
#[derive(Default, Serialize, Deserialize)]
struct Wallet {
    balance: i64,
}

#[aggregate(name = "purse", passivate_after = "0s")]
#[derive(Default, Serialize, Deserialize)]
struct Purse {
    balance: i64,
}

fn main() {}
