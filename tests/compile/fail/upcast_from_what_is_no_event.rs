use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct DepositedV1 {
    amount: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited", version = 2, upcast_from = DepositedV1)]
struct Deposited {
    amount: i64,
    currency: String,
}

impl From<DepositedV1> for Deposited {
    fn from(old: DepositedV1) -> Self {
        Self { amount: old.amount, currency: "EUR".to_owned() }
    }
}

fn main() {}
