//! What is measured: a small aggregate whose events have about 200 bytes, and messages for it.

use phoenix_runtime::domain::ports::{Seed as _, SplitMix};
use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

/// How many aggregates are hit at random.
pub(crate) const AGGREGATES: u64 = 10_000;

/// After how many events [`Archived`] takes a snapshot.
pub(crate) const SNAPSHOT_EVERY: u64 = match Archived::OPTIONS.snapshot_every {
    Some(events) => events,
    None => 0,
};

/// Brings the event to about 200 bytes of JSON.
const REFERENCE: &str = "invoice 2026-000-481516 of the customer 23-42, booked by the nightly run of the \
     clearing house, approved by two people, paid in full by direct debit";

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
    fn deposit(
        client: &phoenix_runtime::client::Client,
        command: Deposit,
        key: Option<String>,
    ) -> phoenix_runtime::client::ask::Ask<Deposit>;
    /// A query at work, to its answer.
    fn balance(
        client: &phoenix_runtime::client::Client,
        query: Balance,
    ) -> phoenix_runtime::client::query::Question<Balance>;
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
                client: &phoenix_runtime::client::Client,
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
                client: &phoenix_runtime::client::Client,
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

/// Messages, made at random.
pub(crate) struct Messages {
    random: SplitMix,
    keyed: bool,
}

impl Messages {
    /// The same ones for an equal `start`.
    pub(crate) fn new(start: u64, keyed: bool) -> Self {
        Self { random: SplitMix::new(start.wrapping_mul(0x2545_f491_4f6c_dd1d)), keyed }
    }

    /// A command for any aggregate, with a key of its caller where they are wanted.
    pub(crate) fn next(&mut self) -> (Deposit, Option<String>) {
        let key = self.keyed.then(|| format!("{:016x}", self.random.next_u64()));
        (deposit(self.random.next_u64() % AGGREGATES), key)
    }
}

/// A command for this account.
pub(crate) fn deposit(account: u64) -> Deposit {
    Deposit { account: name(account), amount: 100 + account % 7, reference: REFERENCE.to_owned() }
}

/// What became of a command.
pub(crate) fn deposited(command: Deposit, balance: u64) -> Deposited {
    Deposited { amount: command.amount, balance, reference: command.reference }
}

/// The id of this account.
pub(crate) fn name(account: u64) -> String {
    format!("account-{account:07}")
}
