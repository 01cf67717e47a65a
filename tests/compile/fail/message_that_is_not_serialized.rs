use phoenix_runtime::prelude::*;

#[derive(Command)]
#[command(id = account)]
struct Deposit {
    account: String,
}

#[derive(Event)]
#[event(name = "deposited")]
struct Deposited {
    amount: i64,
}

fn main() {}
