//! Services that clients reach over Kafka alone. Services and brokers are killed, and partitions move, under load: every call
//! comes to its outcome, and everything that was accepted is done once and in its turn.

use std::thread;
use std::time::SystemTime;

use libtest_mimic::Trial;
use phoenix_test_servers::{Kind, Private, Server, shared, trial};

use crate::campaign::{Verdict, report};
use crate::checker::{check, check_accepted};
use crate::history::History;
use crate::ledger;
use crate::line::{Adapter, Closing, Line};
use crate::lot::Lot;
use crate::plan::Order;
use crate::service::{Service, Setup};
use crate::stores::{Place, Store};
use crate::traffic::Traffic;

/// Each with one call at a time.
const CLIENTS: usize = 32;
/// So many commands are told at once before there is trouble.
const FLOOD: u64 = 400;
/// After so long without a sign of life a service loses its partitions.
const SHORT: &str = "6s";
/// The same, where the broker is away for less: whoever was there before it can go on at once.
const LONG: &str = "40s";

/// Services on one topic, and their clients.
struct Stage<'a, 'b> {
    line: &'a Line<'b>,
    setup: &'a Setup,
    services: Vec<Service>,
    lot: Lot,
    seen: History,
}

impl Stage<'_, '_> {
    /// Waits for a moment among the calls, at most so many later, and not less than half of that.
    fn flow(&mut self, most: u64) {
        let calls = most / 2 + self.lot.below(most / 2);
        self.line.flow(calls);
    }

    fn start(&mut self) {
        self.services.push(start(self.setup));
    }

    /// Waits until every account is somebody's.
    fn settle(&mut self) {
        self.seen = History::merge([std::mem::take(&mut self.seen), self.line.read_all()]);
    }
}

fn start(setup: &Setup) -> Service {
    setup.start().unwrap_or_else(|said| panic!("the service does not start: {said}"))
}

/// Until when the broker keeps a command.
#[derive(Debug, Clone, Copy)]
enum Grade {
    Broker,
    Inbox,
}

/// What a run is made of.
struct Run<'a> {
    adapter: Adapter,
    broker: &'a str,
    services: usize,
    grade: Grade,
    session: &'static str,
    /// How often there is trouble.
    rounds: u64,
}

/// Trouble under load, and the verdict.
fn run(place: &Place, of: &Run<'_>, mut trouble: impl FnMut(&mut Stage<'_, '_>)) {
    let Run { adapter, broker, services, grade, session, rounds } = *of;
    let seed = Lot::seed();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    // topics and groups of this run alone: the broker is not
    let topic = format!("crash-{}-{}", std::process::id(), now.as_nanos());
    let setup = Setup::new(place).with_bus(&adapter.url(broker), &topic);
    let setup = setup.with("PHOENIX__RDKAFKA__SESSION_TIMEOUT", session);
    let setup = match grade {
        Grade::Broker => setup,
        // so much waits in the inbox that a kill meets some of it
        Grade::Inbox => {
            setup.with("PHOENIX__DELIVERY__GRADE", "inbox").with("PHOENIX__DELIVERY__MAX_PER_AGGREGATE", "2")
        }
    };
    // offsets that were committed too early are seen after a kill
    let setup = setup.with("PHOENIX__DELIVERY__COMMIT_EVERY", "5ms");
    adapter.prepare(broker, &topic);
    let services = (0..services).map(|_| start(&setup)).collect();
    let traffic = Traffic::new(seed, CLIENTS);
    let line = Line::open(&traffic, adapter, broker, &topic);

    let (services, history) = thread::scope(|scope| {
        let line = &line;
        let clients: Vec<_> =
            (0..CLIENTS as u64).map(|number| scope.spawn(move || line.client(number, seed))).collect();
        let closing = Closing(line);
        let lot = Lot::new(seed, &[2]);
        let mut stage = Stage { line, setup: &setup, services, lot, seen: History::default() };
        for round in 0..rounds * Lot::times() {
            stage.flow(600);
            // nobody else sends these
            let orders = (round * FLOOD..(round + 1) * FLOOD).map(|number| Order::of(seed, CLIENTS as u64, number));
            let enough = stage.lot.below(FLOOD).try_into().expect("a few");
            let told = line.flood(orders.collect(), enough, || trouble(&mut stage));
            stage.seen = History::merge([std::mem::take(&mut stage.seen), told]);
        }
        stage.flow(300);
        drop(closing);
        let clients = clients.into_iter().map(|client| client.join().expect("a client that does not panic"));
        (stage.services, History::merge(clients.chain([stage.seen])))
    });
    line.expect_none();
    line.drain(&topic, &topic);
    judge(&line, &setup, history).expect_none();
    drop(services);
}

/// Compares what was seen with what is stored, when everything has come to its end.
fn judge(line: &Line<'_>, setup: &Setup, history: History) -> Verdict {
    let history = History::merge([history, line.read_all()]);
    let restarted = check(&history, &ledger::read(&setup.config()).0);
    let again = line.repeat(&history.promised());
    let mut repeated = check_accepted(&history, &again);
    let history = History::merge([history, again, line.read_all()]);
    repeated.extend(check(&history, &ledger::read(&setup.config()).0));
    report(&history);
    Verdict { history, restarted, repeated, astray: Vec::new() }
}

fn killed_and_back(place: &Place, adapter: Adapter, broker: &Server, grade: Grade, rounds: u64) {
    let of = Run { adapter, broker: broker.address(), services: 1, grade, session: SHORT, rounds };
    run(place, &of, |stage| {
        stage.services.remove(0).kill();
        stage.start();
    });
}

fn a_service_is_killed_and_comes_back(place: &Place, broker: &Server) {
    killed_and_back(place, Adapter::RdKafka, broker, Grade::Broker, 3);
}

/// What it had taken into its inbox is nobody's but its own: the broker's offset is past it.
fn a_service_with_an_inbox_is_killed_and_comes_back(place: &Place, broker: &Server) {
    killed_and_back(place, Adapter::RdKafka, broker, Grade::Inbox, 1);
}

fn a_service_on_kafka_rust_is_killed_and_comes_back(place: &Place, broker: &Server) {
    killed_and_back(place, Adapter::KafkaRust, broker, Grade::Broker, 3);
}

fn broker_killed_and_back(place: &Place, adapter: Adapter, broker: &Server, grade: Grade, rounds: u64) {
    let own = Private::start(broker.kind()).unwrap();
    let of = Run { adapter, broker: own.address(), services: 1, grade, session: LONG, rounds };
    run(place, &of, |_| {
        own.kill().unwrap();
        own.restart().unwrap();
    });
}

fn the_broker_is_killed_and_comes_back(place: &Place, broker: &Server) {
    broker_killed_and_back(place, Adapter::RdKafka, broker, Grade::Broker, 2);
}

fn the_broker_of_a_service_with_an_inbox_is_killed_and_comes_back(place: &Place, broker: &Server) {
    broker_killed_and_back(place, Adapter::RdKafka, broker, Grade::Inbox, 1);
}

fn the_broker_of_kafka_rust_is_killed_and_comes_back(place: &Place, broker: &Server) {
    broker_killed_and_back(place, Adapter::KafkaRust, broker, Grade::Broker, 2);
}

fn of_two_services_one_is_killed_and_another_comes(place: &Place, broker: &Server) {
    let of = Run {
        adapter: Adapter::RdKafka,
        broker: broker.address(),
        services: 2,
        grade: Grade::Broker,
        session: SHORT,
        rounds: 2,
    };
    run(place, &of, |stage| {
        let index = usize::from(stage.lot.one_in(2));
        stage.services.remove(index).kill();
        stage.flow(100);
        stage.start();
        stage.settle();
    });
}

/// Past its session: the other one has everything by then. And it is good for something again.
#[cfg(unix)]
fn of_two_services_one_is_frozen_and_wakes_up(place: &Place, broker: &Server) {
    let of = Run {
        adapter: Adapter::RdKafka,
        broker: broker.address(),
        services: 2,
        grade: Grade::Broker,
        session: SHORT,
        rounds: 1,
    };
    run(place, &of, |stage| {
        stage.services[0].freeze();
        stage.settle();
        stage.flow(100);
        stage.services[0].thaw();
        stage.flow(300);
        stage.settle();
        stage.services.remove(1).kill();
        stage.settle();
        stage.flow(100);
    });
}

/// Needs both servers.
fn case(store: Store, broker: Kind, name: &str, test: fn(&Place, &Server)) -> Trial {
    let name =
        crate::title(module_path!(), &format!("{name}::{}::{}", store.name(), broker.to_string().to_lowercase()));
    let case = trial(broker, name, move |broker| {
        let server = store.server().map(shared).transpose()?;
        test(&Place::new(store, server), broker);
        Ok(())
    });
    match store.server().map(|kind| trial(kind, "", |_| Ok(()))) {
        Some(database) if database.has_ignored_flag() => case.with_kind(database.kind()).with_ignored_flag(true),
        _ => case,
    }
}

macro_rules! on {
    ($store:ident, $broker:ident, $test:ident) => {
        case(Store::$store, Kind::$broker, stringify!($test), $test)
    };
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        on!(Sqlite, Kafka4, a_service_is_killed_and_comes_back),
        on!(Postgres, Kafka, a_service_is_killed_and_comes_back),
        on!(Postgres, Kafka4, a_service_with_an_inbox_is_killed_and_comes_back),
        on!(MySql, Kafka4, a_service_with_an_inbox_is_killed_and_comes_back),
        on!(Postgres, Kafka4, the_broker_of_a_service_with_an_inbox_is_killed_and_comes_back),
        on!(Sqlite, Kafka4, the_broker_is_killed_and_comes_back),
        on!(Postgres, Kafka, the_broker_is_killed_and_comes_back),
        on!(Sqlite, Kafka, a_service_on_kafka_rust_is_killed_and_comes_back),
        on!(Sqlite, Kafka, the_broker_of_kafka_rust_is_killed_and_comes_back),
        on!(Postgres, Kafka4, of_two_services_one_is_killed_and_another_comes),
        #[cfg(unix)]
        on!(Postgres, Kafka4, of_two_services_one_is_frozen_and_wakes_up),
    ]
}
