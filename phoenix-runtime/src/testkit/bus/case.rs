//! One promise, and how it fails.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::subject::{Need, ServerFaults, Subject};
use crate::bus::{Bus, BusError, Subscription};
use crate::domain::ports::BoxFuture;

/// One promise of a bus.
#[derive(Clone, Copy)]
pub struct Case {
    pub(super) name: &'static str,
    pub(super) needs: &'static [Need],
    pub(super) run: for<'a> fn(Place<'a>) -> BoxFuture<'a, Result<(), Failure>>,
}

impl Case {
    /// What is promised, in words joined by underscores.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What a bus must have for it.
    #[must_use]
    pub const fn needs(&self) -> &'static [Need] {
        self.needs
    }

    /// Runs it on a bus of its own.
    ///
    /// # Errors
    /// The first thing that is not as promised.
    pub async fn run(&self, subject: &dyn Subject) -> Result<(), Failure> {
        (self.run)(Place { subject, name: self.name }).await
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a bus did against a promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// With the place that it was found at.
    #[track_caller]
    pub fn new(what: impl fmt::Display) -> Self {
        let at = Location::caller();
        Self(format!("{}:{}: {what}", at.file(), at.line()))
    }
}

impl From<BusError> for Failure {
    #[track_caller]
    fn from(error: BusError) -> Self {
        Self::new(format_args!("{error}: {error:?}"))
    }
}

/// Where a case finds its bus.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) subject: &'a dyn Subject,
    name: &'static str,
}

impl<'a> Place<'a> {
    /// The bus. Opening it again is a restart, if everything of the one before was dropped.
    pub(super) async fn open(self) -> Result<Arc<dyn Bus>, Failure> {
        Ok(self.subject.open(self.name).await?)
    }

    /// A name that only this case uses, for a topic or a group.
    pub(super) fn named(self, what: &str) -> Arc<str> {
        format!("{}{}-{what}", self.subject.prefix(), self.name.replace('_', "-")).into()
    }

    /// A topic with this many partitions.
    pub(super) async fn topic(self, bus: &dyn Bus, what: &str, partitions: u16) -> Result<Arc<str>, Failure> {
        let topic = self.named(what);
        self.subject.create(bus, Arc::clone(&topic), partitions).await?;
        Ok(topic)
    }

    /// Reads these topics as one of a group.
    pub(super) fn subscription(self, group: &str, topics: &[&Arc<str>]) -> Subscription {
        Subscription {
            group: self.named(group).to_string(),
            topics: topics.iter().map(|topic| Arc::clone(topic)).collect(),
            fixed: None,
            max_records: 100,
        }
    }

    /// The servers, for cases that need them.
    pub(super) fn servers(self) -> Result<&'a dyn ServerFaults, Failure> {
        self.subject.servers().ok_or_else(|| Failure::new("the subject does not declare that it lacks server faults"))
    }
}

/// A table of cases from async functions that take a [`Place`], each with what it needs.
macro_rules! promises {
    ($($name:ident [$($need:ident)*])*) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            name: stringify!($name),
            needs: &[$(super::Need::$need),*],
            run: |place| Box::pin($name(place)),
        }),*];
    };
}
pub(super) use promises;
