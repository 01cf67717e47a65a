//! What an event store is: a suite that every adapter of [`EventStore`] passes unchanged.
//!
//! An adapter brings a [`StoreFactory`] and calls [`run_all`] inside a tokio runtime.

mod appends;
pub mod archives;
mod concurrency;
mod conflicts;
mod durability;
mod fences;
mod fixture;
mod letters;
mod pages;
mod reads;
mod retention;

use std::fmt;
use std::sync::Arc;

use crate::domain::ports::BoxFuture;
use crate::event_store::port::{EventStore, StoreError};

/// Opens stores for the suite.
pub trait StoreFactory: Send + Sync {
    /// Opens the store of this name: empty the first time; later, after all handles of the one before were dropped,
    /// a durable store has what was stored. A store that is not durable may be empty each time.
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn EventStore>, StoreError>>;
}

/// One promise of an event store.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    run: for<'a> fn(Place<'a>) -> BoxFuture<'a, Result<(), Failure>>,
}

/// Where a case finds its store.
#[derive(Clone, Copy)]
struct Place<'a> {
    factory: &'a dyn StoreFactory,
    name: &'static str,
}

impl Place<'_> {
    async fn open(self) -> Result<Arc<dyn EventStore>, Failure> {
        Ok(self.factory.open(self.name).await?)
    }
}

impl Case {
    /// What is promised, in words joined by underscores.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it on a store of its own.
    ///
    /// # Errors
    /// The first thing that is not as promised.
    pub async fn run(&self, factory: &dyn StoreFactory) -> Result<(), Failure> {
        (self.run)(Place { factory, name: self.name }).await
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a store did against a promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl From<StoreError> for Failure {
    #[track_caller]
    fn from(error: StoreError) -> Self {
        let at = std::panic::Location::caller();
        Self(format!("{}:{}: {error}: {error:?}", at.file(), at.line()))
    }
}

/// The cases that a store does not pass, each with what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures(pub Vec<(&'static str, Failure)>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} promises of an event store are not kept", self.0.len())?;
        self.0.iter().try_for_each(|(name, failure)| write!(f, "\n- {name}: {failure}"))
    }
}

impl std::error::Error for Failures {}

/// Every case of the suite.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        appends::CASES,
        conflicts::CASES,
        fences::CASES,
        reads::CASES,
        pages::CASES,
        retention::CASES,
        concurrency::CASES,
        durability::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
    .chain(letters::cases())
    .collect()
}

/// Runs every case, each on a store of its own, and tells how many there were.
///
/// # Errors
/// All cases that the store does not pass.
pub async fn run_all(factory: &dyn StoreFactory) -> Result<usize, Failures> {
    let cases = cases();
    let mut failures = Vec::new();
    for case in &cases {
        if let Err(failure) = case.run(factory).await {
            failures.push((case.name, failure));
        }
    }
    if failures.is_empty() { Ok(cases.len()) } else { Err(Failures(failures)) }
}

/// A table of cases from async functions that take a [`Place`].
macro_rules! promises {
    ($($name:ident)*) => {
        pub(super) const CASES: &[super::Case] =
            &[$(super::Case { name: stringify!($name), run: |place| Box::pin($name(place)) }),*];
    };
}
use promises;
