use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account")]
#[derive(Serialize, Deserialize)]
struct Account {
    balance: i64,
}

fn main() {}
