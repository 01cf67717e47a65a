use phoenix_runtime::client::Client;
use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit {
    account: String,
    amount: i64,
}

async fn deposit(client: &Client) {
    let command = Deposit { account: "1".to_owned(), amount: 1 };
    let _ = client.ask(command).await;
}

fn main() {}
