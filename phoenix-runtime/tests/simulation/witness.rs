//! Sees the store as it really is, and holds what callers are told against it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use phoenix_runtime::domain::aggregate::{Aggregate, SnapshotOf, event_entry};
use phoenix_runtime::domain::error::{AskError, Code, QueryError};
use phoenix_runtime::domain::id::AggregateId;
use phoenix_runtime::domain::pending::Answer;
use phoenix_runtime::event_store::port::{EventStore, StoredEvent, StreamId};

use crate::ledger::{Entered, Ledger, Refused, Standing};

/// A command of the workload: what identifies it among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Op {
    pub(crate) number: u64,
    pub(crate) keyed: bool,
    /// Whether it asks for harm, and may be told of it.
    pub(crate) harmful: bool,
    /// How many events it has when it is done.
    pub(crate) events: u64,
}

/// What a caller was told, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Done(Standing, u64),
    Refused(Refused, u64),
    NotFound,
}

pub(crate) struct Witness {
    /// Without faults.
    store: Arc<dyn EventStore>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    violations: Vec<String>,
    told: BTreeMap<u64, (String, Op, Told)>,
    streams: BTreeMap<String, Vec<StoredEvent>>,
    /// The highest version that anybody was told, by ledger: nobody who asks later may be told of less.
    known: BTreeMap<String, u64>,
}

fn stream(ledger: &str) -> StreamId {
    StreamId { aggregate: Ledger::NAME.into(), id: AggregateId::new(ledger).unwrap() }
}

/// State after each version, from version 0 on.
pub(crate) fn replay(events: &[StoredEvent]) -> Vec<Ledger> {
    let mut states = vec![Ledger::default()];
    for stored in events {
        let mut state = states.last().unwrap().clone();
        let event = &stored.event;
        let entry = event_entry::<Ledger>(&event.name).unwrap();
        (entry.apply)(&mut state, &event.name, event.schema_version, event.codec, &event.payload).unwrap();
        states.push(state);
    }
    states
}

impl Witness {
    pub(crate) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, seen: Mutex::default() }
    }

    pub(crate) fn violation(&self, text: String) {
        self.seen.lock().unwrap().violations.push(text);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.seen.lock().unwrap().violations.clone()
    }

    /// The version that an ask which begins now must not fall behind.
    pub(crate) fn known(&self, ledger: &str) -> u64 {
        self.seen.lock().unwrap().known.get(ledger).copied().unwrap_or_default()
    }

    /// The durable stream at this moment; it must go on from what was seen before.
    async fn durable(&self, ledger: &str) -> Vec<StoredEvent> {
        let events = self.store.read_stream(stream(ledger), 1, usize::MAX).await.unwrap();
        let mut seen = self.seen.lock().unwrap();
        for (expected, stored) in (1..).zip(&events) {
            if stored.event.version != expected {
                seen.violations.push(format!("promise 4: {ledger} has {} for {expected}", stored.event.version));
            }
        }
        if events.windows(2).any(|pair| pair[0].time_micros > pair[1].time_micros) {
            seen.violations.push(format!("time goes back in {ledger}"));
        }
        let before = seen.streams.insert(ledger.to_owned(), events.clone()).unwrap_or_default();
        if !events.starts_with(&before) {
            seen.violations.push(format!("promise 4: the stream of {ledger} changed"));
        }
        events
    }

    /// A caller was told something about a command that it began when `known` was known.
    pub(crate) async fn command(
        &self,
        ledger: &str,
        op: Op,
        known: u64,
        answer: Result<Answer<Standing>, AskError<Refused>>,
    ) -> Option<Code> {
        let (told, version, standing, replayed) = match answer {
            Ok(Answer { reply, version, replayed, .. }) => (Told::Done(reply, version), version, Some(reply), replayed),
            Err(AskError::Rejected { rejection, version, replayed }) => {
                let Refused::Short(standing) = rejection;
                (Told::Refused(rejection, version), version, Some(standing), replayed)
            }
            Err(AskError::NotFound { replayed }) => (Told::NotFound, 0, None, replayed),
            Err(other) => {
                let code = other.code();
                if !op.harmful && matches!(code, Code::Panicked | Code::TooLarge | Code::Parked) {
                    self.violation(format!("promise 7: {op:?} of {ledger} was told {other}"));
                }
                return Some(code);
            }
        };
        let events = self.durable(ledger).await;
        self.rests_on(ledger, version, standing, &events, &format!("{op:?} was told {told:?}"));
        if !replayed && version < known {
            self.violation(format!("promise 5: {op:?} of {ledger} was told version {version} when {known} was known"));
        }
        let mut seen = self.seen.lock().unwrap();
        let entry = seen.known.entry(ledger.to_owned()).or_default();
        *entry = version.max(*entry);
        if let Some((_, _, first)) = seen.told.get(&op.number)
            && *first != told
        {
            let text = format!("promise 2: {op:?} of {ledger} was told {first:?} first, then {told:?}");
            seen.violations.push(text);
        }
        seen.told.entry(op.number).or_insert((ledger.to_owned(), op, told));
        None
    }

    pub(crate) async fn query(&self, ledger: &str, known: u64, answer: Result<Standing, QueryError>) {
        let (version, standing) = match answer {
            Ok(standing) => (standing.entries, Some(standing)),
            Err(QueryError::NotFound) => (0, None),
            Err(_) => return,
        };
        let events = self.durable(ledger).await;
        // every durable event of the workload is an entry: entries are versions
        self.rests_on(ledger, version, standing, &events, "a query");
        if version < known {
            self.violation(format!("promise 5: a query of {ledger} was told version {version} when {known} was known"));
        }
        let mut seen = self.seen.lock().unwrap();
        let entry = seen.known.entry(ledger.to_owned()).or_default();
        *entry = version.max(*entry);
    }

    fn rests_on(&self, ledger: &str, version: u64, told: Option<Standing>, events: &[StoredEvent], what: &str) {
        let Some(events) = events.get(..usize::try_from(version).unwrap()) else {
            let text = format!("promise 1: {what}, but {ledger} has only {} durable events", events.len());
            return self.violation(text);
        };
        let state = replay(events).pop().unwrap();
        if told.is_some_and(|told| told != state.standing()) {
            self.violation(format!("promise 1: {what}, but at version {version} {ledger} is {:?}", state.standing()));
        }
    }

    /// The commands whose events a ledger has, in their order.
    pub(crate) async fn entered(&self, ledger: &str) -> Vec<u64> {
        let events = self.durable(ledger).await;
        events.iter().map(|e| serde_json::from_slice::<Entered>(&e.event.payload).unwrap().op).collect()
    }

    /// When all is quiet: each command once, and snapshots equal to replay.
    pub(crate) async fn at_the_end(&self, ledgers: &[String]) {
        let mut done = BTreeMap::<u64, u64>::new();
        for ledger in ledgers {
            let events = self.durable(ledger).await;
            for stored in &events {
                let entered: Entered = serde_json::from_slice(&stored.event.payload).unwrap();
                *done.entry(entered.op).or_default() += 1;
            }
            let states = replay(&events);
            let mut at_most = u64::MAX;
            while let Some(snapshot) = self.store.snapshot(stream(ledger), at_most).await.unwrap() {
                at_most = snapshot.version - 1;
                let Some(state) = states.get(usize::try_from(snapshot.version).unwrap()) else {
                    self.violation(format!("a snapshot of {ledger} at {} is ahead of its stream", snapshot.version));
                    continue;
                };
                let replayed = <<Ledger as Aggregate>::Snapshots as SnapshotOf<Ledger>>::take(state).unwrap();
                if replayed != Some(snapshot.payload) {
                    self.violation(format!(
                        "promise 6: the snapshot of {ledger} at {} is not its replay",
                        snapshot.version
                    ));
                }
            }
        }
        let seen = self.seen.lock().unwrap();
        let mut violations = Vec::new();
        for (op, count) in &done {
            let expected = seen.told.get(op).map(|(_, op, told)| match told {
                Told::Done(..) => op.events,
                _ => 0,
            });
            if expected.is_some_and(|expected| expected != *count) {
                violations.push(format!("promise 2: {:?} has {count} events", seen.told[op]));
            }
        }
        for (ledger, op, told) in seen.told.values() {
            if matches!(told, Told::Done(..)) && op.events > 0 && !done.contains_key(&op.number) {
                violations.push(format!("lost: {op:?} of {ledger} was told {told:?} and has no events"));
            }
        }
        drop(seen);
        self.seen.lock().unwrap().violations.extend(violations);
    }
}
