//! A node from the outside: its configuration, its HTTP gateway over real connections, its life.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on stops at the line that says so")]

mod account;
mod archive;
mod call;
mod callers;
mod claims;
mod config;
mod dead;
mod docs;
mod faults;
mod gateway;
mod inspect;
mod life;
mod messaging;
mod operator;
