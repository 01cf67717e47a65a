use phoenix_runtime::prelude::*;

#[event_sourced]
struct Account {
    balance: i64,
}

#[event_sourced]
fn deposit() {}

fn main() {}
