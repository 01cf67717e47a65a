//! Callers, latencies and tables of every measurement: whoever is compared with Phoenix is measured by the same lines.
//!
//! # Layout
//! - [`messages`]: which account gets what
//! - [`load`]: callers in a closed and in an open loop; [`latency`]: what they saw
//! - [`report`]: rows and bars; [`table`]: how they are shown

#![forbid(unsafe_code)]

pub mod latency;
pub mod load;
pub mod messages;
pub mod report;
pub mod table;

pub use latency::{Latencies, Percentiles};
pub use load::{Callers, LoadError, Seen, Target};
pub use messages::{AGGREGATES, Message, Messages, REFERENCE};
pub use report::{Bar, Goal, Report, Row};
pub use table::Markdown;
