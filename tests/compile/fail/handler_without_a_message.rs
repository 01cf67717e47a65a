use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[event_sourced]
impl Account {
    #[command_handler]
    fn deposit(&self) {}

    #[event_handler]
    fn deposited(&mut self) {
        self.balance += 1;
    }
}

fn main() {}
