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
    fn deposit(&self, _: Deposit, context: &Context, amount: i64, account: &str) {
        let _ = (context, amount, account);
    }

    #[event_handler]
    fn deposited(&mut self, _: &Deposited, context: &Context) {
        let _ = context;
    }

    #[query_handler]
    fn balance(&self, _: Balance, context: &Context) -> i64 {
        let _ = context;
        self.balance
    }
}

fn main() {}
