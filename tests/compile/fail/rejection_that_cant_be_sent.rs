use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug)]
struct Closed;

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, rejection = Closed)]
struct Deposit {
    account: String,
}

fn main() {}
