//! What a PostgreSQL store adds to the promises of every event store: owners that take over from each other, connections
//! that are lost, a schema that is brought up once, errors that say what to do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod fences;
mod fixture;
mod lost;
mod opening;
mod proxy;
mod rows;

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use phoenix_test_servers::{Kind, Server, trial};
use tokio::time::timeout;

/// The longest that a test may take, on a machine that does much else.
const LONGEST: Duration = Duration::from_mins(5);

type Test = fn(&'static Server) -> LocalBoxFuture<'static, Result<(), Failed>>;

/// A table of tests from async functions that take a server.
macro_rules! tests {
    ($($name:ident)*) => {
        pub(crate) const TESTS: &[(&str, crate::Test)] =
            &[$((stringify!($name), |server| Box::pin($name(server)))),*];
    };
}
use tests;

fn main() {
    let arguments = Arguments::from_args();
    let all = [answers::TESTS, fences::TESTS, lost::TESTS, opening::TESTS, rows::TESTS].concat();
    libtest_mimic::run(&arguments, all.into_iter().map(|(name, test)| on_a_server(name, test)).collect()).exit();
}

fn on_a_server(name: &'static str, test: Test) -> Trial {
    trial(Kind::Postgres, name, move |server| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let test = async { timeout(LONGEST, test(server)).await };
        runtime.block_on(test).map_err(|_| format!("it did not end in {LONGEST:?}"))?
    })
}
