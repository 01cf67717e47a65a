//! Every bus of this crate against the one suite: a test for each adapter and promise.

use libtest_mimic::{Arguments, Failed, Trial};
use phoenix_runtime::testkit::bus::{Case, Subject, cases_without};

use crate::subjects::{Checking, Faulty, File, Memory};

mod claims;
mod embedded;
mod faulty;
mod sender;
mod stubborn;
mod subjects;

fn main() -> Result<(), Failed> {
    let arguments = Arguments::from_args();
    let suites = [
        suite("memory", || Ok(Memory)), //
        suite("embedded", File::new),
        suite("faulty", || Ok(Faulty::default())),
        suite("claim check", || Ok(Checking)),
    ];
    let trials = suites.into_iter().collect::<Result<Vec<_>, _>>()?;
    let trials = trials
        .into_iter()
        .flatten()
        .chain(embedded::trials())
        .chain(faulty::trials())
        .chain(claims::trials())
        .chain(sender::trials());
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A test for each promise, on a bus that needs no server.
fn suite<S: Subject + 'static>(bus: &'static str, subject: fn() -> Result<S, Failed>) -> Result<Vec<Trial>, Failed> {
    let trial = |case: Case| Trial::test(format!("{bus}::{}", case.name()), move || run(case, &subject()?));
    Ok(cases_without(subject()?.lacks()).into_iter().map(trial).collect())
}

fn run(case: Case, subject: &dyn Subject) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(runtime.block_on(case.run(subject))?)
}
