use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account", codec = postcrd)]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

struct Ours;

#[aggregate(name = "wallet", codec = Ours)]
#[derive(Default, Serialize, Deserialize)]
struct Wallet {
    balance: i64,
}

fn main() {}
