use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = accounts)]
struct Deposit {
    accounts: Vec<String>,
    amount: i64,
}

fn main() {}
