//! What tests of services, stores and of the runtime itself are made of.
//!
//! # Layout
//! - [`conformance`]: what an event store is, as a suite that every adapter passes
//! - [`fixture`]: given/when/then on one aggregate, without any I/O

pub mod conformance;
pub mod fixture;
