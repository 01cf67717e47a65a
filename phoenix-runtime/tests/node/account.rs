//! The aggregates of these tests: one that can be refused, made to wait and made to panic, and one beside it.

use std::sync::Arc;

use phoenix_runtime::client::ContextClient as _;
use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// Where handlers wait.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// Nobody goes on.
    pub(crate) fn closed() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    /// A handler has come to the gate.
    pub(crate) async fn arrived(&self) {
        self.arrived.acquire().await.expect("never taken away").forget();
    }

    async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open.acquire().await.expect("never taken away").forget();
    }

    /// Everybody goes on.
    pub(crate) fn open(&self) {
        self.open.add_permits(1000);
    }
}

/// Why an account refuses.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) enum Refusal {
    /// There is less.
    Short {
        /// By so much.
        by: u64,
    },
}

/// Opens an account.
#[derive(Command, Serialize, Deserialize)]
#[command(id = account, name = "open")]
pub(crate) struct OpenAccount {
    /// Which.
    pub(crate) account: String,
}

/// Puts money in.
#[derive(Command, Serialize, Deserialize)]
#[command(id = account, reply = u64)]
pub(crate) struct Deposit {
    /// Which.
    pub(crate) account: String,
    /// How much.
    pub(crate) amount: u64,
}

/// What a deposit was called before.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "pay-in", id = account)]
pub(crate) struct PayIn {
    account: String,
    amount: u64,
}

impl From<PayIn> for Deposit {
    fn from(PayIn { account, amount }: PayIn) -> Self {
        Self { account, amount }
    }
}

/// A deposit as it was before: in whole euros.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "deposit", id = account)]
pub(crate) struct DepositV1 {
    account: String,
    euros: u32,
}

impl From<DepositV1> for Deposit {
    fn from(DepositV1 { account, euros }: DepositV1) -> Self {
        Self { account, amount: u64::from(euros) * 100 }
    }
}

/// Takes money out.
#[derive(Command, Serialize, Deserialize)]
#[command(id = account, reply = u64, rejection = Refusal)]
pub(crate) struct Withdraw {
    /// Which.
    pub(crate) account: String,
    /// How much.
    pub(crate) amount: u64,
}

/// Waits for the gate.
#[derive(Command, Serialize, Deserialize)]
#[command(id = account, reply = u64)]
pub(crate) struct Linger {
    /// Which.
    pub(crate) account: String,
}

/// Asks itself.
#[derive(Command, Serialize, Deserialize)]
#[command(id = account, reply = String)]
pub(crate) struct AskItself {
    /// Which.
    pub(crate) account: String,
}

/// Panics.
#[derive(Command, Serialize, Deserialize)]
#[command(id = account)]
pub(crate) struct Explode {
    /// Which.
    pub(crate) account: String,
}

/// Asks for the balance.
#[derive(Query, Serialize, Deserialize)]
#[query(id = account, reply = u64)]
pub(crate) struct Balance {
    /// Which.
    pub(crate) account: String,
}

/// It is open.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "opened")]
pub(crate) struct Opened;

/// The balance has changed.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "changed")]
pub(crate) struct Changed {
    /// To this.
    pub(crate) to: u64,
}

/// An account.
#[aggregate(name = "account")]
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    balance: u64,
}

#[event_sourced]
impl Account {
    #[command_handler]
    fn open(&self, _: OpenAccount) -> Opened {
        Opened
    }

    #[command_handler(reply = self.balance)]
    fn deposit(&self, command: Deposit) -> Changed {
        Changed { to: self.balance + command.amount }
    }

    #[command_handler(reply = self.balance, create = false)]
    fn withdraw(&self, command: Withdraw) -> Result<Changed, Refusal> {
        let left = self.balance.checked_sub(command.amount);
        left.map(|to| Changed { to }).ok_or(Refusal::Short { by: command.amount - self.balance })
    }

    #[command_handler(reply = self.balance, uses(Gate))]
    async fn linger(&self, _: Linger, context: &Context) -> Option<Changed> {
        if let Some(gate) = context.resource::<Gate>() {
            eprintln!("lingering");
            gate.pass().await;
        }
        None
    }

    #[command_handler]
    async fn ask_itself(&self, command: AskItself, context: &Context) -> Reply<String> {
        let answer = match context.client() {
            Some(client) => client.of::<Self>().ask(Deposit { account: command.account, amount: 1 }).await,
            None => Ok(0),
        };
        Reply(answer.err().map_or_else(String::new, |error| error.code().to_string()))
    }

    #[command_handler]
    fn explode(&self, _: Explode) {
        panic!("boom");
    }

    #[event_handler]
    fn opened(&mut self, _: &Opened) {}

    #[event_handler]
    fn changed(&mut self, event: &Changed) {
        self.balance = event.to;
    }

    #[query_handler]
    fn balance(&self, _: Balance) -> u64 {
        self.balance
    }
}

/// Opens a vault, under the name that accounts have for it as well.
#[derive(Command, Serialize, Deserialize)]
#[command(id = vault, name = "open")]
pub(crate) struct OpenVault {
    /// Which.
    pub(crate) vault: String,
}

/// A vault.
#[aggregate(name = "vault")]
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Vault {}

#[event_sourced]
impl Vault {
    #[command_handler]
    fn open(&self, _: OpenVault) -> Opened {
        Opened
    }

    #[event_handler]
    fn opened(&mut self, _: &Opened) {}
}
