use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
struct Deposit {
    account: String,
    amount: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "deposited")]
struct Deposited {
    amount: i64,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Closed;

#[aggregate(name = "account")]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "warned")]
struct Warned;

#[derive(Events)]
enum Outcome {
    Deposited(Deposited),
    Warned(Warned),
}

#[derive(Command, Serialize, Deserialize)]
#[command(id = account, rejection = Closed)]
struct Move {
    account: String,
}

#[event_sourced]
impl Account {
    #[command_handler]
    fn deposit(&self, command: Deposit) -> Outcome {
        if command.amount > 100 { Outcome::Warned(Warned) } else { Outcome::Deposited(Deposited { amount: 1 }) }
    }

    #[command_handler]
    fn shift(&self, _: Move) -> Result<(Vec<Deposited>, Option<Warned>), Closed> {
        Err(Closed)
    }

    #[event_handler]
    fn deposited(&mut self, event: &Deposited) {
        self.balance += event.amount;
    }
}

fn main() {}
