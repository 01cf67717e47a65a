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

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Withdraw {
    account: String,
}

#[event_sourced]
impl Account {
    #[command_handler]
    fn deposit(&self, command: Deposit) -> i64 {
        command.amount
    }

    #[command_handler]
    fn withdraw(&self, _: Withdraw) -> (Deposited, String) {
        (Deposited { amount: 0 }, String::new())
    }

    #[event_handler]
    fn deposited(&mut self, event: &Deposited) {
        self.balance += event.amount;
    }
}

fn main() {}
