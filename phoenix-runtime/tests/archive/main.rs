//! Events that move to an archive and back: what an archive is, what a store over one gives, and what an engine makes of
//! it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod engine;
mod histories;
mod ledger;
mod moves;
mod ports;
mod world;
