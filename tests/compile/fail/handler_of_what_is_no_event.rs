use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Serialize, Deserialize)]
struct Deposited {
    amount: i64,
}

#[event_sourced]
impl Account {
    #[event_handler]
    fn deposited(&mut self, event: &Deposited) {
        self.balance += event.amount;
    }
}

fn main() {}
