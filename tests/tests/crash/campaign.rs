//! Load, trouble, a service that serves again, again and again; then the verdict.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::checker::{Violation, check};
use crate::door::{Closing, Door};
use crate::history::History;
use crate::ledger;
use crate::lot::Lot;
use crate::service::{Service, Setup};
use crate::tail::{Astray, Tail};
use crate::traffic::Traffic;

/// Each with one request at a time.
const CLIENTS: usize = 12;

/// A run.
pub(crate) struct Campaign {
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    /// How often there is trouble.
    pub(crate) rounds: u64,
    /// The most requests before it.
    pub(crate) most_requests: u64,
    /// Whether a reader follows: one that is beside the service sees what is not yet synced.
    pub(crate) followed: bool,
}

/// What trouble is made for.
pub(crate) struct Scene<'a, 'b> {
    pub(crate) setup: &'a Setup,
    pub(crate) lot: Lot,
    door: &'a Door<'b>,
    service: Option<Service>,
}

/// What came of it.
pub(crate) struct Verdict {
    /// What the clients did and saw.
    pub(crate) history: History,
    /// When the service had started for the last time.
    pub(crate) restarted: Vec<Violation>,
    /// After everything that had been answered was asked once more.
    pub(crate) repeated: Vec<Violation>,
    /// What the reader that followed has missed, or seen twice.
    pub(crate) astray: Vec<Astray>,
}

impl Scene<'_, '_> {
    /// The service serves: it is started if it does not run.
    pub(crate) fn serve(&mut self) {
        if self.service.is_none() {
            let started = self.setup.start().unwrap_or_else(|said| panic!("the service does not start: {said}"));
            self.serve_as(started);
        }
    }

    /// This service serves.
    pub(crate) fn serve_as(&mut self, service: Service) {
        self.door.open(service.address);
        self.service = Some(service);
    }

    /// Another service takes over from the one that serves, which is given back alive.
    pub(crate) fn take_over(&mut self) -> Service {
        // from the moment on when it is no owner any more, until nobody asks it
        self.door.tolerate();
        let old = self.service.take();
        self.serve();
        old.expect("it serves")
    }

    /// Waits until so many more requests were begun.
    pub(crate) fn flow(&self, requests: u64) {
        self.door.flow(requests);
    }

    /// Checks that for this time nobody gets an answer.
    pub(crate) fn expect_stillness(&self, time: Duration) {
        let begun = self.door.requests_within(CLIENTS as u64 + 1, time);
        assert!(begun <= CLIENTS as u64, "{begun} requests, so one of them was answered");
    }

    /// Ends the service, if it runs.
    pub(crate) fn kill(&mut self) {
        self.door.shut();
        if let Some(service) = self.service.take() {
            service.kill();
        }
    }
}

impl Campaign {
    /// Runs it, with this trouble in each round.
    pub(crate) fn run(&self, mut trouble: impl FnMut(&mut Scene<'_, '_>)) -> Verdict {
        let traffic = Traffic::new(self.seed, CLIENTS);
        let door = Door::new(&traffic);
        let (service, tail, history) = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS as u64).map(|number| (number, &door)).collect();
            let clients: Vec<_> =
                clients.into_iter().map(|(number, door)| scope.spawn(move || door.client(number))).collect();
            let closing = Closing(&door);
            let lot = Lot::new(self.seed, &[2]);
            let mut scene = Scene { setup: &self.setup, lot, door: &door, service: None };
            let mut tail = None;
            for _ in 0..self.rounds * Lot::times() {
                scene.serve();
                if self.followed && tail.is_none() {
                    tail = Some(Tail::follow(self.setup.config(), self.seed));
                }
                // a moment among the requests: some are on their way just then
                let requests = 1 + scene.lot.below(self.most_requests);
                scene.flow(requests);
                trouble(&mut scene);
            }
            scene.serve();
            scene.flow(self.most_requests / 2);
            drop(closing);
            let histories = clients.into_iter().map(|client| client.join().expect("a client that does not panic"));
            (scene.service.expect("it serves"), tail, History::merge(histories))
        });

        judge(&traffic, &self.setup, &service, tail, history)
    }
}

/// Compares what was seen with what is stored, while nobody but this service appends.
pub(crate) fn judge(
    traffic: &Traffic,
    setup: &Setup,
    service: &Service,
    tail: Option<Tail>,
    history: History,
) -> Verdict {
    let more = traffic.read_all(service.address).expect("the service answers");
    let history = History::merge([history, more]);
    let (stored, marks) = ledger::read(&setup.config());
    let astray = tail.map(|tail| tail.end(&marks)).unwrap_or_default();
    let restarted = check(&history, &stored);

    let again = traffic.repeat(&history.promised(), service.address).expect("the service answers");
    let more = traffic.read_all(service.address).expect("the service answers");
    let history = History::merge([history, again, more]);
    let repeated = check(&history, &ledger::read(&setup.config()).0);
    report(&history);
    Verdict { history, restarted, repeated, astray }
}

impl Verdict {
    /// Fails if anything was found.
    #[track_caller]
    pub(crate) fn expect_none(&self) {
        for (when, found) in [("restarted", &self.restarted), ("repeated", &self.repeated)] {
            let first: Vec<_> = found.iter().take(10).collect();
            assert!(found.is_empty(), "{} violations after the service {when}, the first: {first:#?}", found.len());
        }
        assert!(self.astray.is_empty(), "the reader went astray: {:#?}", self.astray);
    }
}

pub(crate) fn report(history: &History) {
    let answers: Vec<_> = history.attempts.iter().filter_map(|attempt| attempt.answer.as_ref()).collect();
    println!(
        "{} orders in {} attempts, {} of them answered ({} refusals, {} repeats), {} readings",
        history.attempts.iter().map(|attempt| &attempt.order.key).collect::<BTreeSet<_>>().len(),
        history.attempts.len(),
        answers.len(),
        answers.iter().filter(|answer| answer.status == 422).count(),
        answers.iter().filter(|answer| answer.replayed).count(),
        history.readings.len(),
    );
}
