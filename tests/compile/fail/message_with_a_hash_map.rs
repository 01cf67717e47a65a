use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

use std::collections::HashSet;

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited")]
struct Deposited {
    coins: HashSet<u32>,
}

fn main() {}
