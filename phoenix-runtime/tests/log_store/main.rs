//! What a log adds to the promises of every event store: what a disk may do to it, and what it says then.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod compaction;
mod crashes;
mod damage;
mod disk;
mod faults;
mod folder;
mod letters;
mod rewriting;
mod rows;
mod sizes;
mod visibility;
