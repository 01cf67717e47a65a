use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit {
    account: String,
    amount: i64,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = account, reply = i64)]
struct Balance {
    account: String,
}

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[event_sourced]
impl Account {
    #[command_handler]
    fn deposit(&self, _: &Deposit) {}

    #[query_handler]
    fn balance(&self, _: &Balance) -> i64 {
        self.balance
    }
}

fn main() {}
