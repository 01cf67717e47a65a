//! Load, the end of the service, a restart on the same file, again and again; then the verdict.

use std::thread;

use crate::crash::checker::{Violation, check};
use crate::crash::history::History;
use crate::crash::ledger;
use crate::crash::lot::Lot;
use crate::crash::service::{Service, Setup};
use crate::crash::traffic::{Closing, Traffic};

/// Each with one request at a time.
const CLIENTS: u64 = 12;

/// A run.
pub(crate) struct Campaign {
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    /// How often the service ends.
    pub(crate) ends: u64,
    /// The most requests between a start and an end.
    pub(crate) most_requests: u64,
}

/// What came of it.
pub(crate) struct Verdict {
    /// When the service had started for the last time.
    pub(crate) restarted: Vec<Violation>,
    /// After everything that had been answered was asked once more.
    pub(crate) repeated: Vec<Violation>,
}

impl Campaign {
    /// Runs it: `after_end` is what happens to the files each time the process is gone.
    pub(crate) fn run(&self, mut after_end: impl FnMut(&mut Lot)) -> Verdict {
        let traffic = Traffic::new(self.seed, CLIENTS);
        let mut lot = Lot::new(self.seed, &[2]);
        let (service, mut history) = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|number| (number, &traffic)).collect();
            let clients: Vec<_> =
                clients.into_iter().map(|(number, traffic)| scope.spawn(move || traffic.client(number))).collect();
            let closing = Closing(&traffic);
            for _ in 0..self.ends {
                let service = self.start();
                traffic.open(service.address);
                // a moment among the requests: some are on their way just then
                traffic.flowed(1 + lot.below(self.most_requests));
                traffic.interrupt();
                service.kill();
                after_end(&mut lot);
                if lot.one_in(3) {
                    // the next one does not get far
                    self.setup.kill_while_starting();
                    after_end(&mut lot);
                }
            }
            let service = self.start();
            traffic.open(service.address);
            traffic.flowed(self.most_requests / 2);
            drop(closing);
            let histories = clients.into_iter().map(|client| client.join().expect("a client that does not panic"));
            (service, History::merge(histories))
        });

        let more = traffic.read_all(service.address).expect("the service answers");
        history = History::merge([history, more]);
        let restarted = check(&history, &ledger::read(&self.setup.store()));

        let again = traffic.repeat(&history.answered(), service.address).expect("the service answers");
        let more = traffic.read_all(service.address).expect("the service answers");
        history = History::merge([history, again, more]);
        let repeated = check(&history, &ledger::read(&self.setup.store()));
        report(&history);
        Verdict { restarted, repeated }
    }

    fn start(&self) -> Service {
        self.setup.start().unwrap_or_else(|said| panic!("the service does not start: {said}"))
    }
}

impl Verdict {
    /// Fails if anything was found.
    #[track_caller]
    pub(crate) fn expect_none(&self) {
        for (when, found) in [("restarted", &self.restarted), ("repeated", &self.repeated)] {
            let first: Vec<_> = found.iter().take(10).collect();
            assert!(found.is_empty(), "{} violations after the service {when}, the first: {first:#?}", found.len());
        }
    }
}

fn report(history: &History) {
    let answers: Vec<_> = history.attempts.iter().filter_map(|attempt| attempt.answer.as_ref()).collect();
    println!(
        "{} orders in {} attempts, {} of them answered ({} refusals, {} repeats), {} readings",
        history.attempts.iter().map(|attempt| &attempt.order.key).collect::<std::collections::BTreeSet<_>>().len(),
        history.attempts.len(),
        answers.len(),
        answers.iter().filter(|answer| answer.status == 422).count(),
        answers.iter().filter(|answer| answer.replayed).count(),
        history.readings.len(),
    );
}
