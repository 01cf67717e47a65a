//! The aggregate of the simulation: every kind of handler, and replies from which the durable state can be told.

use std::collections::BTreeMap;
use std::time::Duration;

use phoenix_runtime::domain::message::Rejection;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::simulation::Simulation;
use serde::{Deserialize, Serialize};

/// The longest command, event or reply that the simulated engines take.
pub(crate) const MAX_BYTES: usize = 2000;

#[aggregate(
    name = "ledger",
    snapshot_every = 3,
    snapshot_bytes = "80B",
    archive = true,
    idempotency_window = 3,
    max_resident = 3
)]
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) balance: i64,
    pub(crate) entries: u64,
    pub(crate) by_op: BTreeMap<u64, i64>,
}

/// What every reply tells: balance and number of entries after the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) struct Standing {
    pub(crate) balance: i64,
    pub(crate) entries: u64,
}

impl Ledger {
    pub(crate) fn standing(&self) -> Standing {
        Standing { balance: self.balance, entries: self.entries }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) enum Refused {
    Short(Standing),
}
const _: fn() = || {
    fn is<T: Rejection>() {}
    is::<Refused>();
};

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub(crate) struct Deposit {
    pub(crate) ledger: String,
    pub(crate) op: u64,
    pub(crate) amount: i64,
}

/// Only for a ledger that is there.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub(crate) struct TopUp {
    pub(crate) ledger: String,
    pub(crate) op: u64,
    pub(crate) amount: i64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing, rejection = Refused)]
pub(crate) struct Withdraw {
    pub(crate) ledger: String,
    pub(crate) op: u64,
    pub(crate) amount: i64,
}

/// Several events at once, or none.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub(crate) struct Split {
    pub(crate) ledger: String,
    pub(crate) op: u64,
    pub(crate) parts: u64,
}

/// Waits before it decides.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub(crate) struct Later {
    pub(crate) ledger: String,
    pub(crate) op: u64,
    pub(crate) amount: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) enum Harm {
    PanicInDecide,
    PanicInEvolve,
    TooLarge,
}

/// Does harm.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub(crate) struct DoHarm {
    pub(crate) ledger: String,
    pub(crate) op: u64,
    pub(crate) harm: Harm,
}

#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[query(id = ledger, reply = Standing)]
pub(crate) struct Look {
    pub(crate) ledger: String,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "entered")]
pub(crate) struct Entered {
    pub(crate) op: u64,
    pub(crate) amount: i64,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "harmed")]
pub(crate) struct Harmed {
    pub(crate) text: String,
}

#[event_sourced]
impl Ledger {
    #[command_handler(reply = self.standing())]
    fn deposit(&self, command: Deposit) -> Entered {
        Entered { op: command.op, amount: command.amount }
    }

    #[command_handler(reply = self.standing(), create = false)]
    fn top_up(&self, command: TopUp) -> Entered {
        Entered { op: command.op, amount: command.amount }
    }

    #[command_handler]
    fn withdraw(&self, command: Withdraw) -> Result<(Entered, Reply<Standing>), Refused> {
        if command.amount > self.balance {
            return Err(Refused::Short(self.standing()));
        }
        let reply = Standing { balance: self.balance - command.amount, entries: self.entries + 1 };
        Ok((Entered { op: command.op, amount: -command.amount }, Reply(reply)))
    }

    #[command_handler(reply = self.standing())]
    fn split(&self, command: Split) -> Vec<Entered> {
        (0..command.parts).map(|_| Entered { op: command.op, amount: 1 }).collect()
    }

    #[command_handler(reply = self.standing(), uses(Simulation))]
    async fn later(&self, command: Later, context: &Context) -> Entered {
        if let Some(world) = context.resource::<Simulation>() {
            let pause = Duration::from_micros(world.below(3000));
            world.sleep(pause).await;
        }
        Entered { op: command.op, amount: command.amount }
    }

    #[command_handler(reply = self.standing())]
    fn harm(&self, command: DoHarm) -> (Entered, Harmed) {
        assert!(command.harm != Harm::PanicInDecide, "asked for");
        let text = if command.harm == Harm::TooLarge { "x".repeat(MAX_BYTES + 1) } else { String::new() };
        (Entered { op: command.op, amount: 1000 }, Harmed { text })
    }

    #[event_handler]
    fn entered(&mut self, event: &Entered) {
        self.balance += event.amount;
        self.entries += 1;
        *self.by_op.entry(event.op).or_default() += event.amount;
    }

    #[event_handler]
    fn harmed(&mut self, event: &Harmed) {
        assert!(!event.text.is_empty(), "asked for");
    }

    #[query_handler]
    fn look(&self, _: Look) -> Standing {
        self.standing()
    }
}
