use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit {
    account: String,
    amount: i64,
}

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
    #[command_handler]
    fn deposit<T>(&self, command: T) -> Deposited {
        let _ = command;
        Deposited { amount: 0 }
    }

    #[event_handler]
    fn deposited<'a>(&'a mut self, event: &'a Deposited) {
        self.balance += event.amount;
    }
}

fn main() {}
