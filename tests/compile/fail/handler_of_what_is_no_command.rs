use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Serialize, Deserialize)]
struct Deposit {
    account: String,
}

#[event_sourced]
impl Account {
    #[command_handler]
    fn deposit(&self, _: Deposit) {}
}

fn main() {}
