use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited", version = 2)]
struct DepositedV2 {
    amount: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited", version = 2, upcast_from = DepositedV2)]
struct Deposited {
    amount: i64,
    currency: String,
}

impl From<DepositedV2> for Deposited {
    fn from(old: DepositedV2) -> Self {
        Self { amount: old.amount, currency: "EUR".to_owned() }
    }
}

fn main() {}
