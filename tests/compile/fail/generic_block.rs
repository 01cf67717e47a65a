use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit {
    account: String,
    amount: i64,
}

struct Account<Currency> {
    balance: Currency,
}

#[event_sourced]
impl<Currency> Account<Currency> {
    #[command_handler]
    fn deposit(&self, _: Deposit) {}
}

fn main() {}
