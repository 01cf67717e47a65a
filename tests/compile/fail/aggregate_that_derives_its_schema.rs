use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize, Schema)]
struct Account {
    balance: i64,
}

fn main() {}
