use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
struct Deposited {
    amount: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(version = 2)]
struct Withdrawn {
    amount: i64,
}

fn main() {}
