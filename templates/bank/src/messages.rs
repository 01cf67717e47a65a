//! What an account is asked, and what it answers. A field that nobody knows is refused, not dropped: it may be a
//! misspelt one.

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

/// An amount of money, in cents.
pub type Cents = i64;

/// Opens an account, or opens a closed one again.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(id = account, aggregate = "bank-account", reply = Funds, rejection = AccountError)]
pub struct OpenAccount {
    /// The account's name.
    pub account: String,
    /// Whose it is.
    pub owner: String,
}

/// Puts money in.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(id = account, aggregate = "bank-account", reply = Funds, rejection = AccountError)]
pub struct Deposit {
    /// The account's name.
    pub account: String,
    /// How much.
    pub amount: Cents,
}

/// Takes money out.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(id = account, aggregate = "bank-account", reply = Funds, rejection = AccountError)]
pub struct Withdraw {
    /// The account's name.
    pub account: String,
    /// How much.
    pub amount: Cents,
}

/// Pays for an order. However often it is sent, an order is paid once: its number makes a second command a repeat of
/// the first, and a repeat gets the first answer.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(id = account, aggregate = "bank-account", reply = Allocation, rejection = AccountError, idempotent_by(order_no))]
pub struct Allocate {
    /// The account's name.
    pub account: String,
    /// How much.
    pub amount: Cents,
    /// Which order.
    pub order_no: String,
}

/// Closes an account that is empty.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(id = account, aggregate = "bank-account", reply = Funds, rejection = AccountError)]
pub struct CloseAccount {
    /// The account's name.
    pub account: String,
}

/// Asks for the balance.
#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[query(id = account, aggregate = "bank-account", reply = Funds)]
pub struct Balance {
    /// The account's name.
    pub account: String,
}

/// Asks how often the account was used.
#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[query(id = account, aggregate = "bank-account", reply = Counters)]
pub struct Activity {
    /// The account's name.
    pub account: String,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Funds {
    /// What can be spent.
    pub balance: Cents,
}

/// What became of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Allocation {
    /// What can be spent now.
    pub balance: Cents,
    /// What was missing, where the allocation was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Cents>,
}

/// How often an account was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Counters {
    /// How many deposits.
    pub deposits: u64,
    /// How many withdrawals.
    pub withdrawals: u64,
    /// How many orders were paid.
    pub allocations: u64,
    /// How many orders were not paid, for want of money.
    pub refused_allocations: u64,
}

/// Why an account says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum AccountError {
    /// The account is open already.
    AlreadyOpen,
    /// The account is closed.
    NotOpen,
    /// Amounts are positive.
    AmountMustBePositive,
    /// There is less than was asked for.
    InsufficientFunds {
        /// How much less.
        missing: Cents,
    },
    /// There would be more than an account can hold.
    TooMuch,
    /// An account is closed when it is empty.
    NotEmpty {
        /// What is left.
        balance: Cents,
    },
}
