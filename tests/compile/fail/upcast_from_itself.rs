use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited", version = 2, upcast_from = Deposited)]
struct Deposited {
    amount: i64,
}

fn main() {}
