use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, rejecton = String)]
struct Deposit {
    account: String,
    amount: i64,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = account, rejection = String)]
struct Balance {
    account: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited", verison = 2)]
struct Deposited {
    amount: i64,
}

fn main() {}
