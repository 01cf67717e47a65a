use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Schema)]
struct Route {
    account: String,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = route.acount)]
struct Deposit {
    route: Route,
    amount: i64,
}

fn main() {}
