//! Real services that are killed, frozen or robbed of their database, or whose machine loses power, while clients send
//! commands to them.
//!
//! Every case is a trial of this program, because some need what not every machine has: they are reported as ignored
//! then, with the reason. `CRASH_SEED` repeats the operations of a run, `CRASH_TIMES` makes the runs so many times
//! longer.
//!
//! # Layout
//! - `lot`, `plan`: what is asked, a function of a seed
//! - `history`, `checker`: what the clients saw, and whether it goes with what is stored
//! - `stores`: where the events of a test are, on each store
//! - `service`, `http`, `traffic`, `door`: the process, its clients, and their way to it
//! - `ledger`, `tail`: what is stored, read from its start and followed all the time
//! - `disk`: a folder that can lose what was not synced
//! - `campaign`: load, trouble, a service that serves again, again and again; and the verdict
//! - `kill`, `lost_writes`, `outage`: the service, the machine or the database ends
//! - `spoilt`: what is durable is not what was written
//! - `owners`, `starts`, `fence`: who may append
//! - `slices`: what several databases share moves from one to another
//! - `line`, `messages`: clients, services and a broker between them
//! - `bus`: the embedded bus alone
//! - `commits`: what is visible in another order than it was appended in

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(target_os = "linux")]
mod bus;
mod campaign;
mod checker;
mod commits;
#[cfg(target_os = "linux")]
mod disk;
mod door;
#[cfg(unix)]
mod fence;
mod history;
mod http;
mod kill;
mod ledger;
mod line;
#[cfg(target_os = "linux")]
mod lost_writes;
mod lot;
mod messages;
mod outage;
mod owners;
mod plan;
mod service;
mod slices;
mod spoilt;
mod starts;
mod stores;
mod tail;
mod traffic;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test as a trial under its module's path.
fn trial(module: &str, name: &str, test: fn()) -> Trial {
    Trial::test(title(module, name), move || {
        test();
        Ok(())
    })
}

fn title(module: &str, name: &str) -> String {
    format!("{}::{name}", module.trim_start_matches("crash::"))
}

/// Tests without parameters, as trials.
macro_rules! trials {
    ($($test:ident),+ $(,)?) => { vec![$($crate::trial(module_path!(), stringify!($test), $test)),+] };
}
use trials;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = checker::tests::trials();
    trials.extend(tail::tests::trials());
    trials.extend(kill::trials());
    trials.extend(owners::trials());
    trials.extend(outage::trials());
    trials.extend(starts::trials());
    trials.extend(messages::trials());
    trials.extend(commits::trials());
    trials.extend(slices::trials());
    trials.extend(spoilt::trials());
    #[cfg(unix)]
    trials.extend(fence::trials());
    #[cfg(target_os = "linux")]
    {
        trials.extend(bus::trials());
        trials.extend(disk::tests::trials());
        trials.extend(lost_writes::trials());
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
