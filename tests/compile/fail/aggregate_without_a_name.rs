use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[aggregate(snapshot_every = 10)]
#[derive(Default, Serialize, Deserialize)]
struct BankAccount {
    balance: i64,
}

fn main() {}
