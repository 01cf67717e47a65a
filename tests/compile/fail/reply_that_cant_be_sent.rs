use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

struct Receipt;

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, reply = Receipt)]
struct Deposit {
    account: String,
}

#[derive(Query, Serialize, Deserialize)]
#[query(id = account, reply = Receipt)]
struct LastReceipt {
    account: String,
}

fn main() {}
