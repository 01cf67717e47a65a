//! The HTTP gateway: commands and queries by name, as JSON, and what an operator asks a node.
//!
//! # Layout
//! - [`options`]: what can be set
//! - [`routes`]: paths and what happens to every request
//! - [`messages`]: `POST /commands/...` and `POST /queries/...`
//! - [`headers`]: idempotency key, time-out, correlation and trace of a request
//! - `callers`: how often each caller may call
//! - [`problem`]: everything that is not a reply, as RFC 9457 problem details
//! - [`operator`]: health, readiness, metrics, snapshots by hand
//! - [`mod@archive`]: old events to the archive and back
//! - [`dead`]: dead letters, and what becomes of them
//! - [`server`]: the listener

mod archive;
mod callers;
mod dead;
mod headers;
mod messages;
mod operator;
mod options;
mod problem;
mod routes;
mod server;

pub use self::operator::{Phase, Readiness};
pub use self::options::HttpOptions;
pub use self::problem::GATEWAY_CODES;
pub use self::routes::{Gateway, router};
pub use self::server::{BindError, Server};
