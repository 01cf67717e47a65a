//! What is durable is spoilt afterwards: that is found, and nothing is ever told but what was appended.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::campaign::{Campaign, Scene};
use crate::checker::{told_balance, told_version};
use crate::history::{Answer, History, Ledger};
use crate::http::Connection;
use crate::ledger;
use crate::lot::Lot;
use crate::plan::{ACCOUNTS, account};
use crate::service::{Service, Setup};
use crate::stores::{Place, Store, on_each};
use crate::traffic::Traffic;

/// The bytes that stand before the records of a segment.
const HEADER: usize = 64;

/// A store that was filled, and what is in it.
struct Filled<'a> {
    place: &'a Place,
    setup: Setup,
    lot: Lot,
    history: History,
    ledger: Ledger,
    kept: PathBuf,
}

impl<'a> Filled<'a> {
    fn new(place: &'a Place, more: &[(&'static str, &str)]) -> Self {
        let setup = || more.iter().fold(Setup::new(place), |setup, (name, value)| setup.with(name, *value));
        let campaign = Campaign { seed: Lot::seed(), setup: setup(), rounds: 1, most_requests: 2000, followed: false };
        let verdict = campaign.run(|scene: &mut Scene<'_, '_>| scene.kill());
        verdict.expect_none();
        let kept = place.folder().join("kept");
        copy(&place.events(), &kept);
        let (lot, ledger) = (Lot::new(campaign.seed, &[4]), ledger::read(&ledger::config(&place.url())).0);
        Self { place, setup: setup(), lot, history: verdict.history, ledger, kept }
    }

    /// Spoils a byte of a file of this kind, that is not zero, for the room between records is. The last file with
    /// records is spoilt in its first half only: its end may have been cut short for all that anybody can know.
    fn spoil(&mut self, is_one: fn(&str) -> bool) -> PathBuf {
        let folder = self.place.events();
        fs::remove_dir_all(&folder).unwrap();
        copy(&self.kept, &folder);
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let of_kind = entries.filter(|path| is_one(&path.file_name().unwrap().to_string_lossy()));
        let written = of_kind.map(|path| {
            let bytes = fs::read(&path).unwrap();
            let written: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            (path, bytes, written)
        });
        // a segment that is only made ready has a header and nothing else
        let mut files: Vec<_> = written.filter(|(.., written)| written.len() > HEADER).collect();
        files.sort();
        let chosen = self.below(files.len());
        let is_last = chosen + 1 == files.len();
        let (file, mut bytes, written) = files.swap_remove(chosen);
        let at = written[self.below(if is_last { written.len() / 2 } else { written.len() })];
        bytes[at] ^= u8::try_from(1 + self.lot.below(255)).unwrap();
        fs::write(&file, bytes).unwrap();
        println!("byte {at} of {} is spoilt", file.display());
        file
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.lot.below(end as u64)).unwrap()
    }

    /// Nothing that is read from the store, or told by the service, differs from what was appended.
    fn expect_truth(&self, service: &Service) {
        if let Ok((found, _)) = ledger::try_read(&ledger::config(&self.place.url())) {
            assert!(found == self.ledger, "another ledger is read");
        }
        for name in (0..ACCOUNTS).map(account) {
            let mut connection = Connection::open(service.address).expect("it listens");
            let json = format!("{{\"account\":\"{name}\"}}");
            let response = connection.post("/queries/bank-account/balance", None, &json).expect("it answers");
            let stored = self.ledger.get(&name);
            match response.status {
                200 => {
                    let stored = stored.expect("it has events");
                    let expected = (Some(stored.version()), Some(stored.balance_at(stored.version())));
                    assert_eq!((told_version(&response.body), told_balance(&response.body)), expected, "{name}");
                }
                404 => assert!(stored.is_none(), "{name} is forgotten"),
                // a fault that says so
                500.. => {}
                _ => panic!("{response:?}"),
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn is_segment(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "log")
}

fn a_spoilt_record_stops_the_start(place: &Place) {
    let mut filled = Filled::new(place, WIDE);
    for _ in 0..8 * Lot::times() {
        let file = filled.spoil(is_segment);
        let said = filled.setup.start().err().expect("it is found before anything is served");
        let name = file.file_name().unwrap().to_string_lossy();
        for part in [&*name, "keep a copy", "backup"] {
            assert!(said.contains(part), "`{part}` is missing in: {said}");
        }
    }
}

/// Also where a start need not read it.
fn a_spoilt_record_is_never_served(place: &Place) {
    let mut filled = Filled::new(place, &[]);
    let (mut stopped, rounds) = (0, 12 * Lot::times());
    for _ in 0..rounds {
        filled.spoil(is_segment);
        match filled.setup.start() {
            Ok(service) => filled.expect_truth(&service),
            Err(said) => {
                stopped += 1;
                assert!(said.contains("keep a copy"), "{said}");
            }
        }
    }
    println!("{stopped} of {rounds} starts were stopped");
}

/// What is made of the log is found to be spoilt, at the start or when it is needed, and made again.
fn a_spoilt_index_costs_nothing_but_time(place: &Place) {
    let mut filled = Filled::new(place, &[]);
    let history = filled.history.clone();
    let first: BTreeMap<_, _> = history.attempts.iter().filter_map(told).collect();
    let (mut needed, rounds) = (0, 6 * Lot::times());
    for _ in 0..rounds {
        filled.spoil(|name| !is_segment(name));
        let mut service = start(&filled.setup);
        filled.expect_truth(&service);
        let mut again = Traffic::new(0, 0).repeat(&history.promised(), service.address);
        if let Err(error) = &again {
            assert!(error.to_string().contains("remove `checkpoint`: the next start makes a new index"), "{error}");
            needed += 1;
            service.kill();
            fs::remove_file(place.events().join("checkpoint")).unwrap();
            service = start(&filled.setup);
            filled.expect_truth(&service);
            again = Traffic::new(0, 0).repeat(&history.promised(), service.address);
        }
        assert!(ledger::read(&ledger::config(&place.url())).0 == filled.ledger, "another ledger is read");
        for (key, answer) in again.expect("it answers").attempts.iter().filter_map(told) {
            assert!(answer.replayed, "{key} is no repeat: {answer:?}");
            assert_eq!((answer.status, &answer.body), (first[key].status, &first[key].body), "{key}");
        }
    }
    println!("in {needed} of {rounds} rounds it was found when it was needed");
}

fn start(setup: &Setup) -> Service {
    setup.start().unwrap_or_else(|said| panic!("the service does not start: {said}"))
}

fn told(attempt: &crate::history::Attempt) -> Option<(&String, &Answer)> {
    Some((&attempt.order.key, attempt.answer.as_ref()?))
}

/// Everything is in one segment, all of which is read at each start.
const WIDE: &[(&str, &str)] =
    &[("PHOENIX__LOG_STORE__SEGMENT_SIZE", "16MiB"), ("PHOENIX__LOG_STORE__INDEX_MEMORY", "32MiB")];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_each!(&[Store::Log], a_spoilt_record_stops_the_start);
    trials.extend(on_each!(&[Store::Log], a_spoilt_record_is_never_served));
    trials.extend(on_each!(&[Store::Log], a_spoilt_index_costs_nothing_but_time));
    trials
}
