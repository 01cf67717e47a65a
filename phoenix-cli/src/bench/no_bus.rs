//! In the place of `bus`, in a build without the feature `kafka`.

use indicatif::ProgressBar;
use phoenix_bench::Report;
use phoenix_runtime::node::config::BusUrl;

use super::Options;
use super::error::BenchError;
use super::subject::Subject;
use super::suite::Plan;

/// There is none.
pub(super) enum Broker {}

impl Broker {
    pub(super) fn new(_: &BusUrl, _: &str) -> Result<Self, BenchError> {
        Err(BenchError::NoBus)
    }

    #[allow(clippy::unused_async, reason = "called as that of a broker is")]
    pub(super) async fn remove(&self) -> Result<(), BenchError> {
        match *self {}
    }
}

#[allow(clippy::unused_async, reason = "called as with a broker")]
pub(super) async fn measure(
    _: &Options,
    _: &Plan,
    broker: &Broker,
    _: &[Box<dyn Subject>],
    _: &ProgressBar,
) -> Result<Report, BenchError> {
    match *broker {}
}
