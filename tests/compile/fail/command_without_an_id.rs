use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct Deposit {
    account: String,
    amount: i64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(reply = i64)]
struct Withdraw {
    amount: i64,
    account_id: String,
}

#[derive(Query, Serialize, Deserialize)]
#[query(reply = i64)]
struct Balance {
    account: String,
}

fn main() {}
