use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(name = deposited, version = "2", upcast_from = "DepositedV1")]
struct Deposited {
    amount: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "withdrawn", version = 0)]
struct Withdrawn {
    amount: i64,
}

fn main() {}
