//! Slices move between two databases under load, while movers and nodes are killed and nodes take over from each other.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use phoenix_runtime::domain::id::Slice;

use crate::campaign::Campaign;
use crate::lot::Lot;
use crate::plan::{ACCOUNTS, account};
use crate::service::Setup;
use crate::stores::{Place, SERVERS, cases_on_two};

const ROUNDS: u64 = 6;
/// The longest life of a mover, in milliseconds: some moves, or not even its start.
const LIFE: u64 = 1_500;

/// What movers said.
#[derive(Debug, Default)]
struct Said {
    movers: u64,
    resumed: u64,
    moved_home: u64,
    moved_away: u64,
}

impl Said {
    fn note(&mut self, line: &str) {
        match line {
            resumed if resumed.starts_with("resumed ") => self.resumed += 1,
            home if home.ends_with(" to home") => self.moved_home += 1,
            away if away.ends_with(" to b") => self.moved_away += 1,
            other => panic!("a mover says `{other}`"),
        }
    }
}

/// A running mover; it is killed when it is dropped.
struct Mover {
    child: Child,
    lines: Receiver<String>,
}

impl Mover {
    fn start(setup: &Setup, slices: &[String]) -> Self {
        let mut command = setup.command(env!("CARGO_BIN_EXE_slice-mover"));
        let mut child = command.args(slices).stdout(Stdio::piped()).spawn().expect("a mover can be started");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (line, lines) = mpsc::channel();
        // ends with the process
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|said| line.send(said)));
        Self { child, lines }
    }

    /// Waits until it has ended by itself, and everything that was cut short is done.
    fn finish(mut self, said: &mut Said) {
        self.lines.iter().for_each(|line| said.note(&line));
        assert!(self.child.wait().expect("it was started").success(), "a mover failed, and said why");
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        // SIGKILL; an error says that it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts movers and kills each one at some moment, until nobody holds the other end of `stopped`.
fn operate(setup: &Setup, mut lot: Lot, stopped: &Receiver<()>) -> Said {
    let slices: BTreeSet<Slice> = (0..ACCOUNTS).map(|n| Slice::of("bank-account", &account(n))).collect();
    let mut slices: Vec<String> = slices.iter().map(|slice| slice.0.to_string()).collect();
    let mut said = Said::default();
    loop {
        let mut mover = Mover::start(setup, &slices);
        said.movers += 1;
        let life = Duration::from_millis(lot.below(LIFE));
        let over = stopped.recv_timeout(life) != Err(RecvTimeoutError::Timeout);
        let ended = mover.child.try_wait().expect("it was started");
        assert!(ended.is_none(), "a mover ended by itself: {ended:?}");
        mover.child.kill().expect("it runs");
        mover.lines.iter().for_each(|line| said.note(&line));
        drop(mover);
        if over {
            Mover::start(setup, &[]).finish(&mut said);
            return said;
        }
        // the next one begins with another slice
        slices.rotate_left(3);
    }
}

fn slices_move_under_load_while_movers_and_nodes_die(place: &Place, source: String) {
    let setup = Setup::new(place).with_source("b", source);
    // the databases are made ready, and the time of a start is known
    drop(setup.start().unwrap_or_else(|said| panic!("the service does not start: {said}")));
    let campaign = Campaign { seed: Lot::seed(), setup, rounds: ROUNDS, most_requests: 600, followed: true };
    let (verdict, said) = thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        let lot = Lot::new(campaign.seed, &[5]);
        let setup = &campaign.setup;
        let mut operator = Some((stop, scope.spawn(move || operate(setup, lot, &stopped))));
        let mut said = None;
        let mut left = ROUNDS * Lot::times();
        let verdict = campaign.run(|scene| {
            match scene.lot.below(3) {
                0 => scene.kill(),
                1 => {
                    // both are alive for a while
                    let old = scene.take_over();
                    let requests = 1 + scene.lot.below(200);
                    scene.flow(requests);
                    old.kill();
                }
                _ => {}
            }
            left -= 1;
            if left == 0
                && let Some((stop, operator)) = operator.take()
            {
                // what is stored is compared while nothing moves
                let stop: Sender<()> = stop;
                drop(stop);
                said = Some(operator.join().expect("an operator that does not panic"));
            }
        });
        (verdict, said.expect("the last round is over"))
    });
    println!("{said:?}");
    assert!(said.moved_home > 0 && said.moved_away > 0 && said.resumed > 0, "{said:?} is no trial");
    verdict.expect_none();
}

pub(crate) fn trials() -> Vec<Trial> {
    let name = "slices_move_under_load_while_movers_and_nodes_die";
    cases_on_two(SERVERS, module_path!(), name, slices_move_under_load_while_movers_and_nodes_die)
}
