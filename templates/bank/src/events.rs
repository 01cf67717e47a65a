//! What has happened to an account. Events are stored for ever: a name stays, and a new field is a new version.

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

use crate::messages::Cents;

/// The account was opened.
#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "account-opened")]
pub struct AccountOpened {
    /// Whose it is.
    pub owner: String,
}

/// Money came in.
#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "deposited")]
pub struct Deposited {
    /// How much.
    pub amount: Cents,
}

/// Money went out.
#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "withdrawn")]
pub struct Withdrawn {
    /// How much.
    pub amount: Cents,
}

/// An order was paid.
#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "allocated")]
pub struct Allocated {
    /// Which.
    pub order_no: String,
    /// With how much.
    pub amount: Cents,
}

/// An order was not paid, for want of money. The bank counts these, so it is an event: a rejection leaves none.
#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "allocation-refused")]
pub struct AllocationRefused {
    /// Which.
    pub order_no: String,
    /// How much was missing.
    pub missing: Cents,
}

/// The account was closed.
#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "account-closed")]
pub struct AccountClosed;

/// What an allocation leads to.
#[derive(Debug, Clone, PartialEq, Eq, Events)]
pub enum AllocationDecided {
    /// There was enough.
    Allocated(Allocated),
    /// There was not.
    Refused(AllocationRefused),
}
