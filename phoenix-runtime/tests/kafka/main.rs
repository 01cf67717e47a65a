//! The buses on Kafka against real brokers: the suite of all buses, with brokers that are killed and frozen, and what is
//! Kafka's own.
//!
//! # Layout
//! - `subject`: the adapters, for the suite
//! - `adapters`: what is promised of them besides
//! - `groups`: partitions that move between consumers
//! - `stopped`: a consumer whose process stands still
//! - `replies`: a client that comes back after it was killed
//! - `safe`: encrypted connections, and who the node is
//! - `options`: what can be chosen, and what is kept secret

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on stops at the line that says so")]

mod adapters;
mod groups;
mod options;
mod replies;
mod safe;
mod stopped;
mod subject;

use libtest_mimic::{Arguments, Failed, Trial};
use phoenix_runtime::testkit::bus::{Case, Need, cases_without};
use phoenix_test_servers::{Kind, Private, Server, trial};

use crate::subject::{Adapter, KafkaSubject};

const SUBJECTS: [(Adapter, Kind, &str); 3] = [
    (Adapter::Kafka, Kind::Kafka, "kafka"),
    (Adapter::RdKafka, Kind::Kafka, "rdkafka on 3.9"),
    (Adapter::RdKafka, Kind::Kafka4, "rdkafka on 4"),
];

fn main() {
    if let Some(done) = stopped::member().or_else(replies::caller) {
        done.unwrap();
        return;
    }
    let mut arguments = Arguments::from_args();
    // two cores, and a broker each; most of it is waiting
    arguments.test_threads.get_or_insert(4);
    let mut trials = options::trials();
    for (adapter, kind, name) in SUBJECTS {
        trials.extend(suite(adapter, kind, name));
        trials.extend(adapters::trials(adapter, kind, name));
        if adapter == Adapter::RdKafka {
            trials.extend(safe::trials(kind, name));
        }
    }
    trials.push(trial(Kind::Kafka4, "kafka: Kafka 4 is refused, with the way out", adapters::kafka_4_is_refused));
    libtest_mimic::run(&arguments, trials).exit();
}

/// The suite. Cases that kill or freeze brokers have one of their own.
fn suite(adapter: Adapter, kind: Kind, name: &str) -> Vec<Trial> {
    let of = |case: Case| {
        let name = format!("{name}: {}", case.name());
        if case.needs().contains(&Need::ServerFaults) {
            trial(kind, name, move |_| {
                let own = Private::start(kind)?;
                run(case, &KafkaSubject::new(adapter, own.address(), Some(&own)))
            })
        } else {
            trial(kind, name, move |server: &'static Server| {
                run(case, &KafkaSubject::new(adapter, server.address(), None))
            })
        }
    };
    cases_without(adapter.lacks()).into_iter().map(of).collect()
}

fn run(case: Case, subject: &KafkaSubject<'_>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(runtime.block_on(case.run(subject))?)
}
