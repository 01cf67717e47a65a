use phoenix_runtime::prelude::*;

#[aggregate(name = "account")]
#[derive(Default)]
struct Account {
    balance: i64,
}

fn main() {}
