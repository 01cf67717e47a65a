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
    fn deposit(self, command: Deposit) -> Deposited {
        Deposited { amount: command.amount }
    }

    #[event_handler]
    fn deposited(mut self, event: &Deposited) {
        self.balance += event.amount;
    }

    #[query_handler]
    fn balance(self: Box<Self>, _: Balance) -> i64 {
        self.balance
    }
}

fn main() {}
