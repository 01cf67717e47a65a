use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = "account", name = 5, reply = 3, rejection = "no", aggregate = account)]
struct Deposit {
    account: String,
    amount: i64,
}

#[derive(Command, Serialize, Deserialize)]
#[command = "account"]
struct Withdraw {
    account: String,
}

fn main() {}
