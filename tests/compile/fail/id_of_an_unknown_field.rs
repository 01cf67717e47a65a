use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = acount)]
struct Deposit {
    account: String,
    amount: i64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id(bank, numbr))]
struct Withdraw {
    bank: String,
    number: u32,
    amount: i64,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = 1, reply = i64)]
struct Balance(String);

#[derive(Query, Serialize, Deserialize)]
#[query(id = account, reply = i64)]
struct Sum;

fn main() {}
