use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, aggregate = "acount")]
struct Deposit {
    account: String,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = wallet, aggregate = "wallet", reply = i64)]
struct Balance {
    wallet: String,
}

#[event_sourced]
impl Account {
    #[command_handler]
    fn deposit(&self, _: Deposit) {}

    #[query_handler]
    fn balance(&self, _: Balance) -> i64 {
        self.balance
    }
}

fn main() {}
