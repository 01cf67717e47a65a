//! The orders of the clients. Each is a function of the seed, so that any client can repeat any order of any other.

use crate::lot::Lot;

/// How many accounts there are: few enough for clients to meet, more than the service keeps in memory.
pub(crate) const ACCOUNTS: u64 = 16;

/// A command with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) account: String,
    /// What it adds to the balance, in cents: a withdrawal has a minus.
    pub(crate) change: i64,
}

impl Order {
    /// The `number`th order of a client.
    pub(crate) fn of(seed: u64, client: u64, number: u64) -> Self {
        let mut lot = Lot::new(seed, &[1, client, number]);
        let account = account(lot.below(ACCOUNTS));
        // withdrawals are as much as deposits all in all, so that accounts run dry and many are refused
        let change =
            if lot.one_in(4) { -lot.below(40_000).cast_signed() - 1 } else { lot.below(10_000).cast_signed() + 1 };
        Self { key: format!("client-{client}-order-{number}"), account, change }
    }

    /// Where it is posted.
    pub(crate) fn path(&self) -> &'static str {
        if self.change < 0 { "/commands/bank-account/withdraw" } else { "/commands/bank-account/deposit" }
    }

    /// What is posted.
    pub(crate) fn json(&self) -> String {
        format!("{{\"account\":\"{}\",\"amount\":{}}}", self.account, self.change.abs())
    }
}

/// The name of an account.
pub(crate) fn account(number: u64) -> String {
    format!("account-{number}")
}
