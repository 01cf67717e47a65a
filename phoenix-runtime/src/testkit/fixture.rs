//! Given what has happened, when a command comes, then what follows: one aggregate, without any I/O.
//!
//! ```
//! # use phoenix_runtime::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! use phoenix_runtime::testkit::fixture::Fixture;
//! # #[derive(Event, Serialize, Deserialize)]
//! # #[event(name = "deposited")]
//! # struct Deposited { amount: u64 }
//! # #[derive(Event, Serialize, Deserialize)]
//! # #[event(name = "withdrawn")]
//! # struct Withdrawn { amount: u64 }
//! # #[derive(Command, Serialize, Deserialize)]
//! # #[command(id = account, reply = u64, rejection = Missing)]
//! # struct Withdraw { account: String, amount: u64 }
//! # #[derive(Debug, Serialize, Deserialize, Schema)]
//! # struct Missing { amount: u64 }
//! # #[aggregate(name = "account")]
//! # #[derive(Default, Serialize, Deserialize)]
//! # struct Account { balance: u64 }
//! # #[event_sourced]
//! # impl Account {
//! #     #[command_handler(create = false, reply = self.balance)]
//! #     fn withdraw(&self, command: Withdraw) -> Result<Withdrawn, Missing> {
//! #         let amount = command.amount;
//! #         match amount.checked_sub(self.balance) {
//! #             None | Some(0) => Ok(Withdrawn { amount }),
//! #             Some(amount) => Err(Missing { amount }),
//! #         }
//! #     }
//! #     #[event_handler]
//! #     fn deposited(&mut self, event: &Deposited) { self.balance += event.amount }
//! #     #[event_handler]
//! #     fn withdrawn(&mut self, event: &Withdrawn) { self.balance -= event.amount }
//! # }
//! # let account = String::from("alice");
//!
//! Fixture::<Account>::new()
//!     .given(Deposited { amount: 100 })
//!     .when(Withdraw { account, amount: 30 })
//!     .then(Withdrawn { amount: 30 })
//!     .then_reply(70);
//! ```
//!
//! A fixture answers as an engine does: a command for an aggregate without events is not found where its handler says
//! `create = false`, and a business key (`idempotent_by`) makes a second command a repeat of the first.
//!
//! With every step it also checks what the engine relies on:
//! - an event is the same after it was stored and read;
//! - the state is the same after it was a snapshot;
//! - replaying the events gives the same state, byte for byte;
//! - a handler decides the same once more, and the same on a state that comes from a snapshot. (An `async` handler is
//!   not called twice: it may have effects.)

#![allow(clippy::panic, reason = "a test's expectation fails by a panic, at the line that states it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};

use serde::Serialize;

use crate::domain::aggregate::{Aggregate, SnapshotOf, event_entry};
use crate::domain::codec::{Codec, CodecError, Json};
use crate::domain::context::{Context, Resources};
use crate::domain::emit::{Emits, NoRejection, NoReply, Recorded, Sink};
use crate::domain::error::{AskError, Code, Fault};
use crate::domain::handle::{AnsweredBy, HandledBy};
use crate::domain::id::{AggregateId, Dedup, MessageId};
use crate::domain::message::{Command, Event};
use crate::domain::outcome::{Outcome, OutcomeKind};
use crate::domain::pending::{Answer, Pending, PendingCommand, Respond, Told, Verdict};

/// The time of a fixture until [`Fixture::at`] says another: 2000-01-01T00:00:00Z.
const START_MICROS: i64 = 946_684_800_000_000;

/// What a command led to.
pub type Answered<C> = Result<Answer<<C as Command>::Reply>, AskError<<C as Command>::Rejection>>;

/// One aggregate with its events.
#[must_use]
pub struct Fixture<A> {
    state: A,
    id: Option<AggregateId>,
    now_micros: i64,
    history: Vec<Recorded>,
    outcomes: BTreeMap<Dedup, (Vec<u8>, Outcome)>,
    messages: u64,
    resources: Resources,
}

/// What a command has led to, to be looked at.
pub struct Decision<A, C: Command> {
    fixture: Fixture<A>,
    /// The version before.
    before: usize,
    command: String,
    result: Answered<C>,
}

impl<A: Aggregate> Default for Fixture<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Aggregate> Fixture<A> {
    /// An aggregate without events.
    pub fn new() -> Self {
        Self {
            state: A::default(),
            id: None,
            now_micros: START_MICROS,
            history: Vec::new(),
            outcomes: BTreeMap::new(),
            messages: 0,
            resources: Resources::default(),
        }
    }

    /// One event has happened, or several: whatever a handler may return.
    #[track_caller]
    pub fn given(mut self, events: impl Emits<A, Reply = NoReply, Rejection = NoRejection>) -> Self {
        let before = self.history.len();
        emit(events, &mut self.state, &mut self.history);
        self.check(before);
        self
    }

    /// A command has been done, with whatever followed.
    ///
    /// # Panics
    /// If it is not done.
    #[track_caller]
    pub fn given_command<C: HandledBy<A>>(self, command: C) -> Self {
        let decision = self.when(command);
        if decision.result.is_err() {
            decision.fail("was given, but was not done", "a reply", &decision.told());
        }
        decision.fixture
    }

    /// From now on it is this time, or the time that it was if that is later: time never goes back in a stream.
    pub fn at(mut self, time: jiff::Timestamp) -> Self {
        self.now_micros = self.now_micros.max(time.as_microsecond());
        self
    }

    /// Lends a resource to handlers (`uses(T)`).
    pub fn with_resource<T: Send + Sync + 'static>(mut self, resource: T) -> Self {
        self.resources = self.resources.with(resource);
        self
    }

    /// A command comes.
    ///
    /// # Panics
    /// If the command is for another aggregate than the one before, and if the aggregate breaks a rule that the
    /// engine relies on.
    #[track_caller]
    pub fn when<C: HandledBy<A>>(mut self, command: C) -> Decision<A, C> {
        let before = self.history.len();
        let slot = Slot::<C>::default();
        let mut pending: Box<dyn Pending> =
            Box::new(PendingCommand::<A, C, _>::new(command, Slot(Arc::clone(&slot.0))));
        let json = pending.encode().map_or_else(|error| error.to_string().into_bytes(), <[u8]>::to_vec);
        let command = format!("`{}` {}", C::NAME, String::from_utf8_lossy(&json));
        let result = match self.handle(&mut *pending, &json) {
            Ok(outcome) => {
                let told = match &outcome {
                    Done::Now(Outcome { kind: OutcomeKind::NotFound, .. }) => Told::NotFound,
                    Done::Now(Outcome { version, .. }) => Told::Decided { version: *version },
                    Done::Before(outcome) => Told::Stored(outcome),
                };
                pending.tell(told);
                slot.take()
            }
            Err(fault) => Err(fault.into()),
        };
        self.check(before);
        Decision { fixture: self, before, command, result }
    }

    /// What the aggregate answers; `None` where it has no events.
    #[must_use]
    pub fn answer<Q: AnsweredBy<A>>(&self, query: Q) -> Option<Q::Reply> {
        (!self.history.is_empty()).then(|| query.answer(&self.state))
    }

    /// All events of this type, oldest first.
    ///
    /// # Panics
    /// If an event can't be read.
    #[must_use]
    #[track_caller]
    pub fn events<E: Event>(&self) -> Vec<E> {
        let of_type = self.history.iter().filter(|record| record.name == E::NAME);
        of_type.map(|r| sure(E::read::<A::Codec>(r.name, r.schema_version, A::Codec::ID, &r.payload))).collect()
    }

    /// The state that the events have made.
    #[must_use]
    pub const fn state(&self) -> &A {
        &self.state
    }

    /// How many events there are.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.history.len() as u64
    }

    /// What an engine does with a command, from the question whether it is a repeat to the outcome.
    #[track_caller]
    fn handle(&mut self, pending: &mut dyn Pending, json: &[u8]) -> Result<Done, Fault> {
        let invalid = |reason: String| Fault::new(Code::InvalidMessage, reason);
        pending.encode().map_err(|error| invalid(error.to_string()))?;
        let id = pending.aggregate_id().map_err(|error| invalid(error.to_string()))?;
        let known = self.id.get_or_insert_with(|| id.clone());
        assert!(*known == id, "a fixture is one aggregate: {known:?} has been sent to before, and this is for {id:?}");
        let facts = pending.facts();
        let dedup = pending.business_key().map(|key| Dedup::of_key(facts.name, &key));
        if let Some((first, outcome)) = dedup.and_then(|dedup| self.outcomes.get(&dedup)) {
            if first == json {
                return Ok(Done::Before(outcome.clone()));
            }
            let first = String::from_utf8_lossy(first);
            return Err(Fault::new(Code::KeyReused, format!("the key belongs to another `{}`: {first}", facts.name)));
        }
        let (kind, body) = if self.history.is_empty() && !facts.creates {
            (OutcomeKind::NotFound, Vec::new())
        } else {
            let Verdict { kind, body } = self.decide(pending, id)?;
            (kind, body)
        };
        let outcome = Outcome { kind, version: self.version(), codec: A::Codec::ID, body };
        if let Some(dedup) = dedup {
            self.outcomes.insert(dedup, (json.to_vec(), outcome.clone()));
        }
        Ok(Done::Now(outcome))
    }

    #[track_caller]
    fn decide(&mut self, pending: &mut dyn Pending, id: AggregateId) -> Result<Verdict, Fault> {
        self.messages += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.messages.to_be_bytes());
        let message = MessageId::generate(u64::try_from(self.now_micros / 1000).unwrap_or_default(), random);
        let mut context = Context::new(id, self.version(), self.now_micros, message);
        context.resources = self.resources.clone();

        let mut records = Vec::new();
        let verdict = if pending.facts().asynchronous {
            let state = Box::new(std::mem::take(&mut self.state));
            let worked = block_on(pending.begin(state, context)?);
            let state = worked.state as Box<dyn std::any::Any>;
            if let Ok(state) = state.downcast::<A>() {
                self.state = *state;
            }
            pending.finish(&mut self.state, worked.finish, &mut records)
        } else {
            let mut rehearsed = Vec::new();
            let rehearsal = pending.decide(&mut self.restored(), &context, &mut rehearsed);
            let verdict = pending.decide(&mut self.state, &context, &mut records);
            let shown = |verdict: &Result<Verdict, Fault>, records: &[Recorded]| match verdict {
                Ok(Verdict { body, .. }) => format!("{}{}", list::<A>(records), String::from_utf8_lossy(body)),
                Err(fault) => fault.to_string(),
            };
            let (once, again) = (shown(&rehearsal, &rehearsed), shown(&verdict, &records));
            assert!(
                once == again,
                "the handler of `{}` does not decide the same twice: it may use the state, the command and the \
                 context only, and the state must be whole in its snapshot\n  from a snapshot: {once}\n  from the \
                 events: {again}",
                pending.facts().name
            );
            verdict
        };
        match verdict {
            Ok(verdict) => {
                self.history.append(&mut records);
                Ok(verdict)
            }
            Err(fault) => {
                self.state = self.replayed(self.history.len());
                Err(fault)
            }
        }
    }

    /// The state as it is after a snapshot; as it is after a replay where there are none.
    #[track_caller]
    fn restored(&self) -> A {
        let taken = sure(A::Snapshots::take(&self.state));
        let restored = taken.and_then(|bytes| sure(A::Snapshots::restore(A::Codec::ID, &bytes)));
        restored.unwrap_or_else(|| self.replayed(self.history.len()))
    }

    /// The state after the first events.
    #[track_caller]
    fn replayed(&self, version: usize) -> A {
        let mut state = A::default();
        for Recorded { name, schema_version, payload } in &self.history[..version] {
            if let Some(entry) = event_entry::<A>(name) {
                sure((entry.apply)(&mut state, name, *schema_version, A::Codec::ID, payload));
            }
        }
        state
    }

    /// What the engine relies on.
    #[track_caller]
    fn check(&self, before: usize) {
        for record in &self.history[before..] {
            check_event::<A>(record);
        }
        let Some(bytes) = sure(A::Snapshots::take(&self.state)) else { return };
        let again = sure(A::Snapshots::take(&self.restored())).unwrap_or_default();
        same_state::<A>("a snapshot does not bring the state back", &bytes, &again);
        let replayed = sure(A::Snapshots::take(&self.replayed(self.history.len()))).unwrap_or_default();
        same_state::<A>("replaying the events does not bring the state back", &bytes, &replayed);
    }
}

#[allow(clippy::return_self_not_must_use, reason = "the last expectation of a chain is its end")]
impl<A: Aggregate, C: HandledBy<A>> Decision<A, C> {
    /// Exactly these events followed: one, or several as a handler may return them.
    ///
    /// # Panics
    /// If others did.
    #[track_caller]
    pub fn then(self, events: impl Emits<A, Reply = NoReply, Rejection = NoRejection>) -> Self {
        let mut expected = Vec::new();
        emit(events, &mut self.fixture.replayed(self.before), &mut expected);
        if expected != self.fixture.history[self.before..] {
            self.fail("led to other events", &list::<A>(&expected), &self.found());
        }
        self
    }

    /// No event followed.
    ///
    /// # Panics
    /// If one did.
    #[track_caller]
    pub fn then_no_events(self) -> Self {
        if self.before != self.fixture.history.len() {
            self.fail("led to events", "none", &self.found());
        }
        self
    }

    /// The caller got this reply.
    ///
    /// # Panics
    /// If it got something else.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "reads as what comes back, like `then`")]
    pub fn then_reply(self, reply: C::Reply) -> Self {
        match &self.result {
            Ok(answer) if json(&answer.reply) == json(&reply) => self,
            _ => self.fail("was answered otherwise", &format!("the reply {}", json(&reply)), &self.told()),
        }
    }

    /// The command was refused with this rejection, and no event followed.
    ///
    /// # Panics
    /// If it was not.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "reads as what comes back, like `then`")]
    pub fn then_rejected(self, rejection: C::Rejection) -> Self {
        match &self.result {
            Err(AskError::Rejected { rejection: found, .. }) if json(found) == json(&rejection) => self,
            _ => {
                let expected = format!("the rejection {}", json(&rejection));
                self.fail("was not refused like that", &expected, &self.told())
            }
        }
    }

    /// There was no aggregate, and the handler creates none.
    ///
    /// # Panics
    /// If it was otherwise.
    #[track_caller]
    pub fn then_not_found(self) -> Self {
        match &self.result {
            Err(AskError::NotFound { .. }) => self,
            _ => self.fail("found an aggregate", "not found", &self.told()),
        }
    }

    /// The command had no outcome, for this reason.
    ///
    /// # Panics
    /// If it had one, or none for another reason.
    #[track_caller]
    pub fn then_fault(self, code: Code) -> Self {
        match &self.result {
            Err(AskError::Fault(fault)) if fault.code == code => self,
            _ => self.fail("did not fail like that", &format!("the fault `{code}`"), &self.told()),
        }
    }

    /// The command was a repeat, and got the answer to the first one.
    ///
    /// # Panics
    /// If it was none.
    #[track_caller]
    pub fn then_replayed(self) -> Self {
        match &self.result {
            Ok(Answer { replayed: true, .. })
            | Err(AskError::Rejected { replayed: true, .. } | AskError::NotFound { replayed: true }) => self,
            _ => self.fail("is not a repeat", "the answer to the first one", &self.told()),
        }
    }

    /// Looks at the state after the command.
    pub fn then_state(self, look: impl FnOnce(&A)) -> Self {
        look(&self.fixture.state);
        self
    }

    /// The aggregate now answers a query like this.
    ///
    /// # Panics
    /// If it answers otherwise, or has no events.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "reads as what comes back, like `then`")]
    pub fn then_answer<Q: AnsweredBy<A>>(self, query: Q, reply: Q::Reply) -> Self {
        let found = self.fixture.answer(query).map_or_else(|| "not found".to_owned(), |found| json(&found));
        if found != json(&reply) {
            self.fail(&format!("left another answer to `{}`", Q::NAME), &json(&reply), &found);
        }
        self
    }

    /// What the caller got.
    ///
    /// # Errors
    /// What it got instead of a reply.
    pub const fn result(&self) -> &Answered<C> {
        &self.result
    }

    /// The fixture as it is now: for the next command.
    pub fn and(self) -> Fixture<A> {
        self.fixture
    }

    /// The events that followed, and what the caller got where there are none.
    fn found(&self) -> String {
        match &self.fixture.history[self.before..] {
            [] => format!("none, and {}", self.told()),
            events => list::<A>(events),
        }
    }

    fn told(&self) -> String {
        let again = |replayed: &bool| if *replayed { ", the answer to the first one" } else { "" };
        match &self.result {
            Ok(Answer { reply, replayed, .. }) => format!("the reply {}{}", json(reply), again(replayed)),
            Err(AskError::Rejected { rejection, replayed, .. }) => {
                format!("the rejection {}{}", json(rejection), again(replayed))
            }
            Err(AskError::NotFound { replayed }) => format!("not found{}", again(replayed)),
            Err(AskError::Fault(fault)) => format!("the fault `{}`: {}", fault.code, fault.detail),
        }
    }

    #[track_caller]
    fn fail(&self, what: &str, expected: &str, found: &str) -> ! {
        panic!("{} on version {} {what}\n  expected: {expected}\n  found:    {found}", self.command, self.before)
    }
}

/// What became of a command that has an outcome.
enum Done {
    /// Decided now.
    Now(Outcome),
    /// A repeat.
    Before(Outcome),
}

/// Where the answer is put.
struct Slot<C: Command>(Arc<Mutex<Option<Answered<C>>>>);

impl<C: Command> Default for Slot<C> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<C: Command> Slot<C> {
    fn take(&self) -> Answered<C> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.unwrap_or_else(|| Err(Fault::new(Code::StoreFailed, "nobody answered").into()))
    }
}

impl<C: Command> Respond<C> for Slot<C> {
    fn respond(self, answer: Answered<C>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// Records events and applies them.
#[track_caller]
fn emit<A: Aggregate>(
    events: impl Emits<A, Reply = NoReply, Rejection = NoRejection>,
    state: &mut A,
    records: &mut Vec<Recorded>,
) {
    let mut sink = Sink::new(state, records);
    let Ok(NoReply) = events.emit(&mut sink);
    if let Some(error) = sink.into_failure() {
        panic!("{error}");
    }
}

/// An event is the same after it was stored and read.
#[track_caller]
fn check_event<A: Aggregate>(Recorded { name, schema_version, payload }: &Recorded) {
    let Some(entry) = event_entry::<A>(name) else {
        panic!("no event handler of `{}` reads the event `{name}`", A::NAME);
    };
    let read = sure((entry.upcast)(name, *schema_version, A::Codec::ID, payload));
    let (first, again) = if A::Codec::ID == Json::ID {
        (payload.clone(), read)
    } else {
        let again = sure((entry.upcast)(name, *schema_version, Json::ID, &read));
        (read, again)
    };
    if first != again {
        let (first, again) = (String::from_utf8_lossy(&first), String::from_utf8_lossy(&again));
        panic!("the event `{name}` is another after it was stored and read\n  stored: {first}\n  read:   {again}");
    }
}

#[track_caller]
fn same_state<A: Aggregate>(rule: &str, expected: &[u8], found: &[u8]) {
    if expected != found {
        let (expected, found) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(found));
        panic!("`{}`: {rule}\n  expected: {expected}\n  found:    {found}", A::NAME);
    }
}

/// The events as JSON, a line each.
fn list<A: Aggregate>(records: &[Recorded]) -> String {
    let mut text = String::new();
    for Recorded { name, schema_version, payload } in records {
        let read =
            event_entry::<A>(name).and_then(|entry| (entry.upcast)(name, *schema_version, A::Codec::ID, payload).ok());
        // writing to a String can't fail
        let _ = write!(text, "\n    {name} {}", String::from_utf8_lossy(read.as_deref().unwrap_or(payload)));
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

#[track_caller]
fn json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    sure(Json::encode(value, &mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn sure<T>(result: Result<T, CodecError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Polls a future on this thread until it is done.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}
