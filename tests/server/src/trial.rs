//! Tests that need a server.

use libtest_mimic::{Failed, Trial};

use crate::kind::Kind;
use crate::script;
use crate::server::{Server, shared};

/// A test that needs a server. The server is started when the first such test runs.
///
/// Where its packages are missing the test is reported as ignored with the reason before its name, and fails when it
/// is run nevertheless; where the environment has `PHOENIX_REQUIRE_SERVERS=1` it fails.
pub fn trial<F>(kind: Kind, name: impl Into<String>, test: F) -> Trial
where
    F: FnOnce(&'static Server) -> Result<(), Failed> + Send + 'static,
{
    let required = std::env::var_os("PHOENIX_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    let there = std::env::var_os(kind.variable()).is_some();
    // a script that can't be run is no reason to pass over a test
    let missing = if there { None } else { script::missing(kind).unwrap_or_else(|error| Some(error.to_string())) };
    let trial = Trial::test(name, move || test(shared(kind)?));
    match missing {
        Some(reason) => trial.with_kind(reason).with_ignored_flag(!required),
        None => trial,
    }
}
