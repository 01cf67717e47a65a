//! The aggregate and its first block.

use std::collections::BTreeMap;

use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

use crate::messages::{Cents, Decision, Line, Open, OpenOrder, Opened, OrderError, Paid, Pay, Touch};

/// An order.
#[aggregate(
    name = "order",
    snapshot_every = 50,
    snapshot_bytes = "64KiB",
    snapshots_kept = 3,
    archive = true,
    idempotency_window = 7,
    passivate_after = "10m",
    max_resident = 1000,
    logic_version = 3
)]
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub(crate) prices: BTreeMap<String, Cents>,
    pub(crate) paid: Cents,
    pub(crate) settled: bool,
    pub(crate) looked: u32,
}

/// Known to nobody else.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "looked")]
struct Looked;

#[event_sourced]
impl Order {
    pub(crate) fn left(&self) -> Cents {
        self.prices.values().sum::<Cents>() - self.paid
    }

    #[command_handler]
    fn open(&self, command: OpenOrder) -> Decision<Option<Opened>> {
        if self.settled {
            return Err(OrderError::Settled);
        }
        let prices: BTreeMap<_, _> =
            command.lines.into_iter().map(|Line { item_name, price, .. }| (item_name, price)).collect();
        Ok((!prices.is_empty()).then_some(Opened { prices }))
    }

    /// The reply is seen after the events.
    #[command_handler(reply = self.left(), create = false)]
    fn pay(&self, command: Pay, context: &Context) -> Result<Vec<Paid>, OrderError> {
        if context.version() == 0 || self.settled {
            return Err(OrderError::Settled);
        }
        let whole = Paid { amount: command.amount / 2 };
        Ok(vec![whole, Paid { amount: command.amount - whole.amount }])
    }

    #[command_handler]
    fn touch(&self, _: Touch) -> Looked {
        Looked
    }

    #[cfg(any())]
    #[command_handler]
    fn left_out(&self, _: Missing) -> Gone {}

    #[event_handler]
    fn opened(&mut self, event: &Opened) {
        self.prices.clone_from(&event.prices);
    }

    #[event_handler]
    fn paid(&mut self, event: &Paid) {
        self.paid += event.amount;
    }

    #[event_handler]
    fn looked(&mut self, _: &Looked) {
        self.looked += 1;
    }

    #[query_handler]
    fn still_open(&self, _: Open) -> Cents {
        self.left()
    }
}
