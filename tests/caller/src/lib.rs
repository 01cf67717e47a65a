//! What a program does that calls the shelves of a warehouse over a bus: it knows their messages and
//! their types, and no service.
#![deny(warnings, missing_docs)]

mod shelf;

use std::sync::Arc;

use phoenix_runtime::bus::rdkafka::{RdKafkaBus, RdKafkaOptions};
use phoenix_runtime::bus::{Bus, BusError};
use phoenix_runtime::client::door::Receipt;
use phoenix_runtime::client::remote::{Remote, RemoteOptions, Replies};
use phoenix_runtime::prelude::*;
use phoenix_test_messages::{Count, Pieces, Put, Take, TooFew};

pub use crate::shelf::{Changed, Shelf};

/// The topic of the warehouse's commands.
pub const TOPIC: &str = "warehouse";

/// A hall's letter and a shelf's number.
pub type Place = (char, u16);

/// The way to the shelves.
#[derive(Debug, Clone)]
pub struct Warehouse(Remote);

impl Warehouse {
    /// Over Kafka.
    ///
    /// # Errors
    /// Brokers that do not answer, and topics that are not there.
    pub async fn connect(brokers: Vec<String>, name: &str) -> Result<Self, BusError> {
        Self::over(Arc::new(RdKafkaBus::connect(brokers, RdKafkaOptions::default()).await?), name).await
    }

    /// Over a bus. The name is that of this program alone: replies come to a topic of it.
    ///
    /// # Errors
    /// As [`Warehouse::connect`].
    pub async fn over(bus: Arc<dyn Bus>, name: &str) -> Result<Self, BusError> {
        let options = RemoteOptions::new(TOPIC, Replies::Topic(format!("replies.{name}").into()));
        Remote::connect(bus, options).await.map(Self)
    }

    /// Puts pieces on a shelf; ready when the bus has it.
    ///
    /// # Errors
    /// A bus that does not take it.
    pub async fn put(&self, place: Place, pieces: Pieces) -> Result<Receipt, Fault> {
        self.0.of::<Shelf>().tell(Put { hall: place.0, shelf: place.1, pieces }).await
    }

    /// Takes pieces from a shelf; how many are left.
    ///
    /// # Errors
    /// Too few pieces, and faults.
    pub async fn take(&self, place: Place, pieces: Pieces, order: &str) -> Result<Pieces, AskError<TooFew>> {
        self.0.of::<Shelf>().ask(Take { hall: place.0, shelf: place.1, pieces, order: order.to_owned() }).await
    }

    /// How many pieces are on a shelf, asked by the message alone.
    ///
    /// # Errors
    /// A shelf that nothing was ever put on, and faults.
    pub async fn count(&self, place: Place) -> Result<Pieces, QueryError> {
        self.0.query(Count { hall: place.0, shelf: place.1 }).await
    }
}
