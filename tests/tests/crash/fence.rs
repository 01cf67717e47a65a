//! Two services on one database: one is frozen in the middle of what it does, the other takes over, the first wakes up.
//! Nothing counts that it appends from then on, and it tells nothing that rests on what it believes.

use std::thread::{self, ScopedJoinHandle};

use libtest_mimic::Trial;
use phoenix_test_servers::Private;

use crate::campaign::judge;
use crate::door::{Closing, Door};
use crate::history::{History, Tick};
use crate::http::Connection;
use crate::lot::Lot;
use crate::service::{Service, Setup};
use crate::stores::{Place, SERVERS, on_each, on_private};
use crate::tail::Tail;
use crate::traffic::Traffic;

/// Clients of each owner, and as many that come to it while it is frozen.
const CLIENTS: usize = 4;

/// An owner's clients, and when the next owner had come.
struct Reign<'scope> {
    clients: Vec<ScopedJoinHandle<'scope, History>>,
    over: Tick,
}

fn an_owner_that_was_frozen_is_fenced(place: &Place) {
    run(place, 8, |_| {});
}

fn an_owner_that_was_frozen_until_its_connections_died_is_fenced(place: &Place, database: &Private) {
    run(place, 2, |_| {
        database.kill().unwrap();
        database.restart().unwrap();
    });
}

/// So many changes of owner; `meanwhile` the old one is frozen.
fn run(place: &Place, rounds: usize, mut meanwhile: impl FnMut(&mut Lot)) {
    let (seed, rounds) = (Lot::seed(), rounds * usize::try_from(Lot::times()).unwrap());
    let mut lot = Lot::new(seed, &[2]);
    let setup = Setup::new(place);
    let traffic = Traffic::new(seed, 2 * CLIENTS * (1 + rounds));
    let doors: Vec<Door<'_>> = (0..=rounds).map(|_| Door::new(&traffic)).collect();

    let (service, tail, histories) = thread::scope(|scope| {
        let _closing: Vec<_> = doors.iter().map(Closing).collect();
        let mut numbers = 0..;
        let mut come = |door| -> Vec<_> {
            numbers.by_ref().take(CLIENTS).map(|number| scope.spawn(move || Door::client(door, number))).collect()
        };
        let mut owner = start(&setup);
        doors[0].open(owner.address);
        let tail = Tail::follow(setup.config(), seed);
        let mut reigns = vec![Reign { clients: come(&doors[0]), over: Tick::MAX }];
        for (old, new) in doors.iter().zip(&doors[1..]) {
            // a moment among the requests: appends are on their way just then
            old.flow(1 + lot.below(300));
            old.tolerate();
            owner.freeze();

            let successor = start(&setup);
            let reign = reigns.last_mut().unwrap();
            reign.over = traffic.tick();
            new.open(successor.address);
            let clients = come(new);
            new.flow(1 + lot.below(100));
            // these know no better than to ask the old one
            let begun = old.begun();
            reign.clients.extend(come(old));
            old.flow_to(begun + CLIENTS as u64);
            meanwhile(&mut lot);
            new.flow(1 + lot.below(100));

            owner.thaw();
            while is_live(&owner) {
                old.flow(1);
            }
            old.flow(1 + lot.below(100));
            old.close();
            owner.kill();
            owner = successor;
            reigns.push(Reign { clients, over: Tick::MAX });
        }
        doors[rounds].close();
        let histories: Vec<_> = reigns.into_iter().map(|Reign { clients, over }| (gather(clients), over)).collect();
        (owner, tail, histories)
    });

    for (history, over) in &histories {
        expect_silence(history, *over);
    }
    let history = History::merge(histories.into_iter().map(|(history, _)| history));
    judge(&traffic, &setup, &service, Some(tail), history).expect_none();
}

fn start(setup: &Setup) -> Service {
    setup.start().unwrap_or_else(|said| panic!("the service does not start: {said}"))
}

fn gather(clients: Vec<ScopedJoinHandle<'_, History>>) -> History {
    History::merge(clients.into_iter().map(|client| client.join().expect("a client that does not panic")))
}

/// Whether it does not yet say that only a restart helps.
fn is_live(service: &Service) -> bool {
    let response = Connection::open(service.address).and_then(|mut connection| connection.get("/health/live"));
    response.expect("it answers").status == 200
}

/// Whoever asked the old owner when it was one no more got at most an outcome that was stored before.
#[track_caller]
fn expect_silence(history: &History, over: Tick) {
    let told = history.attempts.iter().filter(|attempt| attempt.began > over);
    let told: Vec<_> = told.filter(|attempt| attempt.answer.as_ref().is_some_and(|answer| !answer.replayed)).collect();
    assert!(told.is_empty(), "an owner that was one no more told {told:#?}");
    let read: Vec<_> = history.readings.iter().filter(|reading| reading.began > over).collect();
    assert!(read.is_empty(), "an owner that was one no more told {read:#?}");
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_each!(SERVERS, an_owner_that_was_frozen_is_fenced);
    trials.extend(on_private!(SERVERS, an_owner_that_was_frozen_until_its_connections_died_is_fenced));
    trials
}
