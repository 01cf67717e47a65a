//! The way of some clients to one service: open while it serves, shut while it does not.

use std::io;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::history::History;
use crate::http::Connection;
use crate::traffic::{Client, Traffic, unexpected};

/// Longer than any run takes: a run that does not get on is a failure.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the clients of one service share.
pub(crate) struct Door<'a> {
    traffic: &'a Traffic,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    /// How many times it was opened.
    opened: u64,
    /// `None` from shortly before the service's end until it serves again.
    service: Option<SocketAddr>,
    /// Requests through this door.
    requests: u64,
    /// Whether a lost connection, or no outcome, is no failure.
    tolerant: bool,
    closed: bool,
    failure: Option<String>,
}

impl<'a> Door<'a> {
    pub(crate) fn new(traffic: &'a Traffic) -> Self {
        Self { traffic, gate: Mutex::default(), changed: Condvar::new() }
    }

    /// The service serves: the clients go on, and every request has to be answered with its outcome.
    pub(crate) fn open(&self, service: SocketAddr) {
        self.change(|gate| {
            gate.opened += 1;
            gate.service = Some(service);
            gate.tolerant = false;
        });
    }

    /// Waits until so many more requests were begun.
    pub(crate) fn flow(&self, requests: u64) {
        self.flow_to(self.begun() + requests);
    }

    /// How many requests were begun.
    pub(crate) fn begun(&self) -> u64 {
        self.gate().requests
    }

    /// Waits until so many requests were begun.
    pub(crate) fn flow_to(&self, wanted: u64) {
        let waiting = |gate: &mut Gate| gate.requests < wanted && gate.failure.is_none();
        let (gate, late) = self.changed.wait_timeout_while(self.gate(), PATIENCE, waiting).expect("no poison");
        let failure = gate.failure.clone();
        drop(gate);
        assert!(failure.is_none(), "{}", failure.unwrap_or_default());
        assert!(!late.timed_out(), "the clients do not get on");
    }

    /// How many requests are begun within this time, which is over with the one of this number.
    pub(crate) fn requests_within(&self, most: u64, time: Duration) -> u64 {
        let before = self.gate().requests;
        let few = |gate: &mut Gate| gate.requests - before < most;
        self.changed.wait_timeout_while(self.gate(), time, few).expect("no poison").0.requests - before
    }

    /// The service is about to end: nothing is asked any more, and lost connections are no failure from now on.
    pub(crate) fn shut(&self) {
        self.change(|gate| gate.service = None);
    }

    /// The clients go on, and take whatever comes from now on.
    pub(crate) fn tolerate(&self) {
        self.change(|gate| gate.tolerant = true);
    }

    /// The clients finish what they are at, and end.
    pub(crate) fn close(&self) {
        self.change(|gate| gate.closed = true);
    }

    /// What a client of this door does and sees until the door is closed.
    pub(crate) fn client(&self, number: u64) -> History {
        let mut client = Client::new(self.traffic, number);
        let mut last = 0;
        while let Some((opened, service)) = self.service_after(last) {
            last = opened;
            if let Err(error) = self.talk(&mut client, opened, service) {
                self.change(|gate| {
                    if gate.service == Some(service) && !gate.tolerant {
                        gate.failure = Some(format!("client {number}, while the service runs: {error}"));
                    }
                });
            }
        }
        client.history
    }

    fn talk(&self, client: &mut Client<'_>, opened: u64, service: SocketAddr) -> io::Result<()> {
        let mut connection = Connection::open(service)?;
        while self.begin(opened) {
            if let Some(unsettled) = client.request(&mut connection)?
                && !self.gate().tolerant
            {
                return Err(unexpected(&unsettled));
            }
        }
        Ok(())
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().expect("no poison")
    }

    fn change(&self, change: impl FnOnce(&mut Gate)) {
        change(&mut self.gate());
        self.changed.notify_all();
    }

    /// The service once the door was opened more than `last` times; `None` when it is closed.
    fn service_after(&self, last: u64) -> Option<(u64, SocketAddr)> {
        let waiting = |gate: &mut Gate| !gate.closed && (gate.opened <= last || gate.service.is_none());
        let gate = self.changed.wait_while(self.gate(), waiting).expect("no poison");
        if gate.closed { None } else { gate.service.map(|service| (gate.opened, service)) }
    }

    /// Counts a request; false when the door was shut since it was opened.
    fn begin(&self, opened: u64) -> bool {
        let mut gate = self.gate();
        let goes_on = !gate.closed && gate.opened == opened && gate.service.is_some();
        if goes_on {
            gate.requests += 1;
            self.changed.notify_all();
        }
        goes_on
    }
}

/// Closes a door at the latest when the test is over, so that no client waits for ever for a test that failed.
pub(crate) struct Closing<'a, 'b>(pub(crate) &'b Door<'a>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
