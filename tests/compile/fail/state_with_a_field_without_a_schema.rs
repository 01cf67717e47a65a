use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Money(i64);

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    owner: String,
    balance: Vec<Money>,
}

fn main() {}
