//! What is measured: a store, and what its medium can do without Phoenix.
//!
//! # Layout
//! - [`named`]: stores as the command line names them
//! - [`memory`], [`sqlite`], [`log`], [`postgres`], [`mysql`]: one store each
//! - [`server`]: addresses of servers, and the databases that are made there
//! - [`race`]: connections that insert batches side by side

mod log;
mod memory;
mod mysql;
mod named;
mod postgres;
mod race;
mod server;
mod sqlite;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use phoenix_bench::Seen;
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::EventStore;

pub(crate) use self::named::{Kind, Named};
pub(crate) use self::race::Rows;
use super::error::BenchError;

/// One of the stores that a subject has at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Made anew for each measurement.
    Fresh,
    /// Has events stored beforehand.
    Grown,
    /// Is read only.
    Cold,
}

impl Place {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Fresh, Self::Grown, Self::Cold];

    fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Grown => "grown",
            Self::Cold => "cold",
        }
    }
}

/// A bare loop over the rows that the engine wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loop {
    /// Rows that the engine wrote.
    pub(crate) rows: usize,
    /// Rows of each transaction.
    pub(crate) batch: usize,
    /// Whether one row is awaited before the next is sent.
    pub(crate) alone: bool,
    /// It ends sooner if the rows do.
    pub(crate) at_most: Duration,
}

/// What a bare loop came to.
pub(crate) struct Bare {
    pub(crate) what: String,
    pub(crate) seen: Seen,
    /// Time of a core for each row, of this process alone.
    pub(crate) cpu_micros: Option<f64>,
}

/// A store to be measured.
pub(crate) trait Subject: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> Kind;

    /// Sees whether its server is there, and asks for its durability settings.
    fn prepare(&mut self) -> BoxFuture<'_, Result<(), BenchError>> {
        Box::pin(ready(Ok(())))
    }

    /// What its server says about durability, where there is one.
    fn settings(&self) -> Option<&str> {
        None
    }

    /// Opens the store of a place, and makes it where there is none.
    fn open(&self, place: Place) -> BoxFuture<'_, Result<Arc<dyn EventStore>, BenchError>>;

    /// Removes the store of a place, if it is there; nobody has it open.
    fn remove(&self, place: Place) -> BoxFuture<'_, Result<(), BenchError>>;

    /// Inserts the rows of the fresh store into a new table of the same columns and indexes. `None` where there is
    /// nothing below the store that could be measured.
    fn bare(&self, _: Loop) -> BoxFuture<'_, Result<Option<Bare>, BenchError>> {
        Box::pin(ready(Ok(None)))
    }

    /// The rows of the fresh store in batches of so many, and connections to a new table of the same columns and indexes.
    /// `None` where nobody can insert them from outside.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only loops over a bus need it"))]
    fn rows(&self, _: usize) -> BoxFuture<'_, Result<Option<Rows>, BenchError>> {
        Box::pin(ready(Ok(None)))
    }

    /// The same as [`Subject::bare`] without each index of the table, and without any.
    fn without_indexes(&self, _: Loop) -> BoxFuture<'_, Result<Vec<Bare>, BenchError>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}
