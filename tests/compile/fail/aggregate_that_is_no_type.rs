use phoenix_runtime::prelude::*;

#[aggregate(name = "account")]
fn account() {}

#[aggregate(name = "wallet")]
impl String {}

fn main() {}
