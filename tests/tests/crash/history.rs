//! What the clients saw, and what there is in the end.

use std::collections::BTreeMap;

use crate::plan::Order;

/// A point in an order that all clients agree on: what ended at a smaller one than another began was over by then.
pub(crate) type Tick = u64;

/// What the clients did and saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) readings: Vec<Reading>,
}

/// An order was sent.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) order: Order,
    pub(crate) began: Tick,
    /// `None`: nobody knows whether it was done.
    pub(crate) answer: Option<Answer>,
    /// When a bus had acknowledged it, if its sender waited for that only: it is to be done some time.
    pub(crate) accepted: Option<Tick>,
}

/// An order was answered: it was done, or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) ended: Tick,
    pub(crate) status: u16,
    /// Whether it is marked as the answer to an earlier attempt.
    pub(crate) replayed: bool,
    pub(crate) body: String,
}

/// A query was answered.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) account: String,
    pub(crate) began: Tick,
    pub(crate) ended: Tick,
    pub(crate) version: u64,
    pub(crate) balance: i64,
}

/// What is stored in the end, by account.
pub(crate) type Ledger = BTreeMap<String, Account>;

/// The events of an account, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) entries: Vec<Entry>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    /// The key of its command.
    pub(crate) key: String,
    pub(crate) change: i64,
}

impl History {
    /// Several clients' as one.
    pub(crate) fn merge(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().fold(Self::default(), |mut all, part| {
            all.attempts.extend(part.attempts);
            all.readings.extend(part.readings);
            all
        })
    }

    /// The orders that were answered, or accepted, each once.
    pub(crate) fn promised(&self) -> Vec<Order> {
        let promised = self.attempts.iter().filter(|attempt| attempt.answer.is_some() || attempt.accepted.is_some());
        let by_key: BTreeMap<_, _> = promised.map(|attempt| (&attempt.order.key, &attempt.order)).collect();
        by_key.into_values().cloned().collect()
    }
}

impl Account {
    /// The balance after the event of this version.
    pub(crate) fn balance_at(&self, version: u64) -> i64 {
        self.entries.iter().take_while(|entry| entry.version <= version).map(|entry| entry.change).sum()
    }

    /// The version of the last event.
    pub(crate) fn version(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.version)
    }
}
