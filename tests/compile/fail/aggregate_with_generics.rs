use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account<Currency> {
    balance: Currency,
}

#[aggregate(name = "wallet")]
#[derive(Default, Serialize, Deserialize)]
struct Wallet<const CURRENCY: u8> {
    balance: i64,
}

#[aggregate(name = "purse")]
#[derive(Default, Serialize, Deserialize)]
struct Purse<'a> {
    owner: &'a str,
}

fn main() {}
