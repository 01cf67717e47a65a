//! What a bus is: a suite that every adapter of [`Bus`](crate::bus::Bus) passes unchanged, and a bus that fails.
//!
//! An adapter brings a [`Subject`] and runs each of the [`cases`] that applies to it inside a tokio runtime. What it
//! lacks it declares ([`Subject::lacks`]), and a case holds it to that.
//!
//! # Layout
//! - `subject`: what an adapter brings to the suite, and faults of its servers
//! - `case`: one promise, and how it fails
//! - `fixture`: records, a reader that keeps account of what it has, comparisons that say where they failed
//! - `faulty_bus`, `faulty_consumer`, `faulty_follower`: a bus that fails by a seed
//! - `topics`, `records`, `offsets`, `flow`, `groups`, `followers`, `concurrency`, `faults`: the promises

mod case;
mod concurrency;
mod faults;
mod faulty_bus;
mod faulty_consumer;
mod faulty_follower;
mod fixture;
mod flow;
mod followers;
mod groups;
mod offsets;
mod records;
mod subject;
mod topics;

pub use case::{Case, Failure};
pub use faulty_bus::{BusFaults, FaultyBus};
pub use subject::{Need, ServerFaults, Subject};

/// Every case of the suite.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        topics::CASES,
        records::CASES,
        offsets::CASES,
        flow::CASES,
        groups::CASES,
        followers::CASES,
        concurrency::CASES,
        faults::CASES,
    ]
    .concat()
}

/// Those that apply to what a subject has.
#[must_use]
pub fn cases_without(lacks: &[Need]) -> Vec<Case> {
    cases().into_iter().filter(|case| !case.needs().iter().any(|need| lacks.contains(need))).collect()
}
