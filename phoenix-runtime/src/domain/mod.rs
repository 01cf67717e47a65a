//! What an aggregate is, without anything that runs it: no I/O, no clock of its own, no executor.
//!
//! # Layout
//! - [`aggregate`], [`message`], [`handle`], [`emit`]: the traits that annotations implement
//! - [`pending`]: a message whose types only its aggregate knows, as the engine handles it
//! - [`id`], [`metadata`], [`codec`], [`schema`], [`outcome`]: what is stored and sent
//! - [`context`], [`ports`]: what a handler may know and where time and randomness come from
//! - [`error`]: every error a caller can meet, with its code
//! - [`names`]: checks that run inside the compiler
//! - [`units`]: durations and sizes as people write them

pub mod aggregate;
pub mod codec;
pub mod context;
pub mod emit;
pub mod error;
pub mod handle;
pub mod id;
pub mod message;
pub mod metadata;
pub mod names;
pub mod outcome;
pub mod pending;
pub mod ports;
pub mod schema;
pub mod units;
