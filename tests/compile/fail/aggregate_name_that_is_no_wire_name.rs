use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "BankAccount")]
#[derive(Default, Serialize, Deserialize)]
struct BankAccount {
    balance: i64,
}

#[aggregate(name = "")]
#[derive(Default, Serialize, Deserialize)]
struct Nameless {
    balance: i64,
}

fn main() {}
