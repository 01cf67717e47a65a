//! What is odd but legal: each case compiles without a warning, and does what it says.
#![deny(warnings, missing_docs, clippy::pedantic)]

mod aggregate_without_snapshots;
mod asynchronous_handler;
mod branches_of_events;
mod deep_tuples;
mod event_of_two_aggregates;
pub mod event_that_is_an_enum;
mod foreign_formatting;
mod ids_of_many_kinds;
mod items_in_a_function;
mod left_out_by_cfg;
mod messages_of_a_crate;
mod messages_of_a_macro;
mod names_of_the_runtime;
mod nested_schemas;
mod patterns;
mod prelude_shadowed;
pub mod private_event;
mod raw_identifiers;
mod renamed_runtime;
mod result_behind_an_alias;
pub mod several_blocks;
mod shapes_of_messages;
