//! Slices move between two databases under load, while movers and nodes are killed and nodes take over from each other.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use phoenix_runtime::domain::id::Slice;
use phoenix_test_servers::Private;
use sea_orm::{ConnectionTrait as _, Database, Statement};

use crate::campaign::Campaign;
use crate::http::Connection;
use crate::ledger::wait;
use crate::lot::Lot;
use crate::plan::{ACCOUNTS, account};
use crate::service::{PATIENCE, Service, Setup};
use crate::stores::{Place, SERVERS, cases_on_two, cases_with_another_server};

const ROUNDS: u64 = 6;
/// How long slices may take to move both ways.
const LIMIT: Duration = Duration::from_mins(5);
/// How many slices move: few enough for each to come back.
const MOVED: usize = 4;

/// What movers said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    movers: u64,
    resumed: u64,
    moved_home: u64,
    moved_away: u64,
}

impl Said {
    const fn is_trial(&self) -> bool {
        self.moved_home > 0 && self.moved_away > 0 && self.resumed > 0
    }

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

/// Starts movers and kills each one at some moment, until slices have moved both ways, moves were resumed, and nobody holds the other end of `stopped`.
fn operate(setup: &Setup, mut lot: Lot, stopped: &Receiver<()>) -> Said {
    let slices: BTreeSet<Slice> = (0..ACCOUNTS).map(|n| Slice::of("bank-account", &account(n))).collect();
    let mut slices: Vec<String> = slices.iter().take(MOVED).map(|slice| slice.0.to_string()).collect();
    let mut said = Said::default();
    // the first one may live: how long it takes to its first word is how long a life is
    let began = Instant::now();
    let first = Mover::start(setup, &slices);
    said.note(&first.lines.recv_timeout(PATIENCE).expect("a mover moves"));
    drop(first);
    let mut took = u64::try_from(began.elapsed().as_micros()).expect("not for ever");
    loop {
        assert!(began.elapsed() < LIMIT, "movers get nowhere: {said:?}");
        let mut mover = Mover::start(setup, &slices);
        said.movers += 1;
        let before = said;
        let life = Duration::from_micros(lot.below(3 * took));
        let over = stopped.recv_timeout(life) != Err(RecvTimeoutError::Timeout);
        if over
            && !said.is_trial()
            && let Ok(line) = mover.lines.recv_timeout(life)
        {
            said.note(&line);
        }
        let ended = mover.child.try_wait().expect("it was started");
        assert!(ended.is_none(), "a mover ended by itself: {ended:?}");
        mover.child.kill().expect("it runs");
        mover.lines.iter().for_each(|line| said.note(&line));
        drop(mover);
        if said == before {
            // what is moved grows, and so does the time that it takes: a life that is always too short gets nowhere
            took += took / 4;
        }
        if over && said.is_trial() {
            Mover::start(setup, &[]).finish(&mut said);
            return said;
        }
        // the next one begins with another slice
        slices.rotate_left(1);
    }
}

/// How many blocks of the archive a database has.
async fn blocks_of(url: &str) -> i64 {
    let database = Database::connect(url).await.expect("it runs");
    let count = Statement::from_string(database.get_database_backend(), "SELECT count(*) FROM archive");
    let row = database.query_one_raw(count).await.expect("there is a table").expect("there is a row");
    row.try_get_by_index(0).expect("a number")
}

fn slices_move_under_load_while_movers_and_nodes_die(place: &Place, source: &str) {
    let setup = Setup::new(place).with_source("b", source).with("PHOENIX__ARCHIVE", "table");
    // the databases are made ready, and the time of a start is known
    drop(setup.start().unwrap_or_else(|said| panic!("the service does not start: {said}")));
    let campaign = Campaign { seed: Lot::seed(), setup, rounds: ROUNDS, most_requests: 250, followed: true };
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
    let blocks = [&place.url(), source].map(|url| wait(blocks_of(url)));
    println!("{said:?}, blocks of the archive: {blocks:?}");
    assert!(blocks.iter().sum::<i64>() > 0, "nothing went to the archive");
    assert!(said.is_trial(), "{said:?} is no trial");
    verdict.expect_none();
}

/// Who takes over waits, and says for what; who was there first goes on meanwhile.
fn a_source_that_is_down_at_a_start_is_waited_for(place: &Place, server: &Private) {
    let source = server.database("source").expect("a database");
    let setup = Setup::new(place).with_source("b", &source);
    let start = || setup.start().unwrap_or_else(|said| panic!("the service does not start: {said}"));
    let deposit = |service: &Service| {
        let mut connection = Connection::open(service.address).expect("it listens");
        let json = r#"{"account":"account-1","amount":1}"#;
        connection.post("/commands/bank-account/deposit", None, json).expect("it answers").status
    };
    let first = start();
    server.kill().expect("it runs");
    let second = setup.begin();
    second.expect_waiting("waiting for the source `b`");
    assert_eq!(deposit(&first), 200, "what is at home goes on");
    server.restart().expect("it starts");
    let second = second.serving().unwrap_or_else(|said| panic!("the service does not start: {said}"));
    assert_eq!((deposit(&second), deposit(&first)), (200, 503));
}

pub(crate) fn trials() -> Vec<Trial> {
    let name = "slices_move_under_load_while_movers_and_nodes_die";
    let mut trials = cases_on_two(SERVERS, module_path!(), name, slices_move_under_load_while_movers_and_nodes_die);
    let name = "a_source_that_is_down_at_a_start_is_waited_for";
    let test = a_source_that_is_down_at_a_start_is_waited_for;
    trials.extend(cases_with_another_server(SERVERS, module_path!(), name, test));
    trials
}
