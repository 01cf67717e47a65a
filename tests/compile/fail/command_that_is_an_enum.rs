use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
enum Change {
    Deposit { account: String, amount: i64 },
    Withdraw { account: String, amount: i64 },
}

fn main() {}
