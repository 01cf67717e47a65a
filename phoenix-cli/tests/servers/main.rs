//! Commands that need database servers.
//!
//! # Layout
//! - `bench`: measures servers, and leaves nothing behind
//! - `bus`: measures brokers, and leaves nothing behind
//! - `slices`: moves slices between two databases

mod bench;
mod bus;
mod slices;

use libtest_mimic::Arguments;

fn main() {
    let mut arguments = Arguments::from_args();
    // databases are counted, and two cores are shared
    arguments.test_threads = Some(1);
    let trials = bench::trials().into_iter().chain(bus::trials()).chain(slices::trials());
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
