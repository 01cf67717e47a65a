//! Everything that needs the whole of Phoenix, in one binary: linking is what such tests cost most.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod compile;
