use phoenix_runtime::client::Client;
use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit {
    account: String,
    amount: i64,
}

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Withdraw {
    account: String,
}

#[event_sourced]
impl Account {
    #[command_handler]
    fn withdraw(&self, _: Withdraw) {}
}

async fn deposit(client: &Client) {
    let command = Deposit { account: "1".to_owned(), amount: 1 };
    let _ = client.of::<Account>().ask(command).await;
}

async fn tell(client: &Client) {
    let command = Deposit { account: "1".to_owned(), amount: 1 };
    let _ = client.of::<Account>().tell(command).await;
}

fn main() {}
