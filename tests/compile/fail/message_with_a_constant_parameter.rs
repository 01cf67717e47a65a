use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit<const CURRENCY: u16> {
    account: String,
    amount: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited")]
struct Deposited<const CURRENCY: u16> {
    amount: i64,
}

fn main() {}
