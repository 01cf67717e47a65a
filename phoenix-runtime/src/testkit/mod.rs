//! What tests of services, stores and of the runtime itself are made of.
//!
//! # Layout
//! - [`clock`]: time that a test moves by hand
//! - [`simulation`]: a seeded world on one thread under the real engine
//! - [`gated_source`]: a database of several that can be stopped between any two calls
//! - [`scripted_store`]: a store that does what a test says
//! - [`lane_map`]: slices dealt to several databases by hand
//! - [`bus`]: what a bus is, as a suite that every adapter passes
//! - [`conformance`]: what an event store is, as a suite that every adapter passes
//! - [`fixture`]: given/when/then on one aggregate, without any I/O

pub mod bus;
pub mod clock;
pub mod conformance;
pub mod fixture;
pub mod gated_source;
pub mod lane_map;
mod scripted_letters;
pub mod scripted_store;
pub mod simulation;
