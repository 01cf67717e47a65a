//! Commands and queries on a state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::aggregate::CommandFacts;
use crate::domain::context::Context;
use crate::domain::emit::Recorded;
use crate::domain::error::{Code, Fault};
use crate::domain::id::Slice;
use crate::domain::outcome::{Outcome, OutcomeKind};
use crate::domain::pending::Verdict;
use crate::engine::activation::panic_text;
use crate::engine::batch::{Waiter, Waiting};
use crate::engine::cell::{CellRef, Task};
use crate::engine::mailbox::{Body, CommandMail, Mail, Repeat};
use crate::engine::order::Order;
use crate::engine::shard::Shard;
use crate::event_store::port::{CommandData, EventData, Record, Snapshot, StreamId};

/// The largest decision whose memory is kept for the next, in events.
const MAX_SPARE: usize = 64;

/// What a handler decided, before it goes into the batch.
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) records: Vec<Recorded>,
    /// The time that the handler was told, which its events carry.
    pub(super) time_micros: i64,
}

impl Shard {
    /// A command for an aggregate that is not busy.
    pub(super) fn command(&mut self, cell: CellRef, mut mail: Mail) {
        let suspicious = self.now < self.suspicious_until;
        let Some(found) = self.cells.get_mut(cell) else { return };
        let deadline = mail.deadline;
        let Body::Command(command) = &mut mail.body else { return };
        if command.order.as_ref().is_some_and(Order::is_broken) {
            return mail.fail(Fault::new(Code::Behind, "a command before it has no outcome yet; nothing was done"));
        }
        let doubtful = match command.repeat {
            Repeat::Possible => found.window.contains(command.dedup.short()) || (suspicious && !found.window.complete),
            Repeat::Absent => found.window.contains(command.dedup.short()),
            Repeat::Never | Repeat::Likely | Repeat::Excluded => false,
        };
        if doubtful {
            command.repeat = Repeat::Likely;
        }
        if command.repeat == Repeat::Likely {
            return self.hold(cell, Task::Question(mail));
        }
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            let expired =
                Fault::new(Code::DeadlinePassed, "its caller's time-out passed before it was decided; not done");
            return if self.may_refuse(cell, &mail) {
                mail.fail(expired);
            } else {
                self.hold(cell, Task::Question(mail));
            };
        }
        if self.lanes.is_away(found.slice()) {
            // its append would fail, and with it what others have decided: it waits until the slice can be read again
            self.spoilt(cell);
            return self.wait(cell, mail);
        }
        // needed to decide anew if the batch fails, and to compare with a repeat
        let encoded = catch_unwind(AssertUnwindSafe(|| command.pending.encode().map(<[u8]>::len)));
        match encoded {
            Ok(Ok(bytes)) if bytes <= self.options.max_message_bytes => {}
            Ok(Ok(bytes)) => return mail.fail(too_large("command", bytes, self.options.max_message_bytes)),
            Ok(Err(reason)) => return mail.fail(Fault::new(Code::InvalidMessage, reason.to_string())),
            Err(panic) => return mail.fail(panicked("Serialize", &*panic)),
        }
        let facts = command.pending.facts();
        if !facts.creates && found.version == 0 {
            let verdict = Verdict { kind: OutcomeKind::NotFound, body: Vec::new() };
            let time_micros = self.clock.wall_micros().max(found.time_micros);
            let decision = Decision { verdict, records: Vec::new(), time_micros };
            return self.take(cell, mail, facts, decision);
        }
        if facts.asynchronous {
            if command.repeat == Repeat::Possible && !found.window.complete {
                // what it does outside can't be undone when the store knows it after all
                return self.hold(cell, Task::Question(mail));
            }
            return self.hold(cell, Task::Start(mail));
        }
        let mut records = std::mem::take(&mut self.spare_records);
        let Some((context, cell_state)) = self.context(cell, &mail) else { return };
        let Body::Command(command) = &mut mail.body else { return };
        let Some(state) = cell_state else { return };
        let run = AssertUnwindSafe(|| command.pending.decide(&mut **state, &context, &mut records));
        let decided = match catch_unwind(run) {
            Ok(decided) => decided,
            Err(panic) => Err(panicked(if records.is_empty() { "command" } else { "event" }, &*panic)),
        };
        self.decided(cell, mail, facts, decided.map(|verdict| (verdict, context.now_micros)), records);
    }

    /// What comes of a decision, at once or after an `async` handler.
    pub(super) fn decided(
        &mut self,
        cell: CellRef,
        mail: Mail,
        facts: &'static CommandFacts,
        decided: Result<(Verdict, i64), Fault>,
        records: Vec<Recorded>,
    ) {
        let within = decided.and_then(|decided| self.check_size(&decided.0, &records).map(|()| decided));
        match within {
            Ok((verdict, time_micros)) => self.take(cell, mail, facts, Decision { verdict, records, time_micros }),
            Err(fault) => {
                if !records.is_empty() {
                    // the state has changes that no event tells of
                    self.spoilt(cell);
                }
                mail.fail(fault);
            }
        }
    }

    fn check_size(&self, verdict: &Verdict, records: &[Recorded]) -> Result<(), Fault> {
        let most = self.options.max_message_bytes;
        let largest = records.iter().map(|r| r.payload.len()).chain([verdict.body.len()]).max().unwrap_or(0);
        if largest > most {
            return Err(too_large("event, reply or rejection", largest, most));
        }
        let all = records.iter().map(|r| r.payload.len() + 64).sum::<usize>();
        if all > self.options.max_decision_bytes {
            return Err(too_large("events of one command", all, self.options.max_decision_bytes));
        }
        Ok(())
    }

    /// Whether a command may be told something that is not appended with its key. If not, the store is asked first:
    /// no unique key can catch what is not appended.
    fn may_refuse(&mut self, cell: CellRef, mail: &Mail) -> bool {
        let Body::Command(command) = &mail.body else { return true };
        match command.repeat {
            Repeat::Never | Repeat::Excluded | Repeat::Absent => true,
            Repeat::Likely => false,
            Repeat::Possible => self.cells.get_mut(cell).is_some_and(|found| found.window.complete),
        }
    }

    /// Puts a decision into the open batch.
    pub(super) fn take(&mut self, cell: CellRef, mut mail: Mail, facts: &'static CommandFacts, decision: Decision) {
        let Decision { verdict, mut records, time_micros } = decision;
        if records.is_empty() && !self.may_refuse(cell, &mail) {
            // the state is unchanged: ask first, decide again
            return self.hold(cell, Task::Question(mail));
        }
        let Some(kind) = self.kinds.get(mail.kind as usize) else { return };
        let (aggregate, options, codec) = (self.names.get(kind.name()), kind.options(), kind.codec());
        let Some(found) = self.cells.get_mut(cell) else { return };
        let stream = StreamId { aggregate, id: found.id.clone() };
        let slice = Slice::from_hash(found.hash);
        let open = self.lanes.open(slice);
        let first_record = open.records.len();
        let version = found.version + records.len() as u64;
        let told = match verdict.kind {
            OutcomeKind::Replied => Waiting::Decided,
            OutcomeKind::Rejected => Waiting::Rejected,
            OutcomeKind::NotFound => Waiting::NotFound,
        };
        let Body::Command(command) = &mut mail.body else { return };
        let stores_outcome = command.repeat != Repeat::Never;
        if !records.is_empty() || stores_outcome {
            let outcome = Outcome { kind: verdict.kind, version, codec, body: verdict.body };
            let name = self.names.get(facts.name);
            let mut data = Some(Box::new(command_data(command, name, outcome)));
            if records.is_empty() {
                let (event, command) = (None, data.take());
                open.push(Record { stream, slice, sequence: 0, time_micros, event, command });
            } else {
                for (recorded, version) in records.drain(..).zip(found.version + 1..) {
                    found.snapshot_bytes += recorded.payload.len() as u64;
                    let event = Some(EventData {
                        version,
                        name: self.names.get(recorded.name),
                        schema_version: recorded.schema_version,
                        codec,
                        payload: recorded.payload,
                    });
                    let (stream, command) = (stream.clone(), data.take());
                    open.push(Record { stream, slice, sequence: 0, time_micros, event, command });
                }
                found.version = version;
                found.time_micros = time_micros;
            }
            if stores_outcome {
                let may_grow = self.remembered_keys < self.options.max_remembered_keys;
                self.remembered_keys += found.window.push(command.dedup.short(), options.idempotency_window, may_grow);
            }
        }
        if records.capacity() <= MAX_SPARE {
            self.spare_records = records;
        }
        found.pins += 1;
        open.waiters.push(Waiter { cell, mail, version, first_record, told });
        let by_count = options.snapshot_every.is_some_and(|every| version - found.snapshot_version >= every);
        let by_size = || options.snapshot_bytes.is_some_and(|most| found.snapshot_bytes >= most);
        if options.snapshot_every.is_some() && (by_count || by_size()) {
            // what went wrong is in the log
            let _ = self.snapshot(cell);
        }
    }

    /// A snapshot that somebody asks for, of an aggregate that is not busy.
    pub(super) fn snapshot_asked(&mut self, cell: CellRef, mail: Mail) {
        if mail.deadline.is_some_and(|deadline| deadline <= self.now) {
            let text = "its caller's time-out passed before it was taken";
            return mail.fail(Fault::new(Code::DeadlinePassed, text));
        }
        let Some(version) = self.cells.get_mut(cell).map(|found| found.version) else { return };
        let told = if version == 0 { Waiting::Absent } else { Waiting::Answered };
        if version > 0
            && let Err(fault) = self.snapshot(cell)
        {
            return mail.fail(fault);
        }
        let Some(found) = self.cells.get_mut(cell) else { return };
        found.pins += 1;
        let open = self.lanes.open(found.slice());
        let first_record = open.records.len();
        open.waiters.push(Waiter { cell, mail, version, first_record, told });
    }

    /// Encodes the state now; it is written when its version is durable, and thrown away if that fails.
    fn snapshot(&mut self, cell: CellRef) -> Result<(), Fault> {
        let gone = || Fault::new(Code::OwnershipLost, "the aggregate has left memory; ask again");
        let found = self.cells.get_mut(cell).ok_or_else(gone)?;
        let kind = self.kinds.get(found.kind as usize).ok_or_else(gone)?;
        let state = found.state.as_ref().ok_or_else(gone)?;
        let stream = StreamId { aggregate: self.names.get(kind.name()), id: found.id.clone() };
        // also after a failure: the next attempt is due after as many events again
        found.snapshot_version = found.version;
        found.snapshot_bytes = 0;
        match catch_unwind(AssertUnwindSafe(|| kind.snapshot(state))) {
            Ok(Ok(Some(payload))) => {
                self.lanes.open(found.slice()).push_snapshot(Snapshot {
                    stream,
                    version: found.version,
                    time_micros: found.time_micros,
                    fingerprint: kind.fingerprint(),
                    codec: kind.codec(),
                    payload,
                });
                Ok(())
            }
            Ok(Ok(None)) => {
                let text = format!("`{}` takes no snapshots: it says `snapshot_every = never`", kind.name());
                Err(Fault::new(Code::InvalidMessage, text))
            }
            Ok(Err(reason)) => {
                tracing::error!(%stream, %reason, "the state can't be encoded; no snapshot taken");
                Err(Fault::new(Code::InvalidMessage, format!("the state can't be encoded: {reason}")))
            }
            Err(panic) => {
                let text = panic_text(&*panic);
                tracing::error!(%stream, reason = text, "encoding the state panicked");
                Err(Fault::new(Code::Panicked, format!("encoding the state panicked: {text}")))
            }
        }
    }

    /// A query for an aggregate that is not busy.
    pub(super) fn query(&mut self, cell: CellRef, mut mail: Mail) {
        if mail.deadline.is_some_and(|deadline| deadline <= self.now) {
            return mail.fail(Fault::new(Code::DeadlinePassed, "its caller's time-out passed before it was answered"));
        }
        let Some(found) = self.cells.get_mut(cell) else { return };
        let version = found.version;
        let Body::Query(query) = &mut mail.body else { return };
        let told = if version == 0 {
            Waiting::Absent
        } else {
            let Some(state) = &mut found.state else { return };
            match catch_unwind(AssertUnwindSafe(|| query.answer(&mut **state))) {
                Ok(Ok(())) => Waiting::Answered,
                Ok(Err(fault)) => return mail.fail(fault),
                Err(panic) => return mail.fail(panicked("query", &*panic)),
            }
        };
        found.pins += 1;
        let open = self.lanes.open(found.slice());
        let first_record = open.records.len();
        open.waiters.push(Waiter { cell, mail, version, first_record, told });
    }

    /// What a handler may know, and the state that it decides on.
    #[allow(clippy::type_complexity, reason = "a pair, named where it is taken apart")]
    pub(super) fn context(
        &mut self,
        cell: CellRef,
        mail: &Mail,
    ) -> Option<(Context, Option<&mut crate::domain::pending::AnyState>)> {
        let wall = self.clock.wall_micros();
        let found = self.cells.get_mut(cell)?;
        let Body::Command(command) = &mail.body else { return None };
        let now_micros = wall.max(found.time_micros);
        let mut context = Context::new(found.id.clone(), found.version, now_micros, command.message);
        context.metadata.clone_from(&command.metadata);
        context.resources = self.resources.clone();
        context.chain = command.chain.clone();
        context.key.clone_from(&command.key);
        Some((context, found.state.as_mut()))
    }

    /// From now on possible repeats are asked about before they are decided.
    pub(super) fn suspect(&mut self, duration: Duration) {
        self.suspicious_until = self.now + duration;
    }
}

fn command_data(command: &mut CommandMail, name: std::sync::Arc<str>, outcome: Outcome) -> CommandData {
    // it was encoded before it was decided
    let payload_hash = command.pending.encode().map(xxh3_64).unwrap_or_default();
    let metadata = command.metadata.as_deref();
    CommandData {
        id: command.message,
        dedup: command.dedup,
        name,
        key: command.key.clone(),
        payload_hash,
        outcome,
        correlation_id: metadata.and_then(|m| m.correlation_id.clone()),
        causation_id: metadata.and_then(|m| m.causation_id.clone()),
    }
}

fn too_large(what: &str, bytes: usize, most: usize) -> Fault {
    Fault::new(Code::TooLarge, format!("{what}: {bytes} bytes where at most {most} are allowed; nothing was stored"))
}

pub(super) fn panicked(handler: &str, panic: &(dyn std::any::Any + Send)) -> Fault {
    let text = panic_text(panic);
    tracing::error!(handler, text, "a handler panicked");
    Fault::new(Code::Panicked, format!("the {handler} handler panicked: {text}; nothing was stored"))
}
