//! An annotated aggregate over two blocks in two modules, its messages in a third, exercised through the traits of the
//! domain alone.
#![deny(warnings, missing_docs, clippy::pedantic)]
#![allow(clippy::expect_used, clippy::panic, reason = "a failure of a test is a panic")]

mod decisions;
pub mod messages;
pub mod orders;
mod records;
mod run;
pub mod settling;
