use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit {
    account: String,
    amount: i64,
}

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[event_sourced(part = 17)]
impl Account {
    #[command_handler]
    fn deposit(&self, _: Deposit) {}
}

#[event_sourced(part = 0)]
impl Account {}

#[event_sourced(part = "two")]
impl Account {}

fn main() {}
