//! What is measured: a small aggregate whose events have about 200 bytes, and messages for it.

use phoenix_bench::messages::{amount, name};
use phoenix_bench::{LoadError, Message, REFERENCE, Target};
use phoenix_runtime::client::Client;
use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

/// After how many events [`Archived`] takes a snapshot.
pub(crate) const SNAPSHOT_EVERY: u64 = match Archived::OPTIONS.snapshot_every {
    Some(events) => events,
    None => 0,
};

/// Puts money on an account.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = account, reply = u64)]
pub(crate) struct Deposit {
    pub(crate) account: String,
    pub(crate) amount: u64,
    pub(crate) reference: String,
}

/// Money was put on an account.
#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "deposited")]
pub(crate) struct Deposited {
    amount: u64,
    balance: u64,
    reference: String,
}

/// Asks for the balance.
#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[query(id = account, reply = u64)]
pub(crate) struct Balance {
    pub(crate) account: String,
}

/// An aggregate that is measured.
pub(crate) trait Measured: Aggregate {
    /// A command at work, to its reply.
    fn deposit(client: &Client, command: Deposit, key: Option<String>) -> phoenix_runtime::client::ask::Ask<Deposit>;
    /// A query at work, to its answer.
    fn balance(client: &Client, query: Balance) -> phoenix_runtime::client::query::Question<Balance>;
}

macro_rules! measured {
    ($(#[$doc:meta])* $name:ident, $wire:literal, $snapshots:tt) => {
        $(#[$doc])*
        #[aggregate(name = $wire, snapshot_every = $snapshots)]
        #[derive(Debug, Default, Serialize, Deserialize)]
        pub(crate) struct $name {
            balance: u64,
            deposits: u64,
        }

        #[event_sourced]
        impl $name {
            #[command_handler(reply = self.balance)]
            fn deposit(&self, command: Deposit) -> Deposited {
                let balance = self.balance.wrapping_add(command.amount);
                deposited(command, balance)
            }

            #[event_handler]
            fn deposited(&mut self, event: &Deposited) {
                self.balance = event.balance;
                self.deposits += 1;
            }

            #[query_handler]
            fn balance(&self, _: Balance) -> u64 {
                self.balance
            }
        }

        impl Measured for $name {
            fn deposit(
                client: &Client,
                command: Deposit,
                key: Option<String>,
            ) -> phoenix_runtime::client::ask::Ask<Deposit> {
                let ask = client.of::<Self>().ask(command);
                match key {
                    Some(key) => ask.idempotency_key(key),
                    None => ask,
                }
            }

            fn balance(
                client: &Client,
                query: Balance,
            ) -> phoenix_runtime::client::query::Question<Balance> {
                client.of::<Self>().query(query)
            }
        }
    };
}

measured!(
    /// Never takes a snapshot: nothing but events is written.
    Account,
    "account",
    never
);
measured!(
    /// Takes a snapshot every hundred events.
    Archived,
    "archived-account",
    100
);

/// Accounts that take deposits.
#[derive(Clone)]
pub(crate) struct Accounts(pub(crate) Client);

impl Target for Accounts {
    async fn deposit(&self, Message { account, key }: Message) -> Result<(), LoadError> {
        match <Account as Measured>::deposit(&self.0, deposit(account), key).await {
            Ok(_) => Ok(()),
            Err(error) => Err(LoadError::Command(error.to_string())),
        }
    }
}

/// A command for this account.
pub(crate) fn deposit(account: u64) -> Deposit {
    Deposit { account: name(account), amount: amount(account), reference: REFERENCE.to_owned() }
}

/// What became of a command.
pub(crate) fn deposited(command: Deposit, balance: u64) -> Deposited {
    Deposited { amount: command.amount, balance, reference: command.reference }
}
