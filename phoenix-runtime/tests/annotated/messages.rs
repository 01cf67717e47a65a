//! Messages, as a crate that callers share would have them.

use std::collections::BTreeMap;

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

/// Money.
pub type Cents = i64;

/// The usual result of a handler.
pub type Decision<T> = Result<T, OrderError>;

/// Why an order refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
pub enum OrderError {
    /// It is settled already.
    Settled,
    /// So much is missing.
    Short {
        /// The part of it.
        by: Cents,
    },
}

/// Which order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Route {
    /// The desk.
    pub desk: u16,
    /// The number at the desk.
    pub number: String,
}

/// Opens an order.
#[derive(Command, Serialize, Deserialize)]
#[command(id = order, aggregate = "order", rejection = OrderError)]
pub struct OpenOrder {
    /// Which.
    pub order: String,
    /// What it says.
    pub lines: Vec<Line>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What is ordered.
    pub item_name: String,
    /// What it costs.
    #[serde(rename = "cents", default)]
    pub price: Cents,
    /// Never written.
    #[serde(skip)]
    pub note: Option<std::time::Instant>,
}

/// Pays a part.
#[derive(Command, Serialize, Deserialize)]
#[command(id(route.desk, route.number), reply = Cents, rejection = OrderError, idempotent_by(payment, route.desk))]
pub struct Pay {
    /// Which order.
    pub route: Route,
    /// How much.
    pub amount: Cents,
    /// Makes two the same.
    pub payment: u64,
}

/// Settles what is paid.
#[derive(Command, Serialize, Deserialize)]
#[command(id = route.number, name = "settle", reply = Receipt, rejection = OrderError)]
pub struct SettleOrder {
    /// Which order.
    pub route: Route,
}

/// Corrects the amount after asking somebody.
#[derive(Command, Serialize, Deserialize)]
#[command(id = 0, reply = Cents)]
pub struct Correct(pub String, pub Cents);

/// Does nothing.
#[derive(Command, Serialize, Deserialize)]
#[command(id = order)]
pub struct Touch {
    /// Which.
    pub order: String,
}

/// What the payer gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Receipt {
    /// Paid.
    pub paid: Cents,
}

/// What is left to pay.
#[derive(Query, Serialize, Deserialize)]
#[query(id = order, reply = Cents, aggregate = "order")]
pub struct Open {
    /// Which.
    pub order: String,
}

/// An order was opened.
#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "order-opened")]
pub struct Opened {
    /// What it costs, by item.
    pub prices: BTreeMap<String, Cents>,
}

/// The first form of [`Paid`].
#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "payment")]
pub struct Payment {
    /// In whole units.
    pub units: Cents,
}

/// The second form of [`Paid`].
#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "paid", upcast_from = Payment)]
pub struct PaidV1(pub Cents);

impl From<Payment> for PaidV1 {
    fn from(old: Payment) -> Self {
        Self(old.units * 100)
    }
}

/// A part was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "paid", version = 3, upcast_from = PaidV1)]
pub struct Paid {
    /// How much.
    pub amount: Cents,
}

impl From<PaidV1> for Paid {
    fn from(old: PaidV1) -> Self {
        Self { amount: old.0 }
    }
}

/// All was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "order-settled")]
pub struct Settled;

/// How a correction ends.
#[derive(Debug, Events)]
pub enum Corrected {
    /// By a payment.
    Paid(Paid),
    /// By the end.
    Settled(Settled),
    /// Not at all.
    Nothing,
}
