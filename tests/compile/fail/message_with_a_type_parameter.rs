use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit<Amount> {
    account: String,
    amount: Amount,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited")]
struct Deposited<Amount> {
    amount: Amount,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = account, reply = i64)]
struct Balance<Account> {
    account: Account,
}

fn main() {}
