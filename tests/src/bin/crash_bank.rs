//! `crash-bank`: the service that crash tests kill. It says on standard output where it listens, and serves until then.
//! File and environment configure it as any service.
//!
//! Small limits make rare paths common: snapshots, passivation, and idempotency keys that only the store remembers. Events
//! go to an archive where the configuration names one.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use phoenix_runtime::node::{Node, NodeConfig};
use phoenix_runtime::prelude::*;
use phoenix_runtime::telemetry::logs;
use serde::{Deserialize, Serialize};

type Cents = i64;

/// Puts money in.
#[derive(Debug, Command, Serialize, Deserialize)]
#[command(id = account, reply = Funds)]
struct Deposit {
    account: String,
    amount: Cents,
}

/// Takes money out.
#[derive(Debug, Command, Serialize, Deserialize)]
#[command(id = account, reply = Funds, rejection = Missing)]
struct Withdraw {
    account: String,
    amount: Cents,
}

/// Asks for the balance.
#[derive(Debug, Query, Serialize, Deserialize)]
#[query(id = account, reply = Funds)]
struct Balance {
    account: String,
}

/// What there is.
#[derive(Debug, Serialize, Deserialize, Schema)]
struct Funds {
    balance: Cents,
}

/// There is less than what was asked for.
#[derive(Debug, Serialize, Deserialize, Schema)]
struct Missing {
    missing: Cents,
}

/// Money came in.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "deposited")]
struct Deposited {
    amount: Cents,
}

/// Money went out.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "withdrawn")]
struct Withdrawn {
    amount: Cents,
}

/// An account.
#[aggregate(name = "bank-account", snapshot_every = 20, idempotency_window = 8, max_resident = 12, archive = true)]
#[derive(Debug, Default, Serialize, Deserialize)]
struct BankAccount {
    balance: Cents,
}

#[event_sourced]
impl BankAccount {
    #[command_handler(reply = self.funds())]
    fn deposit(&self, command: Deposit) -> Deposited {
        Deposited { amount: command.amount }
    }

    #[command_handler(create = false, reply = self.funds())]
    fn withdraw(&self, command: Withdraw) -> Result<Withdrawn, Missing> {
        match command.amount - self.balance {
            missing if missing > 0 => Err(Missing { missing }),
            _ => Ok(Withdrawn { amount: command.amount }),
        }
    }

    #[event_handler]
    fn deposited(&mut self, event: &Deposited) {
        self.balance += event.amount;
    }

    #[event_handler]
    fn withdrawn(&mut self, event: &Withdrawn) {
        self.balance -= event.amount;
    }

    #[query_handler]
    fn balance(&self, _: Balance) -> Funds {
        self.funds()
    }
}

impl BankAccount {
    fn funds(&self) -> Funds {
        Funds { balance: self.balance }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let config = NodeConfig::load()?;
    logs::init(&config.log);
    let node = Node::builder().config(config).aggregate::<BankAccount>().start().await?;
    let address = node.http_address().ok_or("the gateway is off")?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {address}")?;
    out.flush()?;
    std::future::pending().await
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
