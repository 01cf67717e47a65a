//! Clients over a bus. They know a topic and no service, so whatever becomes of services and brokers, each of their calls
//! comes to its outcome: anything else is a failure.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use phoenix_runtime::bus::kafka::{KafkaBus, KafkaOptions};
use phoenix_runtime::bus::rdkafka::{RdKafkaBus, RdKafkaOptions};
use phoenix_runtime::bus::{Bus, BusError, TopicPartition};
use phoenix_runtime::client::door::{Door, Request};
use phoenix_runtime::client::remote::{Every, Remote, RemoteOptions, Replies};
use phoenix_runtime::domain::error::{AskError, QueryError};
use phoenix_runtime::domain::id::AggregateId;
use phoenix_runtime::domain::metadata::{Envelope, Metadata, Priority};
use phoenix_runtime::domain::pending::Answer as Told;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::checker::told_balance;
use crate::history::{Answer, Attempt, History, Reading};
use crate::ledger::wait;
use crate::lot::Lot;
use crate::plan::{ACCOUNTS, Order, account};
use crate::traffic::{Client, Next, Traffic};

/// Longer than any trouble lasts.
const PATIENCE: Duration = Duration::from_mins(1);
/// Connections of those who read or repeat everything.
const READERS: usize = 16;
/// How many partitions the store has.
const PARTITIONS: u16 = 16;
/// How many services a run starts at most, where topics are made before.
const SERVICES: u64 = 32;

/// What speaks with the brokers, for services and for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adapter {
    RdKafka,
    KafkaRust,
}

impl Adapter {
    /// The bus of a service's configuration.
    pub(crate) fn url(self, broker: &str) -> String {
        match self {
            Self::RdKafka => format!("rdkafka://{broker}"),
            Self::KafkaRust => format!("kafka://{broker}"),
        }
    }

    /// Makes the topics that the adapter can't make, as an administrator does.
    pub(crate) fn prepare(self, broker: &str, topic: &str) {
        if self == Self::RdKafka {
            return;
        }
        let made = wait(async {
            let bus = Self::RdKafka.connect(broker).await?;
            bus.create(topic.into(), PARTITIONS).await?;
            let replies = (0..SERVICES).map(|number| format!("{topic}.replies.{number}"));
            for other in replies.chain([format!("{topic}.replies.clients"), format!("{topic}.dead")]) {
                bus.create(other.into(), 1).await?;
            }
            Ok::<_, BusError>(())
        });
        made.unwrap_or_else(|error| panic!("{error}"));
    }

    async fn connect(self, broker: &str) -> Result<Arc<dyn Bus>, BusError> {
        let brokers = vec![broker.to_owned()];
        Ok(match self {
            Self::RdKafka => Arc::new(RdKafkaBus::connect(brokers, RdKafkaOptions::default()).await?),
            Self::KafkaRust => Arc::new(KafkaBus::connect(brokers, KafkaOptions::default()).await?),
        })
    }
}

/// A topic, and who asks there.
pub(crate) struct Line<'a> {
    traffic: &'a Traffic,
    runtime: Runtime,
    bus: Arc<dyn Bus>,
    door: Arc<dyn Door>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    begun: u64,
    /// How many of a flood are accepted.
    accepted: usize,
    closed: bool,
    failure: Option<String>,
}

impl<'a> Line<'a> {
    /// To a service that is there, with a topic of this name.
    pub(crate) fn open(traffic: &'a Traffic, adapter: Adapter, broker: &str, topic: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (bus, remote) = runtime.block_on(async {
            let bus = adapter.connect(broker).await.unwrap_or_else(|error| panic!("{error}"));
            let replies = Replies::Topic(format!("{topic}.replies.clients").into());
            let mut options = RemoteOptions::new(topic, replies);
            // as often as it takes, and often enough for many repeats
            options.retry = Arc::new(Every { times: u32::MAX, pause: Duration::from_secs(2) });
            options.ask_timeout = PATIENCE;
            let remote = Remote::connect(Arc::clone(&bus), options).await;
            (bus, remote.unwrap_or_else(|error| panic!("{error}")))
        });
        Self { traffic, runtime, bus, door: remote.door(), state: Mutex::default(), changed: Condvar::new() }
    }

    /// What a client does and sees until the line is closed.
    pub(crate) fn client(&self, number: u64, seed: u64) -> History {
        let mut client = Client::new(self.traffic, number);
        let mut lot = Lot::new(seed, &[3, number]);
        while self.begin() {
            let done = match client.next() {
                Next::Read(account) => self.read(account, &mut client.history),
                // it stays unanswered, so some will be repeated
                Next::Send(order) if lot.one_in(3) => self.tell(order, &mut client.history),
                Next::Send(order) => self.ask(order, &mut client.history).map(|()| client.settled()),
            };
            if let Err(failure) = done {
                self.change(|state| state.failure = Some(format!("client {number}: {failure}")));
                break;
            }
        }
        client.history
    }

    /// Waits until so many more calls were begun.
    pub(crate) fn flow(&self, calls: u64) {
        let wanted = self.state().begun + calls;
        let waiting = |state: &mut State| state.begun < wanted && state.failure.is_none();
        let (state, late) = self.changed.wait_timeout_while(self.state(), 2 * PATIENCE, waiting).expect("no poison");
        let failure = state.failure.clone();
        drop(state);
        assert!(failure.is_none(), "{}", failure.unwrap_or_default());
        assert!(!late.timed_out(), "the clients do not get on");
    }

    /// Tells all of these at once: more than a service has done by the time that so many are accepted, which is when there
    /// is `trouble`. Each is accepted in the end.
    pub(crate) fn flood(&self, orders: Vec<Order>, enough: usize, trouble: impl FnOnce()) -> History {
        self.change(|state| state.accepted = 0);
        let tell = || {
            self.runtime.block_on(async {
                let mut tells = JoinSet::new();
                for order in orders {
                    let began = self.traffic.tick();
                    let told = self.door.tell(self.command(&order));
                    tells.spawn(async move { (order, began, told.await) });
                }
                let mut history = History::default();
                while let Some(told) = tells.join_next().await {
                    let (order, began, told) = told.expect("a tell that does not panic");
                    if let Err(fault) = told {
                        self.change(|state| state.failure = Some(format!("{order:?}: {fault}")));
                        break;
                    }
                    let accepted = Some(self.traffic.tick());
                    history.attempts.push(Attempt { order, began, answer: None, accepted });
                    self.change(|state| state.accepted += 1);
                }
                history
            })
        };
        thread::scope(|scope| {
            let told = scope.spawn(tell);
            let waiting = |state: &mut State| state.accepted < enough && state.failure.is_none();
            let waited = self.changed.wait_timeout_while(self.state(), PATIENCE, waiting).expect("no poison");
            drop(waited);
            trouble();
            told.join().expect("a client that does not panic")
        })
    }

    /// The clients finish what they are at, and end.
    pub(crate) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Fails if a client did.
    pub(crate) fn expect_none(&self) {
        assert_eq!(self.state().failure, None);
    }

    /// Waits until the group has nothing left to do: every offset of its topic is committed.
    pub(crate) fn drain(&self, topic: &str, group: &str) {
        let topic: Arc<str> = topic.into();
        let drained = async {
            let mut pause = tokio::time::interval(Duration::from_millis(20));
            let mut open: Vec<u16> = (0..PARTITIONS).collect();
            while let Some(partition) = open.last() {
                match self.bus.offsets(TopicPartition::new(Arc::clone(&topic), *partition), group).await {
                    Ok(offsets) if offsets.committed.unwrap_or(0) == offsets.end => drop(open.pop()),
                    // a connection may be one to a broker that was killed
                    Ok(_) | Err(BusError::Unavailable(_)) => drop(pause.tick().await),
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let drained = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, drained).await });
        drained.expect("every command is finished some time").expect("the broker answers");
    }

    /// Asks for every balance.
    pub(crate) fn read_all(&self) -> History {
        let accounts: Vec<_> = (0..ACCOUNTS).map(account).collect();
        each(&accounts, |account, history| self.read(account, history))
    }

    /// Asks all of these once more.
    pub(crate) fn repeat(&self, orders: &[Order]) -> History {
        each(orders, |order, history| self.ask(order, history))
    }

    fn ask(&self, order: Order, history: &mut History) -> Result<(), String> {
        let began = self.traffic.tick();
        let asked = self.runtime.block_on(self.door.ask(self.command(&order)));
        let (status, replayed, body) = match asked {
            Ok(Told { reply, version, replayed, .. }) => (200, replayed, body(&reply, version)),
            Err(AskError::Rejected { rejection, version, replayed }) => (422, replayed, body(&rejection, version)),
            Err(AskError::NotFound { replayed }) => (422, replayed, "{}".to_owned()),
            Err(fault) => return Err(format!("{order:?}: {fault}")),
        };
        let answer = Some(Answer { ended: self.traffic.tick(), status, replayed, body });
        if replayed {
            // a bus may deliver a command again on its own: then its first answer is marked, or comes from nowhere
            history.attempts.push(Attempt { order: order.clone(), began, answer: None, accepted: None });
        }
        history.attempts.push(Attempt { order, began, answer, accepted: None });
        Ok(())
    }

    fn tell(&self, order: Order, history: &mut History) -> Result<(), String> {
        let began = self.traffic.tick();
        let told = self.runtime.block_on(self.door.tell(self.command(&order)));
        told.map_err(|fault| format!("{order:?}: {fault}"))?;
        let accepted = Some(self.traffic.tick());
        history.attempts.push(Attempt { order, began, answer: None, accepted });
        Ok(())
    }

    fn read(&self, account: String, history: &mut History) -> Result<(), String> {
        let began = self.traffic.tick();
        let request = self.request(&account, "balance", None, json!({ "account": account }).to_string());
        let read = self.runtime.block_on(self.door.query(request));
        let ended = self.traffic.tick();
        let (version, balance) = match read {
            Ok(Told { reply, version, .. }) => {
                (version, told_balance(&body(&reply, version)).ok_or("a balance that is none")?)
            }
            Err(QueryError::NotFound) => (0, 0),
            Err(fault) => return Err(format!("the balance of {account}: {fault}")),
        };
        history.readings.push(Reading { account, began, ended, version, balance });
        Ok(())
    }

    fn command(&self, order: &Order) -> Request {
        let name = order.path().rsplit('/').next().unwrap_or_default();
        self.request(&order.account, name, Some(order.key.clone()), order.json())
    }

    fn request(&self, account: &str, name: &str, key: Option<String>, payload: String) -> Request {
        let envelope = Envelope {
            id: self.door.next_message_id(),
            aggregate: "bank-account".to_owned(),
            name: name.to_owned(),
            idempotency_key: key,
            priority: Priority::default(),
            timeout: Some(PATIENCE),
            metadata: Metadata::default(),
            payload: payload.into_bytes(),
        };
        let subject = AggregateId::new(account).expect("a short name");
        Request { envelope, subject, record_key: None, reply_to: None, expires_after: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no poison")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Counts a call; false when the line is closed.
    fn begin(&self) -> bool {
        let mut state = self.state();
        let goes_on = !state.closed && state.failure.is_none();
        if goes_on {
            state.begun += 1;
            self.changed.notify_all();
        }
        goes_on
    }
}

/// Calls for each of these, several at once.
fn each<T: Clone + Sync>(all: &[T], call: impl Fn(T, &mut History) -> Result<(), String> + Sync) -> History {
    let some = |part: &[T]| {
        let mut history = History::default();
        for one in part {
            call(one.clone(), &mut history).unwrap_or_else(|failure| panic!("{failure}"));
        }
        history
    };
    let some = &some;
    thread::scope(|scope| {
        let parts = all.chunks(all.len().div_ceil(READERS).max(1));
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || some(part))).collect();
        History::merge(parts.into_iter().map(|part| part.join().expect("a client that does not panic")))
    })
}

/// As the checker reads it.
fn body(json: &[u8], version: u64) -> String {
    format!("{{\"reply\":{},\"aggregate\":{{\"version\":{version}}}}}", String::from_utf8_lossy(json))
}

/// Closes a line at the latest when the test is over, so that no client goes on for a test that failed.
pub(crate) struct Closing<'a, 'b>(pub(crate) &'b Line<'a>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
