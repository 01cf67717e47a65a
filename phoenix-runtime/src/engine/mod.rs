//! Executes aggregates: each lives in memory, decides one command at a time, and nobody hears of a decision before it
//! is durable.
//!
//! # Layout
//! - [`engine`](self): [`Engine`] and its builder; [`options`], [`catalog`] (names of this node)
//! - [`kind`]: an aggregate type with its Rust type hidden
//! - [`mailbox`]: what waits for a shard, by priority
//! - [`router`]: which shard a message goes to; [`order`]: commands that are to be done one after the other
//! - [`cell`]: one aggregate in memory; [`cells`]: all of a shard, and who leaves
//! - [`batch`]: what is decided and not yet durable; [`journal`]: making it durable
//! - [`timers`]: the time-outs of asks
//! - [`meters`]: what a shard counts
//! - [`ownership`]: partitions that come and go; [`holdings`]: those of a shard; [`forward`]: messages for other nodes
//! - [`health`]: what the shards tell of themselves
//! - [`lanes`]: what a shard does for each database
//! - [`idle`]: how shards end a drain together
//! - [`activation`]: bringing aggregates into memory; [`questions`]: asking about repeats; [`again`]: what the store did not
//!   answer
//! - [`shard`]: the loop that owns all of these

pub(crate) mod activation;
pub(crate) mod again;
pub(crate) mod batch;
pub mod catalog;
pub(crate) mod cell;
pub(crate) mod cells;
pub mod forward;
pub mod health;
pub(crate) mod holdings;
pub(crate) mod idle;
pub(crate) mod journal;
pub(crate) mod kind;
pub(crate) mod lanes;
pub(crate) mod mailbox;
pub(crate) mod meters;
pub mod options;
pub mod order;
pub mod ownership;
pub(crate) mod questions;
pub(crate) mod router;
pub(crate) mod shard;
mod start;
pub(crate) mod timers;

pub use crate::clock::SystemClock;
pub use catalog::{Catalog, Owner};
pub use forward::{Forward, Forwarded, ForwardedCommand, ForwardedQuery};
pub use health::Health;
pub use options::{EngineOptions, Overflow};
pub use ownership::{Owning, Partitions};
pub use start::{Engine, EngineBuilder, Spawn, StartError};
