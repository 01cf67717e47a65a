use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit {
    account: String,
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
    fn deposit(&self, _: Deposit, context: Context) {
        let _ = context;
    }

    #[command_handler]
    fn withdraw(&self, _: Withdraw, context: &String) {
        let _ = context;
    }
}

fn main() {}
