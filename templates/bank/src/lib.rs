//! Accounts that take deposits, withdrawals and allocations to orders.
//!
//! - [`messages`]: what an account is asked and answers; other services may depend on it
//! - [`events`]: what has happened to an account; stored for ever
//! - [`account`]: how an account decides

pub mod account;
pub mod events;
pub mod messages;

pub use account::BankAccount;
