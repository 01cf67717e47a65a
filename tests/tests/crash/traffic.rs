//! The clients: they remember what they asked for and what they saw.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::checker::{told_balance, told_version};
use crate::history::{Answer, Attempt, History, Reading, Tick};
use crate::http::{Connection, Response};
use crate::lot::Lot;
use crate::plan::{ACCOUNTS, Order, account};

/// What all clients of one run share.
pub(crate) struct Traffic {
    seed: u64,
    clock: AtomicU64,
    /// How many orders each client has begun: others may repeat them, also before their answer is there.
    orders: Vec<AtomicU64>,
}

impl Traffic {
    pub(crate) fn new(seed: u64, clients: usize) -> Self {
        let orders = (0..clients).map(|_| AtomicU64::new(0)).collect();
        Self { seed, clock: AtomicU64::new(0), orders }
    }

    /// Sends all of these orders once more, on several connections.
    pub(crate) fn repeat(&self, orders: &[Order], service: SocketAddr) -> io::Result<History> {
        let some = |orders: &[Order]| {
            let mut history = History::default();
            let mut connection = Connection::open(service)?;
            for order in orders {
                settled(self.send(&mut connection, order.clone(), &mut history)?)?;
            }
            Ok(history)
        };
        thread::scope(|scope| {
            let parts = orders.chunks(orders.len().div_ceil(8).max(1));
            let parts: Vec<_> = parts.map(|part| scope.spawn(move || some(part))).collect();
            let parts = parts.into_iter().map(|part| part.join().expect("a client that does not panic"));
            parts.collect::<io::Result<Vec<_>>>().map(History::merge)
        })
    }

    /// Asks for every balance.
    pub(crate) fn read_all(&self, service: SocketAddr) -> io::Result<History> {
        let mut history = History::default();
        let mut connection = Connection::open(service)?;
        for number in 0..ACCOUNTS {
            settled(self.read(&mut connection, account(number), &mut history)?)?;
        }
        Ok(history)
    }

    /// Sends an order. A response that is no outcome is given back: nobody knows what became of the order then.
    fn send(&self, connection: &mut Connection, order: Order, history: &mut History) -> io::Result<Option<Response>> {
        let (path, key, json) = (order.path(), order.key.clone(), order.json());
        history.attempts.push(Attempt { order, began: self.tick(), answer: None, accepted: None });
        let response = connection.post(path, Some(&key), &json)?;
        if !is_outcome(&response)? {
            return Ok(Some(response));
        }
        if let Some(attempt) = history.attempts.last_mut() {
            let replayed = response.header("idempotent-replayed") == Some("true");
            let Response { status, body, .. } = response;
            attempt.answer = Some(Answer { ended: self.tick(), status, replayed, body });
        }
        Ok(None)
    }

    /// Asks for a balance. A response that tells none is given back.
    fn read(
        &self,
        connection: &mut Connection,
        account: String,
        history: &mut History,
    ) -> io::Result<Option<Response>> {
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
            _ => return Ok(Some(response)),
        };
        history.readings.push(Reading { account, began, ended, version, balance });
        Ok(None)
    }

    /// Now.
    pub(crate) fn tick(&self) -> Tick {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

/// Whether it is one. Anything else than these is a failure.
fn is_outcome(response: &Response) -> io::Result<bool> {
    match response.status {
        200 | 422 => Ok(true),
        503 | 504 => Ok(false),
        _ => Err(unexpected(response)),
    }
}

fn settled(unsettled: Option<Response>) -> io::Result<()> {
    unsettled.map_or(Ok(()), |response| Err(unexpected(&response)))
}

pub(crate) fn unexpected(response: &Response) -> io::Error {
    io::Error::other(format!("an unexpected answer: {response:?}"))
}

/// What a client does next.
pub(crate) enum Next {
    Read(String),
    Send(Order),
}

/// One of them.
pub(crate) struct Client<'a> {
    traffic: &'a Traffic,
    number: u64,
    lot: Lot,
    /// Own orders that were sent and not answered.
    unanswered: Vec<Order>,
    pub(crate) history: History,
}

impl<'a> Client<'a> {
    pub(crate) fn new(traffic: &'a Traffic, number: u64) -> Self {
        let lot = Lot::new(traffic.seed, &[0, number]);
        Self { traffic, number, lot, unanswered: Vec::new(), history: History::default() }
    }

    /// Does the next thing. A response that is no outcome is given back.
    pub(crate) fn request(&mut self, connection: &mut Connection) -> io::Result<Option<Response>> {
        match self.next() {
            Next::Read(account) => self.traffic.read(connection, account, &mut self.history),
            Next::Send(order) => {
                let unsettled = self.traffic.send(connection, order, &mut self.history)?;
                if unsettled.is_none() {
                    self.settled();
                }
                Ok(unsettled)
            }
        }
    }

    /// Chooses the next thing.
    pub(crate) fn next(&mut self) -> Next {
        if self.lot.one_in(10) {
            return Next::Read(account(self.lot.below(ACCOUNTS)));
        }
        let order = self.next_order();
        self.unanswered.push(order.clone());
        Next::Send(order)
    }

    /// The order that was chosen last is answered.
    pub(crate) fn settled(&mut self) {
        self.unanswered.pop();
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
