//! The clients: they go on whatever happens to the service, and remember what they saw.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::crash::checker::{told_balance, told_version};
use crate::crash::history::{Answer, Attempt, History, Reading, Tick};
use crate::crash::lot::Lot;
use crate::crash::plan::{ACCOUNTS, Order, account};
use crate::http::{Connection, Response};

/// Longer than any run takes: a run that does not get on is a failure.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the clients of one run share.
pub(crate) struct Traffic {
    seed: u64,
    clock: AtomicU64,
    /// How many orders each client has begun: others may repeat them, also before their answer is there.
    orders: Vec<AtomicU64>,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    /// How many times the service was started.
    start: u64,
    /// `None` from shortly before its end until it is started again.
    service: Option<SocketAddr>,
    /// Requests since it was started.
    requests: u64,
    closed: bool,
    failure: Option<String>,
}

impl Traffic {
    pub(crate) fn new(seed: u64, clients: u64) -> Self {
        let orders = (0..clients).map(|_| AtomicU64::new(0)).collect();
        Self { seed, clock: AtomicU64::new(0), orders, gate: Mutex::default(), changed: Condvar::new() }
    }

    /// The service runs: the clients go on.
    pub(crate) fn open(&self, service: SocketAddr) {
        self.change(|gate| {
            gate.start += 1;
            gate.requests = 0;
            gate.service = Some(service);
        });
    }

    /// Waits until so many requests were begun since then.
    pub(crate) fn flowed(&self, requests: u64) {
        let waiting = |gate: &mut Gate| gate.requests < requests && gate.failure.is_none();
        let (gate, late) = self.changed.wait_timeout_while(self.gate(), PATIENCE, waiting).expect("no poison");
        let failure = gate.failure.clone();
        drop(gate);
        assert!(failure.is_none(), "{}", failure.unwrap_or_default());
        assert!(!late.timed_out(), "the clients do not get on");
    }

    /// The service is about to end: lost connections are no failure from now on.
    pub(crate) fn interrupt(&self) {
        self.change(|gate| gate.service = None);
    }

    /// The clients finish what they are at, and end.
    pub(crate) fn close(&self) {
        self.change(|gate| gate.closed = true);
    }

    /// A client, until the traffic is closed.
    pub(crate) fn client(&self, number: u64) -> History {
        let mut client = Client {
            traffic: self,
            number,
            lot: Lot::new(self.seed, &[0, number]),
            unanswered: Vec::new(),
            history: History::default(),
        };
        let mut last = 0;
        while let Some((start, service)) = self.service_after(last) {
            last = start;
            if let Err(error) = client.talk(start, service)
                && self.gate().service == Some(service)
            {
                self.change(|gate| gate.failure = Some(format!("client {number}, while the service runs: {error}")));
            }
        }
        client.history
    }

    /// Sends every order that was answered once more.
    pub(crate) fn repeat(&self, orders: &[Order], service: SocketAddr) -> io::Result<History> {
        let mut history = History::default();
        let mut connection = Connection::open(service)?;
        for order in orders {
            self.send(&mut connection, order.clone(), &mut history)?;
        }
        Ok(history)
    }

    /// Asks for every balance.
    pub(crate) fn read_all(&self, service: SocketAddr) -> io::Result<History> {
        let mut history = History::default();
        let mut connection = Connection::open(service)?;
        for number in 0..ACCOUNTS {
            self.read(&mut connection, account(number), &mut history)?;
        }
        Ok(history)
    }

    fn send(&self, connection: &mut Connection, order: Order, history: &mut History) -> io::Result<bool> {
        let (path, key, json) = (order.path(), order.key.clone(), order.json());
        history.attempts.push(Attempt { order, began: self.tick(), answer: None });
        let response = connection.post(path, Some(&key), &json)?;
        let answered = is_outcome(&response)?;
        if answered && let Some(attempt) = history.attempts.last_mut() {
            let replayed = response.header("idempotent-replayed") == Some("true");
            let Response { status, body, .. } = response;
            attempt.answer = Some(Answer { ended: self.tick(), status, replayed, body });
        }
        Ok(answered)
    }

    fn read(&self, connection: &mut Connection, account: String, history: &mut History) -> io::Result<()> {
        let began = self.tick();
        let json = format!("{{\"account\":\"{account}\"}}");
        let response = connection.post("/queries/bank-account/balance", None, &json)?;
        let ended = self.tick();
        let (version, balance) = match response.status {
            404 => (0, 0),
            200 => {
                told_version(&response.body).zip(told_balance(&response.body)).ok_or_else(|| unexpected(&response))?
            }
            _ if is_outcome(&response)? => return Err(unexpected(&response)),
            _ => return Ok(()),
        };
        history.readings.push(Reading { account, began, ended, version, balance });
        Ok(())
    }

    fn tick(&self) -> Tick {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().expect("no poison")
    }

    fn change(&self, change: impl FnOnce(&mut Gate)) {
        change(&mut self.gate());
        self.changed.notify_all();
    }

    /// The service once it was started more than `last` times; `None` when the traffic is closed.
    fn service_after(&self, last: u64) -> Option<(u64, SocketAddr)> {
        let waiting = |gate: &mut Gate| !gate.closed && (gate.start <= last || gate.service.is_none());
        let gate = self.changed.wait_while(self.gate(), waiting).expect("no poison");
        if gate.closed { None } else { gate.service.map(|service| (gate.start, service)) }
    }

    /// Counts a request; false when this start of the service is over.
    fn begin(&self, start: u64) -> bool {
        let mut gate = self.gate();
        let goes_on = !gate.closed && gate.start == start && gate.service.is_some();
        if goes_on {
            gate.requests += 1;
            self.changed.notify_all();
        }
        goes_on
    }
}

/// Closes the traffic at the latest when the test is over, so that no client waits for ever for a test that failed.
pub(crate) struct Closing<'a>(pub(crate) &'a Traffic);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Whether it is one; otherwise nobody knows what became of the order. Anything else than these is a failure.
fn is_outcome(response: &Response) -> io::Result<bool> {
    match response.status {
        200 | 422 => Ok(true),
        503 | 504 => Ok(false),
        _ => Err(unexpected(response)),
    }
}

fn unexpected(response: &Response) -> io::Error {
    io::Error::other(format!("an unexpected answer: {response:?}"))
}

struct Client<'a> {
    traffic: &'a Traffic,
    number: u64,
    lot: Lot,
    /// Own orders that were sent and not answered.
    unanswered: Vec<Order>,
    history: History,
}

impl Client<'_> {
    fn talk(&mut self, start: u64, service: SocketAddr) -> io::Result<()> {
        let mut connection = Connection::open(service)?;
        while self.traffic.begin(start) {
            if self.lot.one_in(10) {
                let account = account(self.lot.below(ACCOUNTS));
                self.traffic.read(&mut connection, account, &mut self.history)?;
                continue;
            }
            let order = self.next_order();
            self.unanswered.push(order.clone());
            if self.traffic.send(&mut connection, order, &mut self.history)? {
                self.unanswered.pop();
            }
        }
        Ok(())
    }

    fn next_order(&mut self) -> Order {
        // some of what was not answered is repeated, some never is
        if let Some(order) = self.unanswered.pop()
            && self.lot.one_in(2)
        {
            return order;
        }
        let repeated = if self.lot.one_in(3) { self.order_of_anybody() } else { None };
        repeated.unwrap_or_else(|| {
            let number = self.traffic.orders[index(self.number)].fetch_add(1, Ordering::SeqCst);
            Order::of(self.traffic.seed, self.number, number)
        })
    }

    /// An order that was begun: now, a moment ago, or long ago.
    fn order_of_anybody(&mut self) -> Option<Order> {
        let client = self.lot.below(self.traffic.orders.len() as u64);
        let begun = self.traffic.orders[index(client)].load(Ordering::SeqCst);
        let back = if self.lot.one_in(2) { self.lot.below(2) } else { self.lot.below(begun.max(1)) };
        Some(Order::of(self.traffic.seed, client, begun.checked_sub(1 + back)?))
    }
}

fn index(client: u64) -> usize {
    usize::try_from(client).expect("a few clients")
}
