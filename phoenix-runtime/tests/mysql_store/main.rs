//! What a store on MySQL or MariaDB adds to the promises of every event store: owners that take over from each other,
//! connections that are lost, packets that are too small, a schema that is brought up once, errors that say what to do.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../postgres_store/answers.rs"]
mod answers;
mod fences;
mod fixture;
mod lost;
mod opening;
mod packets;
#[path = "../postgres_store/proxy.rs"]
mod proxy;

use futures_util::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use phoenix_test_servers::{Kind, Server, trial};

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
    let all = [answers::TESTS, fences::TESTS, lost::TESTS, opening::TESTS, packets::TESTS].concat();
    libtest_mimic::run(&arguments, all.into_iter().map(|(name, test)| on_a_server(name, test)).collect()).exit();
}

fn on_a_server(name: &'static str, test: Test) -> Trial {
    trial(Kind::MySql, name, move |server| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test(server))
    })
}
