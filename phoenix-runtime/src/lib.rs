//! The runtime that executes Phoenix aggregates.
//!
//! # Layout
//! Floors, lowest first; a module imports only from floors below its own:
//! - [`domain`]: what an aggregate is, without anything that runs it
//! - `clock`: the machine's clock; `files`: files that are there whole and durable, or not at all
//! - `event_store`: where events are kept
//! - `bus`: topics, and how their records come and go
//! - `engine`, `client`: aggregates at work, and the way to them
//! - `delivery`: commands from the bus to their aggregates
//! - `telemetry`: logs and metrics
//! - `http`: the HTTP gateway
//! - `node`: configuration and assembly: start, drain, stop
//! - `testkit`: what tests are made of
//!
//! Features: without any, this crate is its domain alone, for crates of messages; `client` adds the clock, the bus and calls
//! over it, for callers of other people's services; `engine`, the default, adds everything that runs aggregates.
//!
//! Beside them [`prelude`] has what a service imports, the macros among it.

#![forbid(unsafe_code)]

// first, because the compiler's messages name what implements a trait in this order
pub mod domain;

#[cfg(feature = "client")]
pub mod bus;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod clock;
#[cfg(feature = "engine")]
pub mod delivery;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod event_store;
#[cfg(feature = "client")]
mod files;
#[cfg(feature = "engine")]
pub mod http;
#[cfg(feature = "engine")]
pub mod node;
pub mod prelude;
#[cfg(feature = "engine")]
pub mod telemetry;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use phoenix_macros::{
    Command, Event, Events, Query, Schema, aggregate, command_handler, event_handler, event_sourced, query_handler,
};

/// For generated code only. Nothing in it is promised to anybody else: the macros are of the same release.
#[doc(hidden)]
pub mod __private {
    pub use ::core;
    pub use ::phoenix_macros::Schema as DeriveSchema;
    pub use ::serde;
    pub use ::std;

    pub use crate::domain::aggregate::*;
    pub use crate::domain::codec::*;
    pub use crate::domain::context::*;
    pub use crate::domain::emit::*;
    pub use crate::domain::handle::*;
    pub use crate::domain::id::*;
    pub use crate::domain::message::*;
    pub use crate::domain::names::*;
    pub use crate::domain::schema::*;
}
