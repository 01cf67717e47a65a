use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited")]
struct Deposited {
    amount: i64,
}

#[derive(Events)]
enum Change {
    Both(Deposited, Deposited),
    Named { deposited: Deposited },
    Nothing,
}

#[derive(Events)]
struct Changes(Deposited);

fn main() {}
