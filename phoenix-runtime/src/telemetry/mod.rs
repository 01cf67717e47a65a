//! What a node tells about itself: structured logs and metrics.
//!
//! # Layout
//! - [`logs`]: where `tracing` goes
//! - [`metrics`]: the recorder behind `/metrics`

pub mod logs;
pub mod metrics;

pub use self::logs::{LogFormat, LogOptions};
pub use self::metrics::Metrics;
