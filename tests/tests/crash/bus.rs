//! The embedded bus, whose process is killed or whose machine loses power: what it acknowledged stays where it is.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use libtest_mimic::Trial;
use phoenix_runtime::bus::{Bus as _, EmbeddedBus, EmbeddedOptions, Happening, Subscription, TopicPartition};
use phoenix_runtime::engine::SystemClock;

use crate::disk::{Disk, Loss};
use crate::ledger::wait;
use crate::lot::Lot;

const TOPIC: &str = "numbers";
/// The longest life of a process, in lines that it says.
const LIFE: u64 = 1500;

/// What processes said.
#[derive(Debug, Default)]
struct Said {
    sent: BTreeMap<(u16, u64), String>,
    committed: BTreeMap<u16, u64>,
    lost: Vec<String>,
}

impl Said {
    fn note(&mut self, line: &str) {
        let parts: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("it says `{line}`"));
        let partition = |text: &str| u16::try_from(number(text)).expect("a partition");
        match parts.as_slice() {
            ["has", of, committed] => {
                let before = self.committed.get(&partition(of)).copied().unwrap_or(0);
                if number(committed) < before {
                    self.lost.push(format!("{line}, and {before} was committed"));
                }
            }
            ["sent", of, offset, value] => {
                if let Some(other) = self.sent.insert((partition(of), number(offset)), (*value).to_owned()) {
                    self.lost.push(format!("{line}, and {other} was sent there"));
                }
            }
            ["committed", of, offset] => drop(self.committed.insert(partition(of), number(offset))),
            _ => panic!("it says `{line}`"),
        }
    }
}

/// One life of a process, to a moment by lot.
fn live(file: &Path, synchronous: &str, environment: &[(&'static str, String)], lot: &mut Lot, said: &mut Said) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_crash-bus"))
        .args([file.as_os_str(), synchronous.as_ref()])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let (mut count, most) = (0, 1 + lot.below(LIFE));
    let mut line = String::new();
    // what was said before the end counts, also if it is read behind it
    while out.read_line(&mut line).expect("UTF-8") > 0 {
        if let Some(whole) = line.strip_suffix('\n') {
            said.note(whole);
        }
        line.clear();
        count += 1;
        if count == most {
            // SIGKILL
            child.kill().expect("it runs");
        }
    }
    child.wait().expect("it was started");
    assert!(count >= most, "it ended by itself, and said why");
}

/// Everything that is there.
fn read_all(file: &Path) -> BTreeMap<(u16, u64), String> {
    wait(async {
        let bus = EmbeddedBus::open(EmbeddedOptions::at(file), Arc::new(SystemClock::default())).await.unwrap();
        let count = bus.partitions(TOPIC.into()).await.unwrap().unwrap_or(0);
        let mut open = BTreeMap::new();
        for partition in 0..count {
            let end = bus.offsets(TopicPartition::new(TOPIC, partition), "nobody").await.unwrap().end;
            open.insert(partition, end);
        }
        open.retain(|_, end| *end > 0);
        let mut found = BTreeMap::new();
        if count == 0 {
            return found;
        }
        let (group, topics) = ("checkers".to_owned(), vec![TOPIC.into()]);
        let mut consumer = bus.subscribe(Subscription { group, topics, fixed: None, max_records: 1000 }).await.unwrap();
        while !open.is_empty() {
            let Happening::Records(records) = consumer.next().await.unwrap() else { continue };
            for received in records {
                let (partition, offset) = (received.from.partition, received.offset);
                found.insert((partition, offset), String::from_utf8(received.record.value).unwrap());
                open.retain(|of, end| *of != partition || offset + 1 < *end);
            }
        }
        found
    })
}

/// What was acknowledged and is not there; also a hole where no offset was given.
fn missing(said: &Said, found: &BTreeMap<(u16, u64), String>) -> Vec<String> {
    let mut missing = said.lost.clone();
    for (place, value) in &said.sent {
        if found.get(place) != Some(value) {
            missing.push(format!("{value} was sent to {place:?}, and there is {:?}", found.get(place)));
        }
    }
    missing
}

/// Lives and ends, and what is missing then.
fn run(synchronous: &str, rounds: u64, power: impl FnOnce(&Path, &Path) -> Option<Power>) -> Vec<String> {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let folder = base.join("bus");
    std::fs::create_dir_all(&folder).unwrap();
    let (file, mut said, mut lot): (PathBuf, _, _) =
        (folder.join("bus.db"), Said::default(), Lot::new(Lot::seed(), &[5]));
    let power = power(&base, &folder);
    let environment = power.as_ref().map(|power| power.disk.environment().to_vec()).unwrap_or_default();
    for _ in 0..rounds * Lot::times() {
        live(&file, synchronous, &environment, &mut lot, &mut said);
        if let Some(power) = &power {
            power.cut(&mut lot);
        }
    }
    println!("{} records were sent", said.sent.len());
    assert!(said.sent.len() > 10 && said.committed.len() > 1, "nothing was done, so nothing is shown: {said:?}");
    missing(&said, &read_all(&file))
}

/// A disk that loses what was not synced: all of it, or by lot.
struct Power {
    disk: Disk,
    everything: bool,
}

impl Power {
    fn new(base: &Path, folder: &Path, everything: bool) -> Self {
        Self { disk: Disk::new(base, folder), everything }
    }

    fn cut(&self, lot: &mut Lot) {
        self.disk.cut_power(if self.everything { Loss::Everything } else { Loss::ByLot(lot) });
    }
}

const NOTHING: &[String] = &[];

fn what_a_bus_has_acknowledged_survives_kills() {
    assert_eq!(run("full", 12, |_, _| None), NOTHING);
}

fn what_a_bus_has_acknowledged_survives_the_loss_of_all_that_was_not_synced() {
    assert_eq!(run("full", 5, |base, folder| Some(Power::new(base, folder, true))), NOTHING);
}

fn what_a_bus_has_acknowledged_survives_the_loss_of_some_of_what_was_not_synced() {
    assert_eq!(run("full", 5, |base, folder| Some(Power::new(base, folder, false))), NOTHING);
}

/// The tests above have teeth.
fn a_bus_that_syncs_less_is_found_out() {
    assert_ne!(run("normal", 5, |base, folder| Some(Power::new(base, folder, true))), NOTHING);
}

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        what_a_bus_has_acknowledged_survives_kills,
        what_a_bus_has_acknowledged_survives_the_loss_of_all_that_was_not_synced,
        what_a_bus_has_acknowledged_survives_the_loss_of_some_of_what_was_not_synced,
        a_bus_that_syncs_less_is_found_out,
    ]
}
