//! An annotated aggregate over two blocks in two modules, its messages in a third, exercised through the traits of the
//! domain alone.
#![deny(warnings, missing_docs, clippy::pedantic)]

mod decisions;
pub mod messages;
pub mod orders;
mod records;
pub mod run;
pub mod settling;
