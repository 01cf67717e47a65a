use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited")]
struct DepositedV1 {
    amount: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited", version = 2, upcast_from = DepositedV1)]
struct Deposited {
    amount: i64,
    currency: String,
}

fn main() {}
