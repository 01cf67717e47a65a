use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, reply = i64)]
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
    #[command_handler(reply, create = "no", uses = Clock)]
    fn deposit(&self, command: Deposit) -> Deposited {
        Deposited { amount: command.amount }
    }

    #[command_handler = "withdraw"]
    fn withdraw(&self, _: Withdraw) {}

    #[event_handler]
    fn deposited(&mut self, event: &Deposited) {
        self.balance += event.amount;
    }
}

fn main() {}
