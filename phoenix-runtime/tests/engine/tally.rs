//! The aggregate of most of these tests: every kind of handler, and a memory of the order in which it decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use phoenix_runtime::client::ContextClient as _;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::simulation::Simulation;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::Notify;

/// Adds and takes, and knows in which order.
#[aggregate(name = "tally", snapshot_every = never, idempotency_window = 3)]
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) steps: Vec<i64>,
}

impl Tally {
    pub(crate) fn total(&self) -> i64 {
        self.steps.iter().sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) enum Refused {
    Short { total: i64 },
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64, aggregate = "tally")]
pub(crate) struct Add {
    pub(crate) tally: String,
    pub(crate) amount: i64,
}

pub(crate) fn add(tally: &str, amount: i64) -> Add {
    Add { tally: tally.to_owned(), amount }
}

/// Refused where there is less.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64, rejection = Refused, aggregate = "tally")]
pub(crate) struct Take {
    pub(crate) tally: String,
    pub(crate) amount: i64,
}

pub(crate) fn take(tally: &str, amount: i64) -> Take {
    Take { tally: tally.to_owned(), amount }
}

/// Has no events.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64)]
pub(crate) struct Touch {
    pub(crate) tally: String,
}

pub(crate) fn touch(tally: &str) -> Touch {
    Touch { tally: tally.to_owned() }
}

/// Only for a tally that is there.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64)]
pub(crate) struct TopUp {
    pub(crate) tally: String,
    pub(crate) amount: i64,
}

pub(crate) fn top_up(tally: &str, amount: i64) -> TopUp {
    TopUp { tally: tally.to_owned(), amount }
}

/// Has its key in its own fields.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64, idempotent_by(number))]
pub(crate) struct Order {
    pub(crate) tally: String,
    pub(crate) amount: i64,
    pub(crate) number: u64,
}

pub(crate) fn order(tally: &str, amount: i64, number: u64) -> Order {
    Order { tally: tally.to_owned(), amount, number }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) enum Harm {
    PanicInDecide,
    /// In the second of two event handlers.
    PanicInEvolve,
    /// In the event handler, but only when the event is read again.
    PanicInReplay,
    /// The second of two events.
    LargeEvent,
    /// The second of two events.
    NotEncodable,
    LargeReply,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = String)]
pub(crate) struct DoHarm {
    pub(crate) tally: String,
    pub(crate) harm: Harm,
}

pub(crate) fn harm(tally: &str, harm: Harm) -> DoHarm {
    DoHarm { tally: tally.to_owned(), harm }
}

/// A text that its serializer may refuse or panic over.
#[derive(Debug, Clone, Deserialize, Schema)]
#[serde(transparent)]
pub(crate) struct Touchy(pub(crate) String);

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != "panic", "asked for");
        match self.0.as_str() {
            "refuse" => Err(serde::ser::Error::custom("this text can't be written")),
            text => serializer.serialize_str(text),
        }
    }
}

/// Carries a text.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64)]
pub(crate) struct Say {
    pub(crate) tally: String,
    pub(crate) text: Touchy,
}

pub(crate) fn say(tally: &str, text: &str) -> Say {
    Say { tally: tally.to_owned(), text: Touchy(text.to_owned()) }
}

/// Adds one, and has an event as large as the text.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64)]
pub(crate) struct Keep {
    pub(crate) tally: String,
    pub(crate) text: String,
}

pub(crate) fn keep(tally: &str, text: &str) -> Keep {
    Keep { tally: tally.to_owned(), text: text.to_owned() }
}

/// Adds after a while.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64, rejection = Refused)]
pub(crate) struct AddLater {
    pub(crate) tally: String,
    pub(crate) amount: i64,
    pub(crate) millis: u64,
}

pub(crate) fn add_later(tally: &str, amount: i64, millis: u64) -> AddLater {
    AddLater { tally: tally.to_owned(), amount, millis }
}

/// Tells the test that a process is to end now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fuse(Arc<Notify>);

impl Fuse {
    /// Waits until a handler asks for it.
    pub(crate) async fn burns(&self) {
        self.0.notified().await;
    }
}

/// How often [`AddFrom`] was tried.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tries(Arc<AtomicUsize>);

impl Tries {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends the process.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64)]
pub(crate) struct Die {
    pub(crate) tally: String,
}

/// Adds, and panics before this moment.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = i64)]
pub(crate) struct AddFrom {
    pub(crate) tally: String,
    pub(crate) amount: i64,
    pub(crate) micros: i64,
}

pub(crate) fn add_from(tally: &str, amount: i64, micros: i64) -> AddFrom {
    AddFrom { tally: tally.to_owned(), amount, micros }
}

/// Asks the first of `path` to relay to the rest, and the last to add; its reply is what came of it.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = String)]
pub(crate) struct Relay {
    pub(crate) tally: String,
    pub(crate) path: Vec<String>,
    pub(crate) millis: u64,
}

pub(crate) fn relay(path: &[&str], millis: u64) -> Relay {
    let mut path: Vec<String> = path.iter().map(|id| (*id).to_owned()).collect();
    let tally = path.remove(0);
    Relay { tally, path, millis }
}

/// What a handler knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) correlation: String,
    pub(crate) message: String,
    pub(crate) now_micros: i64,
}

impl Known {
    fn of(context: &Context) -> Self {
        Self {
            id: context.id().to_string(),
            version: context.version(),
            correlation: context.correlation_id(),
            message: context.message_id().to_string(),
            now_micros: context.now().as_microsecond(),
        }
    }
}

/// Tells what its handler knows.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = Known)]
pub(crate) struct Tell {
    pub(crate) tally: String,
}

/// Tells what its handler knows, after a while.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = tally, reply = Known)]
pub(crate) struct TellLater {
    pub(crate) tally: String,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[query(id = tally, reply = Vec<i64>, aggregate = "tally")]
pub(crate) struct Steps {
    pub(crate) tally: String,
}

pub(crate) fn steps(tally: &str) -> Steps {
    Steps { tally: tally.to_owned() }
}

#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[query(id = tally, reply = i64)]
pub(crate) struct Fail {
    pub(crate) tally: String,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "added")]
pub(crate) struct Added {
    pub(crate) amount: i64,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "kept")]
pub(crate) struct Kept {
    pub(crate) text: String,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "harmed")]
pub(crate) struct Harmed {
    pub(crate) harm: Harm,
    pub(crate) text: Touchy,
    /// Not written: tells an event that is applied for the first time.
    #[serde(skip)]
    pub(crate) fresh: bool,
}

/// How long the largest message may be where a test says so.
pub(crate) const MOST_BYTES: usize = 1000;

#[event_sourced]
impl Tally {
    #[command_handler(reply = self.total())]
    fn add(&self, command: Add) -> Added {
        Added { amount: command.amount }
    }

    #[command_handler(reply = self.total())]
    fn take(&self, command: Take) -> Result<Added, Refused> {
        let total = self.total();
        if command.amount > total {
            return Err(Refused::Short { total });
        }
        Ok(Added { amount: -command.amount })
    }

    #[command_handler(reply = self.total())]
    fn touch(&self, _: Touch) {}

    #[command_handler(reply = self.total(), create = false)]
    fn top_up(&self, command: TopUp) -> Added {
        Added { amount: command.amount }
    }

    #[command_handler(reply = self.total())]
    fn order(&self, command: Order) -> Added {
        Added { amount: command.amount }
    }

    #[command_handler]
    fn harm(&self, command: DoHarm) -> (Added, Harmed, Reply<String>) {
        let harm = command.harm;
        assert!(harm != Harm::PanicInDecide, "asked for");
        let large = || "x".repeat(MOST_BYTES + 1);
        let text = match harm {
            Harm::LargeEvent => large(),
            Harm::NotEncodable => "refuse".to_owned(),
            _ => String::new(),
        };
        let reply = if harm == Harm::LargeReply { large() } else { String::new() };
        (Added { amount: 1000 }, Harmed { harm, text: Touchy(text), fresh: true }, Reply(reply))
    }

    #[command_handler(reply = self.total())]
    fn say(&self, command: Say) -> Added {
        Added { amount: i64::try_from(command.text.0.len()).unwrap_or_default() }
    }

    #[command_handler(reply = self.total())]
    fn keep(&self, command: Keep) -> Kept {
        Kept { text: command.text }
    }

    #[command_handler(reply = self.total())]
    async fn add_later(&self, command: AddLater, context: &Context) -> Result<Added, Refused> {
        if let Some(world) = context.resource::<Simulation>() {
            world.sleep(Duration::from_millis(command.millis)).await;
        }
        assert!(command.amount != 13, "asked for");
        if command.amount < 0 {
            return Err(Refused::Short { total: self.total() });
        }
        Ok(Added { amount: command.amount })
    }

    #[command_handler(reply = self.total())]
    async fn die(&self, _: Die, context: &Context) -> Added {
        if let Some(fuse) = context.resource::<Fuse>() {
            fuse.0.notify_one();
        }
        std::future::pending().await
    }

    #[command_handler(reply = self.total())]
    fn add_from(&self, command: AddFrom, context: &Context) -> Added {
        if let Some(tries) = context.resource::<Tries>() {
            tries.0.fetch_add(1, Ordering::Relaxed);
        }
        assert!(context.now().as_microsecond() >= command.micros, "too early");
        Added { amount: command.amount }
    }

    #[command_handler]
    async fn relay(&self, command: Relay, context: &Context) -> (Option<Added>, Reply<String>) {
        if let Some(world) = context.resource::<Simulation>() {
            world.sleep(Duration::from_millis(command.millis)).await;
        }
        let Relay { mut path, millis, .. } = command;
        if path.is_empty() {
            return (Some(Added { amount: 1 }), Reply("added".to_owned()));
        }
        let Some(client) = context.client() else { return (None, Reply("no client".to_owned())) };
        let tally = path.remove(0);
        let told = client.of::<Self>().ask(Relay { tally, path, millis }).await;
        (None, Reply(told.unwrap_or_else(|e| e.code().to_string())))
    }

    #[command_handler]
    fn tell(&self, _: Tell, context: &Context) -> (Added, Reply<Known>) {
        (Added { amount: 0 }, Reply(Known::of(context)))
    }

    #[command_handler]
    async fn tell_later(&self, command: TellLater, context: &Context) -> (Added, Reply<Known>) {
        if let Some(world) = context.resource::<Simulation>() {
            world.sleep(Duration::from_millis(command.millis)).await;
        }
        (Added { amount: 0 }, Reply(Known::of(context)))
    }

    #[event_handler]
    fn added(&mut self, event: &Added) {
        self.steps.push(event.amount);
    }

    #[event_handler]
    fn kept(&mut self, _: &Kept) {
        self.steps.push(1);
    }

    #[event_handler]
    fn harmed(&mut self, event: &Harmed) {
        assert!(event.harm != Harm::PanicInEvolve, "asked for");
        assert!(event.harm != Harm::PanicInReplay || event.fresh, "asked for");
    }

    #[query_handler]
    fn steps(&self, _: Steps) -> Vec<i64> {
        self.steps.clone()
    }

    #[query_handler]
    fn fail(&self, _: Fail) -> i64 {
        panic!("asked for")
    }
}
