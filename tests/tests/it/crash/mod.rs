//! A real service that is killed, or whose machine loses power, while clients send commands to it.
//!
//! # Layout
//! - `lot`, `plan`: what is asked, a function of a seed
//! - `history`, `checker`: what the clients saw, and whether it goes with what is stored
//! - `service`, `traffic`, `ledger`: the process, its clients, what it stored
//! - `disk`: a folder that can lose what was not synced
//! - `campaign`: load, end, restart, again and again, and the verdict
//! - `kill`, `lost_writes`, `two_owners`: the tests

mod campaign;
mod checker;
#[cfg(target_os = "linux")]
mod disk;
mod history;
mod kill;
mod ledger;
#[cfg(target_os = "linux")]
mod lost_writes;
mod lot;
mod plan;
mod service;
mod traffic;
mod two_owners;
