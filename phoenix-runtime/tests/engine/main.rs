//! What the engine and the client promise, each rule by one test: the real engine in a simulated world, over a store
//! that does what the test says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on stops at the line that says so")]
#![allow(clippy::needless_pass_by_value, reason = "a name is given as it is at hand")]

mod activation;
mod asynchronous;
mod batches;
mod client;
mod context;
mod delivery;
mod failure;
mod forwarding;
mod handover;
mod history;
mod inbox;
mod lanes;
mod lifecycle;
mod order;
mod outages;
mod owners;
mod panics;
mod partitions;
mod passivation;
mod rates;
mod redelivery;
mod remote;
mod repeats;
mod scripted_bus;
mod snapshots;
mod spill;
mod tally;
mod wired;
mod world;
