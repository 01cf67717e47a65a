//! Private servers for suites, started by the script `tests/servers`: databases from Debian's packages, brokers of Kafka from
//! Maven Central's artifacts.
//!
//! [`shared`] gives the one server of a kind that this process uses: that of the environment (`PHOENIX_TEST_POSTGRES`,
//! `PHOENIX_TEST_MYSQL`, as `tests/servers run cargo test` sets them), or one that is started at the first call and ends
//! with the process. So brokers, which take seconds and half a gigabyte, run only where a test of them runs. Each test takes
//! a database, or topics, of its own from it. A test that kills its server starts a [`Private`] one.
//!
//! Suites that need servers run under libtest-mimic (`harness = false`) and make their tests with [`trial()`]: where the
//! packages are missing they are reported as ignored, with the reason. `PHOENIX_REQUIRE_SERVERS=1` makes that a failure.
//!
//! # Layout
//! - `kind`: which servers there are
//! - `script`: calls of `tests/servers`
//! - `server`: servers and their databases
//! - `trial`: tests that need a server

mod kind;
mod script;
mod server;
mod trial;

pub use kind::Kind;
pub use server::{Error, Private, Server, shared};
pub use trial::trial;
