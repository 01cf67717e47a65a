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

#[derive(Event, Serialize, Deserialize)]
#[event(name = "withdrawn")]
struct Withdrawn {
    amount: i64,
}

#[event_sourced]
impl Account {
    #[event_handler]
    fn deposited(&mut self, event: Deposited) {
        self.balance += event.amount;
    }

    #[event_handler]
    fn withdrawn(&mut self, event: &mut Withdrawn) {
        self.balance -= event.amount;
    }
}

fn main() {}
