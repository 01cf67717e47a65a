//! The path over a bus: topic of commands, delivery, engine, store, topic of replies; beside a loop that does the same with
//! nothing but the client library and the same rows.
//!
//! # Layout
//! - [`suite`]: what is run in which order
//! - [`broker`]: which adapter and broker; topics that are made there, and what they keep
//! - [`service`]: engine and delivery, as a node has them; [`callers`]: those who ask over the bus
//! - [`backlog`]: commands that wait, and how fast the replies to them come
//! - [`bare`]: the loop without Phoenix

mod backlog;
mod bare;
mod broker;
mod callers;
mod service;
mod suite;

pub(crate) use self::broker::Broker;
pub(crate) use self::suite::measure;
