use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, idempotent_by(order_number))]
struct Deposit {
    account: String,
    order_no: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, idempotent_by = order_no)]
struct Withdraw {
    account: String,
    order_no: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, idempotent_by())]
struct Close {
    account: String,
}

fn main() {}
