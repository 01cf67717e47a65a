//! cqrs-es with postgres-es: an account as its documentation writes aggregates, behind the pool that it makes.

use std::sync::Arc;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateError, DomainEvent};
use phoenix_bench::messages::{amount, name};
use phoenix_bench::{LoadError, Message, REFERENCE, Target};
use postgres_es::{PostgresCqrs, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

/// The table of postgres-es, from its `db/init.sql`.
pub(crate) const TABLE: &str = "CREATE TABLE events (
    aggregate_type text                         NOT NULL,
    aggregate_id   text                         NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text                         NOT NULL,
    event_version  text                         NOT NULL,
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
)";

/// The aggregate.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
    deposits: u64,
}

/// Puts money on it.
#[derive(Debug, Clone)]
struct Deposit {
    amount: u64,
    reference: String,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Deposited { amount: u64, balance: u64, reference: String },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        "deposited".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = Deposit;
    type Event = Event;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(&mut self, command: Deposit, (): &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
        let balance = self.balance.wrapping_add(command.amount);
        let event = Event::Deposited { amount: command.amount, balance, reference: command.reference };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        let Event::Deposited { balance, .. } = event;
        self.balance = balance;
        self.deposits += 1;
    }
}

/// The framework, ready to take deposits.
#[derive(Clone)]
pub(crate) struct Cqrs(Arc<PostgresCqrs<Account>>);

impl Cqrs {
    pub(crate) fn over(pool: PgPool) -> Self {
        Self(Arc::new(postgres_cqrs(pool, Vec::new(), ())))
    }
}

impl Target for Cqrs {
    async fn deposit(&self, Message { account, .. }: Message) -> Result<(), LoadError> {
        let (id, amount) = (name(account), amount(account));
        loop {
            let command = Deposit { amount, reference: REFERENCE.to_owned() };
            match self.0.execute(&id, command).await {
                Ok(()) => return Ok(()),
                // two at once for one aggregate: its users are told to send the later one again
                Err(AggregateError::AggregateConflict) => {}
                Err(error) => return Err(LoadError::Command(error.to_string())),
            }
        }
    }
}
