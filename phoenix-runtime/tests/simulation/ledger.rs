//! The aggregate of the simulation: every kind of handler, and replies from which the durable state can be told.

use std::collections::BTreeMap;
use std::time::Duration;

use phoenix_runtime::domain::message::Rejection;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::simulation::Simulation;
use serde::{Deserialize, Serialize};

/// The longest command, event or reply that the simulated engines take.
pub const MAX_BYTES: usize = 2000;

#[aggregate(name = "ledger", snapshot_every = 3, idempotency_window = 3, max_resident = 3)]
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub balance: i64,
    pub entries: u64,
    pub by_op: BTreeMap<u64, i64>,
}

/// What every reply tells: balance and number of entries after the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Standing {
    pub balance: i64,
    pub entries: u64,
}

impl Ledger {
    pub fn standing(&self) -> Standing {
        Standing { balance: self.balance, entries: self.entries }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum Refused {
    Short(Standing),
}
const _: fn() = || {
    fn is<T: Rejection>() {}
    is::<Refused>();
};

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub struct Deposit {
    pub ledger: String,
    pub op: u64,
    pub amount: i64,
}

/// Only for a ledger that is there.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub struct TopUp {
    pub ledger: String,
    pub op: u64,
    pub amount: i64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing, rejection = Refused)]
pub struct Withdraw {
    pub ledger: String,
    pub op: u64,
    pub amount: i64,
}

/// Several events at once, or none.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub struct Split {
    pub ledger: String,
    pub op: u64,
    pub parts: u64,
}

/// Waits before it decides.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub struct Later {
    pub ledger: String,
    pub op: u64,
    pub amount: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum Harm {
    PanicInDecide,
    PanicInEvolve,
    TooLarge,
}

/// Does harm.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = ledger, reply = Standing)]
pub struct DoHarm {
    pub ledger: String,
    pub op: u64,
    pub harm: Harm,
}

#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[query(id = ledger, reply = Standing)]
pub struct Look {
    pub ledger: String,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "entered")]
pub struct Entered {
    pub op: u64,
    pub amount: i64,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "harmed")]
pub struct Harmed {
    pub text: String,
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
