//! The way to aggregates: typed by the aggregate, by the message alone, or by name.
//!
//! # Layout
//! - [`local`]: calls to an engine of this process (feature `engine`)
//! - [`remote`]: calls over a bus, which need neither engine nor store
//! - [`rate`]: how often somebody may call
//! - [`door`]: the way that both take by name; [`by_message`]: calls typed by the message alone

pub mod by_message;
pub mod door;
#[cfg(feature = "engine")]
pub mod local;
pub mod rate;
pub mod remote;

#[cfg(feature = "engine")]
pub use local::{Client, ContextClient, Of, ask, named, query, snapshot};
