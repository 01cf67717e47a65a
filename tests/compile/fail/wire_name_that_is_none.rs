use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, name = "MakeDeposit")]
struct Deposit {
    account: String,
    amount: i64,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = account, name = "the balance", reply = i64)]
struct Balance {
    account: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "account.deposited")]
struct Deposited {
    amount: i64,
}

fn main() {}
