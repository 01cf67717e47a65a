//! Several databases as one event store, and slices that move between them while others work.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on stops at the line that says so")]

mod blocks;
mod members;
mod moves;
mod random;
mod suite;
mod support;
