//! How an account decides, and how events change it.

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

use crate::events::{
    AccountClosed, AccountOpened, Allocated, AllocationDecided, AllocationRefused, Deposited,
    Withdrawn,
};
use crate::messages::{
    AccountError, Activity, Allocate, Allocation, Balance, Cents, CloseAccount, Counters, Deposit,
    Funds, OpenAccount, Withdraw,
};

/// An account: what its events have made of it.
#[aggregate(name = "bank-account", snapshot_every = 1000, passivate_after = "10m")]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct BankAccount {
    owner: Option<String>,
    balance: Cents,
    counters: Counters,
}

impl BankAccount {
    /// What there is.
    #[must_use]
    pub fn funds(&self) -> Funds {
        Funds {
            balance: self.balance,
        }
    }

    /// Money can be moved: the account is open, and the amount makes sense.
    fn check(&self, amount: Cents) -> Result<(), AccountError> {
        if self.owner.is_none() {
            return Err(AccountError::NotOpen);
        }
        if amount <= 0 {
            return Err(AccountError::AmountMustBePositive);
        }
        Ok(())
    }

    /// How much less than this there is.
    fn missing(&self, amount: Cents) -> Option<Cents> {
        (amount > self.balance).then(|| amount - self.balance)
    }
}

/// Decides: reads the state and says what happens, and changes nothing.
#[event_sourced]
impl BankAccount {
    #[command_handler(reply = self.funds())]
    fn open(&self, command: OpenAccount) -> Result<AccountOpened, AccountError> {
        match self.owner {
            Some(_) => Err(AccountError::AlreadyOpen),
            None => Ok(AccountOpened {
                owner: command.owner,
            }),
        }
    }

    #[command_handler(create = false, reply = self.funds())]
    fn deposit(&self, command: Deposit) -> Result<Deposited, AccountError> {
        self.check(command.amount)?;
        match self.balance.checked_add(command.amount) {
            Some(_) => Ok(Deposited {
                amount: command.amount,
            }),
            None => Err(AccountError::TooMuch),
        }
    }

    #[command_handler(create = false, reply = self.funds())]
    fn withdraw(&self, command: Withdraw) -> Result<Withdrawn, AccountError> {
        self.check(command.amount)?;
        match self.missing(command.amount) {
            Some(missing) => Err(AccountError::InsufficientFunds { missing }),
            None => Ok(Withdrawn {
                amount: command.amount,
            }),
        }
    }

    // a refusal is an event here, so the reply is fixed beside the events instead of computed from the state
    #[command_handler(create = false)]
    fn allocate(
        &self,
        command: Allocate,
    ) -> Result<(AllocationDecided, Reply<Allocation>), AccountError> {
        self.check(command.amount)?;
        let Allocate {
            amount, order_no, ..
        } = command;
        let missing = self.missing(amount);
        let (decided, balance) = match missing {
            Some(missing) => (
                AllocationDecided::Refused(AllocationRefused { order_no, missing }),
                self.balance,
            ),
            None => (
                AllocationDecided::Allocated(Allocated { order_no, amount }),
                self.balance - amount,
            ),
        };
        Ok((decided, Reply(Allocation { balance, missing })))
    }

    #[command_handler(create = false, reply = self.funds())]
    fn close(&self, _: CloseAccount) -> Result<AccountClosed, AccountError> {
        match (&self.owner, self.balance) {
            (None, _) => Err(AccountError::NotOpen),
            (Some(_), 0) => Ok(AccountClosed),
            (Some(_), balance) => Err(AccountError::NotEmpty { balance }),
        }
    }
}

/// Evolves: applies what has happened, whether it happened just now or years ago.
#[event_sourced(part = 2)]
impl BankAccount {
    #[event_handler]
    fn opened(&mut self, event: &AccountOpened) {
        self.owner = Some(event.owner.clone());
    }

    #[event_handler]
    fn deposited(&mut self, event: &Deposited) {
        self.balance += event.amount;
        self.counters.deposits += 1;
    }

    #[event_handler]
    fn withdrawn(&mut self, event: &Withdrawn) {
        self.balance -= event.amount;
        self.counters.withdrawals += 1;
    }

    #[event_handler]
    fn allocated(&mut self, event: &Allocated) {
        self.balance -= event.amount;
        self.counters.allocations += 1;
    }

    #[event_handler]
    fn refused(&mut self, _: &AllocationRefused) {
        self.counters.refused_allocations += 1;
    }

    #[event_handler]
    fn closed(&mut self, _: &AccountClosed) {
        self.owner = None;
    }
}

/// Tells: reads the state.
#[event_sourced(part = 3)]
impl BankAccount {
    #[query_handler]
    fn balance(&self, _: Balance) -> Funds {
        self.funds()
    }

    #[query_handler]
    fn activity(&self, _: Activity) -> Counters {
        self.counters
    }
}
