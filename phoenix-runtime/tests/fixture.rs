//! The fixture: what it expects, what it finds, and the rules that it checks unasked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use phoenix_runtime::domain::context::Context;
use phoenix_runtime::domain::error::Code;
use phoenix_runtime::prelude::*;
use phoenix_runtime::testkit::fixture::Fixture;
use serde::{Deserialize, Serialize};

/// Installs a tank.
#[derive(Command, Serialize, Deserialize)]
#[command(id = tank)]
struct Install {
    tank: String,
}

/// Fills it.
#[derive(Command, Serialize, Deserialize)]
#[command(id = tank, reply = u64, rejection = Overflow)]
struct Fill {
    tank: String,
    litres: u64,
}

/// Draws from it, once a ticket.
#[derive(Command, Serialize, Deserialize)]
#[command(id = tank, reply = u64, rejection = Overflow, idempotent_by(ticket))]
struct Draw {
    tank: String,
    litres: u64,
    ticket: String,
}

/// Measures what is in it, which takes time.
#[derive(Command, Serialize, Deserialize)]
#[command(id = tank)]
struct Measure {
    tank: String,
}

/// Asks what is in it.
#[derive(Query, Serialize, Deserialize)]
#[query(id = tank, reply = u64)]
struct Level {
    tank: String,
}

/// More than there is room for.
#[derive(Debug, Serialize, Deserialize, Schema)]
struct Overflow {
    by: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "installed")]
struct Installed {
    since: i64,
}

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "filled")]
struct Filled {
    litres: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "drawn")]
struct Drawn {
    litres: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "measured")]
struct Measured {
    litres: u64,
}

/// What measures.
struct Gauge(u64);

#[aggregate(name = "tank")]
#[derive(Default, Serialize, Deserialize)]
struct Tank {
    since: i64,
    litres: u64,
}

#[event_sourced]
impl Tank {
    #[command_handler]
    fn install(&self, _: Install, context: &Context) -> Option<Installed> {
        (context.version() == 0).then(|| Installed { since: context.now().as_second() })
    }
    #[command_handler(create = false, reply = self.litres)]
    fn fill(&self, command: Fill) -> Result<Vec<Filled>, Overflow> {
        match (self.litres + command.litres).checked_sub(100) {
            Some(by @ 1..) => Err(Overflow { by }),
            _ => Ok((0..command.litres / 10).map(|_| Filled { litres: 10 }).collect()),
        }
    }
    #[command_handler(create = false)]
    fn draw(&self, command: Draw) -> Result<(Drawn, Reply<u64>), Overflow> {
        match command.litres.checked_sub(self.litres) {
            Some(by @ 1..) => Err(Overflow { by }),
            _ => Ok((Drawn { litres: command.litres }, Reply(self.litres - command.litres))),
        }
    }
    #[command_handler(uses(Gauge))]
    async fn measure(&self, _: Measure, context: &Context) -> Option<Measured> {
        let gauge = context.resource::<Gauge>()?;
        // let somebody else wake it
        let (waker, woken) = std::sync::mpsc::channel::<std::task::Waker>();
        std::thread::spawn(move || woken.recv().map(std::task::Waker::wake));
        let mut asked = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut asked, true) {
                return std::task::Poll::Ready(());
            }
            let _ = waker.send(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
        Some(Measured { litres: gauge.0 })
    }
    #[event_handler]
    fn installed(&mut self, event: &Installed) {
        self.since = event.since;
    }
    #[event_handler]
    fn filled(&mut self, event: &Filled) {
        self.litres += event.litres;
    }
    #[event_handler]
    fn drawn(&mut self, event: &Drawn) {
        self.litres -= event.litres;
    }
    #[event_handler]
    fn measured(&mut self, event: &Measured) {
        self.litres = event.litres;
    }
    #[query_handler]
    fn level(&self, _: Level) -> u64 {
        self.litres
    }
}

fn tank() -> String {
    "north".to_owned()
}
fn install() -> Install {
    Install { tank: tank() }
}
fn fill(litres: u64) -> Fill {
    Fill { tank: tank(), litres }
}
fn draw(litres: u64, ticket: &str) -> Draw {
    Draw { tank: tank(), litres, ticket: ticket.to_owned() }
}
fn level() -> Level {
    Level { tank: tank() }
}
fn installed() -> Fixture<Tank> {
    Fixture::new().given(Installed { since: 0 })
}

/// The expectation fails, and says this.
#[track_caller]
fn fails<T>(expectation: impl FnOnce() -> T, message: &str) {
    let found = match catch_unwind(AssertUnwindSafe(expectation)) {
        Ok(_) => "nothing fails".to_owned(),
        Err(panic) => panic.downcast::<String>().map_or_else(|_| "no text".to_owned(), |text| *text),
    };
    assert!(found.contains(message), "expected: {message}\nfound: {found}");
}

#[test]
fn events_follow() {
    let filled = || Filled { litres: 10 };
    installed().when(fill(10)).then(filled()).then_reply(10).then_answer(level(), 10);
    installed().when(fill(30)).then((filled(), filled(), filled())).then_reply(30);
    installed().when(fill(20)).then(vec![filled(), filled()]).then_state(|tank| assert_eq!(tank.litres, 20));
    installed().when(fill(5)).then_no_events().then(()).then_reply(0);
    installed().when(fill(101)).then_no_events().then_rejected(Overflow { by: 1 });
    installed().given((filled(), filled())).when(draw(20, "a")).then(Drawn { litres: 20 }).then_reply(0);
}

#[test]
fn a_failed_expectation_says_what_was_found() {
    let command = r#"`fill` {"tank":"north","litres":20} on version 1 "#;
    let events = "\n    filled {\"litres\":10}\n    filled {\"litres\":10}";
    let when = || installed().when(fill(20));
    fails(
        || when().then(Filled { litres: 20 }),
        &format!("{command}led to other events\n  expected: \n    filled {{\"litres\":20}}\n  found:    {events}"),
    );
    fails(|| when().then_no_events(), &format!("{command}led to events\n  expected: none\n  found:    {events}"));
    fails(|| when().then_reply(10), "was answered otherwise\n  expected: the reply 10\n  found:    the reply 20");
    fails(|| when().then_rejected(Overflow { by: 1 }), "expected: the rejection {\"by\":1}\n  found:    the reply 20");
    fails(|| when().then_not_found(), "expected: not found\n  found:    the reply 20");
    fails(|| when().then_fault(Code::KeyReused), "expected: the fault `key-reused`\n  found:    the reply 20");
    fails(
        || when().then_replayed(),
        "is not a repeat\n  expected: the answer to the first one\n  found:    the reply 20",
    );
    fails(|| when().then_answer(level(), 7), "left another answer to `level`\n  expected: 7\n  found:    20");
    fails(|| installed().when(fill(101)).then(Filled { litres: 1 }), "found:    none, and the rejection {\"by\":1}");
    fails(
        || installed().given_command(fill(101)),
        "was given, but was not done\n  expected: a reply\n  found:    the rej",
    );
}

#[test]
fn a_handler_that_creates_nothing_does_not_find_it() {
    Fixture::<Tank>::new().when(fill(1)).then_not_found().then_no_events();
    Fixture::<Tank>::new().when(install()).then_answer(level(), 0).and().when(fill(10)).then_reply(10);
    assert!(Fixture::<Tank>::new().answer(level()).is_none(), "an aggregate without events does not answer");
    fails(|| Fixture::<Tank>::new().when(fill(1)).then_answer(level(), 0), "expected: 0\n  found:    not found");
}

#[test]
fn a_business_key_makes_a_repeat() {
    let once = || installed().given_command(fill(50)).given_command(draw(20, "a"));
    once().when(draw(20, "a")).then_replayed().then_no_events().then_reply(30);
    once().when(draw(20, "b")).then(Drawn { litres: 20 }).then_reply(10);
    once().when(draw(21, "a")).then_fault(Code::KeyReused).then_no_events();
    let refused = once().when(draw(31, "b")).then_rejected(Overflow { by: 1 }).and().given_command(fill(50));
    refused.when(draw(31, "b")).then_replayed().then_rejected(Overflow { by: 1 });
    let unknown = Fixture::<Tank>::new().when(draw(1, "a")).then_not_found().and().given_command(install());
    unknown.when(draw(1, "a")).then_replayed().then_not_found();
}

#[test]
fn time_does_not_go_back() {
    let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
    let since = |fixture: Fixture<Tank>| fixture.when(install()).and().state().since;
    assert_eq!(since(Fixture::new()), at("2000-01-01T00:00:00Z").as_second());
    assert_eq!(since(Fixture::new().at(at("2026-01-31T12:00:00Z"))), at("2026-01-31T12:00:00Z").as_second());
    let back = Fixture::new().at(at("2026-01-31T12:00:00Z")).at(at("2020-01-31T12:00:00Z"));
    assert_eq!(since(back), at("2026-01-31T12:00:00Z").as_second());
}

#[test]
fn an_async_handler_waits() {
    let measured = installed().with_resource(Gauge(42)).when(Measure { tank: tank() });
    measured.then(Measured { litres: 42 }).then_answer(level(), 42);
    installed().when(Measure { tank: tank() }).then_no_events();
}

#[test]
fn events_can_be_read_back() {
    let fixture = installed().given_command(fill(20)).given_command(draw(5, "a"));
    assert_eq!(fixture.events::<Filled>(), [Filled { litres: 10 }, Filled { litres: 10 }]);
    assert_eq!(fixture.events::<Drawn>().len(), 1);
    assert_eq!(fixture.version(), 4);
}

#[test]
fn a_fixture_is_one_aggregate() {
    fails(
        || installed().when(fill(1)).and().when(Fill { tank: "south".to_owned(), litres: 1 }),
        "a fixture is one aggregate: \"north\" has been sent to before, and this is for \"south\"",
    );
    installed().when(Fill { tank: String::new(), litres: 1 }).then_fault(Code::InvalidMessage);
}

/// Breaks the rules, each command another.
#[aggregate(name = "rogue")]
#[derive(Default, Serialize, Deserialize)]
struct Rogue {
    kept: u64,
    #[serde(skip)]
    forgotten: u64,
}

macro_rules! rogue_commands {
    ($($name:ident)*) => {$(
        #[derive(Command, Serialize, Deserialize)]
        #[command(id = id)]
        struct $name {
            id: u8,
        }
    )*};
}
rogue_commands! { Forget Guess Lose Skip }

#[derive(Event, Serialize, Deserialize)]
#[event(name = "kept")]
struct Kept {
    #[serde(skip)]
    lost: u64,
    by: u64,
}

/// Is read otherwise than it was written.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "distorted")]
struct Distorted {
    #[serde(rename(serialize = "by"), alias = "by", skip_deserializing)]
    amount: u64,
}

static GUESSES: AtomicU64 = AtomicU64::new(0);

#[event_sourced]
impl Rogue {
    #[command_handler]
    fn forget(&self, _: Forget) -> Kept {
        Kept { lost: 0, by: self.forgotten }
    }
    #[command_handler]
    fn guess(&self, _: Guess) -> Kept {
        Kept { lost: 0, by: GUESSES.fetch_add(1, Ordering::Relaxed) }
    }
    #[command_handler]
    fn lose(&self, _: Lose) -> Kept {
        Kept { lost: 3, by: 0 }
    }
    #[command_handler]
    fn skip(&self, _: Skip) -> Distorted {
        Distorted { amount: 3 }
    }
    #[event_handler]
    fn kept(&mut self, event: &Kept) {
        self.kept += event.by + event.lost;
        self.forgotten += event.by;
    }
    #[event_handler]
    fn distorted(&mut self, _: &Distorted) {}
}

#[test]
fn broken_rules_are_found() {
    let rogue = || Fixture::<Rogue>::new().given(Kept { lost: 0, by: 1 });
    fails(|| rogue().when(Forget { id: 1 }), "the handler of `forget` does not decide the same twice");
    fails(|| rogue().when(Guess { id: 1 }), "the handler of `guess` does not decide the same twice");
    fails(|| rogue().when(Lose { id: 1 }), "`rogue`: replaying the events does not bring the state back");
    fails(|| rogue().when(Skip { id: 1 }), "the event `distorted` is another after it was stored and read");
}
