use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

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
    #[query_handler]
    fn balance(&self, _: Balance) -> i64 {
        self.balance
    }

    #[query_handler]
    fn balance_again(&self, _: Balance) -> i64 {
        self.balance
    }
}

fn main() {}
