use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited")]
struct Deposited {
    amount: i64,
}

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[event_sourced]
impl Account {
    #[event_handler]
    fn deposited(&self, _: &Deposited) {}
}

fn main() {}
