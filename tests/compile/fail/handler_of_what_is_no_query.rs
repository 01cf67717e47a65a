use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Serialize, Deserialize)]
struct Balance {
    account: String,
}

#[event_sourced]
impl Account {
    #[query_handler]
    fn balance(&self, _: Balance) -> i64 {
        self.balance
    }
}

fn main() {}
