use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = acount, name = "Deposit", replly = i64)]
struct Deposit {
    account: String,
    amount: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(version = 0)]
struct Deposited<T> {
    amount: T,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "closed")]
struct Closed;

#[derive(Query, Serialize, Deserialize)]
#[query(reply = i64)]
struct Balance {
    account: String,
}

#[aggregate(snapshot_evry = 10, passivate_after = "soon")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[event_sourced(part = 20)]
impl Account {
    #[command_handler(replly = self.balance, create = maybe)]
    async fn deposit(&mut self, command: &Deposit) -> Closed {
        self.balance += command.amount;
        Closed
    }

    #[event_handler]
    async fn closed(&self, event: Closed) -> Result<(), String> {
        let _ = event;
        Ok(())
    }

    #[query_handler]
    async fn balance<T>(self, _: &Balance, context: &Context) -> impl Into<i64> {
        let _ = context;
        self.balance
    }

    fn helper(&self) -> i64 {
        self.balance
    }
}

fn elsewhere(account: &Account) -> i64 {
    account.helper() + account.balance
}

fn main() {}
