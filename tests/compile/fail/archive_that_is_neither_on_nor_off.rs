use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account", archive = "folder:archive")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

fn main() {}
