//! What an aggregate may wait for, and what comes of it.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::context::Cause;
use crate::domain::error::{Code, Fault};
use crate::domain::id::Dedup;
use crate::domain::pending::{Told, Worked};
use crate::engine::activation::Loaded;
use crate::engine::cell::{CellRef, Task, Window};
use crate::engine::journal::Backoff;
use crate::engine::mailbox::{Body, CommandMail, Mail, Repeat};
use crate::engine::questions::{Answers, Asked, Question, ask};
use crate::engine::shard::decide::panicked;
use crate::engine::shard::settle::tell;
use crate::engine::shard::{Done, MAX_PARKED, PARKED, Parked, Shard, drop_user};
use crate::event_store::port::{Lane, StoredOutcome, StreamId};

/// How many of those behind a possible repeat are asked about together with it.
const QUESTIONS: usize = 1024;

impl Shard {
    /// Starts what a busy cell waits for, if its earlier batches are settled.
    pub(super) fn advance(&mut self, cell: CellRef) {
        let Some(found) = self.cells.get_mut(cell) else { return };
        let settled = found.pins == 0;
        let Some(busy) = &mut found.busy else { return };
        match std::mem::replace(&mut busy.with, Task::Activation) {
            Task::Rebuild if settled => self.start_activation(cell),
            Task::Question(mail) if settled => {
                busy.with = Task::Asking(mail);
                self.question(cell);
            }
            Task::Start(mail) if settled => self.start_handler(cell, mail),
            other => busy.with = other,
        }
    }

    /// Puts down what the store is asked for a cell: the command that it waits for, and those behind it that would be
    /// asked about as well. One by one each would wait for the batch of the one before.
    fn question(&mut self, cell: CellRef) {
        let suspicious = self.now < self.suspicious_until;
        let Some(found) = self.cells.get_mut(cell) else { return };
        let Some(kind) = self.kinds.get(found.kind as usize) else { return };
        let stream = StreamId { aggregate: self.names.get(kind.name()), id: found.id.clone() };
        let Some(busy) = &found.busy else { return };
        let Task::Asking(first) = &busy.with else { return };
        let behind = busy.queue.iter().filter(|mail| match &mail.body {
            Body::Command(command) => {
                command.repeat == Repeat::Likely || (suspicious && command.repeat == Repeat::Possible)
            }
            Body::Query(_) | Body::Snapshot(_) => false,
        });
        let commands = std::iter::once(first).chain(behind.take(QUESTIONS)).filter_map(|mail| match &mail.body {
            Body::Command(command) => Some((stream.clone(), command.dedup)),
            Body::Query(_) | Body::Snapshot(_) => None,
        });
        let question = Question { cell, commands: commands.collect() };
        self.lanes.work(self.lanes.of(found.slice())).questions.push(question);
    }

    /// Asks the store about all possible repeats of this turn at once, those of one lane: another may not answer.
    pub(super) fn ask_questions(&mut self, lane: Lane) -> bool {
        let questions = std::mem::take(&mut self.lanes.work(lane).questions);
        let mut progress = !questions.is_empty();
        if progress {
            self.ask(None, questions, self.backoff());
        }
        while let Some((questions, backoff)) = self.lanes.work(lane).asked_again.next() {
            self.ask(Some(lane), questions, backoff);
            progress = true;
        }
        progress
    }

    fn ask(&mut self, again: Option<Lane>, questions: Vec<Question>, backoff: Backoff) {
        let store = Arc::clone(&self.store);
        self.tasks.push(Box::pin(async move { Done::Asked(again, ask(store, questions).await, backoff) }));
    }

    fn told(&mut self, again: Option<Lane>, asked: Asked, mut backoff: Backoff) {
        if let Some(lane) = again {
            self.lanes.work(lane).asked_again.ended();
        }
        match asked {
            Asked::Answered(answers) => {
                for (cell, answers) in answers {
                    self.asked(cell, answers);
                }
            }
            Asked::Failed(questions) => self.ask_again(questions, &backoff),
            Asked::Unanswered(questions) => self.tasks.push(Box::pin(async move {
                backoff.wait().await;
                Done::AskAgain(questions, backoff)
            })),
        }
    }

    /// Puts questions again that were not answered together.
    fn ask_again(&mut self, mut questions: Vec<Question>, backoff: &Backoff) {
        questions.retain(|question| self.cells.get_mut(question.cell).is_some());
        let first = questions.first().and_then(|question| self.cells.get_mut(question.cell));
        let Some(lane) = first.map(|found| self.lanes.of(found.slice())) else { return };
        self.lanes.work(lane).asked_again.put(questions, backoff);
    }

    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Loaded(place, granted, backoff) => self.granted(place, granted, backoff),
            Done::LoadAgain(wishes, backoff) => self.load_again(wishes, &backoff),
            Done::ReadOn(replay, events) => self.read_on(replay, events),
            Done::ReadAhead => self.reads_ahead = self.reads_ahead.saturating_sub(1),
            Done::Asked(again, asked, backoff) => self.told(again, asked, backoff),
            Done::AskAgain(questions, backoff) => self.ask_again(questions, &backoff),
            Done::Worked(cell, time_micros, worked) => self.worked(cell, time_micros, worked),
            Done::Reread(lane, epochs, last) => self.reread(lane, &epochs, last),
            Done::Kept(lane) => {
                let work = self.lanes.work(lane);
                work.keepers = work.keepers.saturating_sub(1);
            }
        }
    }

    pub(super) fn activated(&mut self, cell: CellRef, loaded: Loaded) {
        let Some(slice) = self.cells.get_mut(cell).map(|found| found.slice()) else { return };
        self.came_back(slice);
        let Some(found) = self.cells.get_mut(cell) else { return };
        let before = found.window.len();
        found.state = Some(loaded.state);
        found.version = loaded.version;
        found.snapshot_version = loaded.snapshot_version;
        found.snapshot_bytes = loaded.bytes;
        found.time_micros = loaded.time_micros;
        let room = (self.options.max_remembered_keys + before).saturating_sub(self.remembered_keys);
        if !self.parked.is_empty() {
            let mended = self.parked.remove(&(found.kind, found.id.clone())).is_some();
            self.health.parked.fetch_sub(usize::from(mended), Ordering::Relaxed);
        }
        found.window = Window::new(loaded.keys.keys, loaded.keys.complete, room);
        self.remembered_keys = (self.remembered_keys + found.window.len()).saturating_sub(before);
        self.resume(cell);
    }

    /// The aggregate can't be brought into memory: all who wait are told, and and for a while it is not tried again.
    pub(super) fn park(&mut self, cell: CellRef, reason: &str) {
        let Some(found) = self.cells.get_mut(cell) else { return };
        let id = found.id.clone();
        let kind = self.kinds.get(found.kind as usize).map_or("", |kind| kind.name());
        tracing::error!(aggregate = kind, %id, reason, "the aggregate is parked");
        let fault = Fault::new(Code::Parked, format!("{kind}/{id} can't be brought into memory: {reason}"));
        let key = (found.kind, id);
        let pause = self.parked.get(&key).map_or(PARKED.0, |parked| (parked.pause * 2).min(PARKED.1));
        let until = self.now + pause;
        if self.parked.len() < MAX_PARKED {
            let parked = Parked { until, pause, fault: fault.clone() };
            if self.parked.insert(key, parked).is_none() {
                self.health.parked.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            let before = self.parked.len();
            self.parked.retain(|_, parked| parked.until > self.now);
            self.health.parked.fetch_sub(before - self.parked.len(), Ordering::Relaxed);
        }
        self.expel(cell, &fault);
    }

    /// Drops a cell; all who wait for it are told.
    pub(super) fn expel(&mut self, cell: CellRef, fault: &Fault) {
        let busy = self.cells.get_mut(cell).and_then(|found| found.busy.take());
        self.forget(cell);
        if let Some(busy) = busy {
            if let Task::Question(mail) | Task::Asking(mail) | Task::Start(mail) | Task::Working(mail) = busy.with {
                mail.fail(fault.clone());
            }
            for mut mail in busy.queue {
                self.lanes.let_go(&mut mail);
                mail.fail(fault.clone());
            }
        }
    }

    /// The state has changes that no event tells of: it is brought back when earlier batches are settled.
    pub(super) fn spoilt(&mut self, cell: CellRef) {
        if let Some(found) = self.cells.get_mut(cell) {
            drop_user(found.state.take());
            self.hold(cell, Task::Rebuild);
        }
    }

    /// Takes the message that a cell is busy with.
    fn stop_task(&mut self, cell: CellRef) -> Option<Mail> {
        let busy = self.cells.get_mut(cell)?.busy.as_mut()?;
        match std::mem::replace(&mut busy.with, Task::Rebuild) {
            Task::Asking(mail) | Task::Working(mail) => Some(mail),
            _ => None,
        }
    }

    /// The store's word on possible repeats: first the one that the cell waits for, then those behind it.
    fn asked(&mut self, cell: CellRef, answers: Answers) {
        let Some(mut first) = self.stop_task(cell) else { return };
        match answers {
            Err(fault) => first.fail(fault),
            Ok(answers) => {
                let mut answers = answers.into_iter();
                let answer = answers.next();
                let first_dedup = answer.as_ref().map(|(dedup, _)| *dedup);
                if let Some((dedup, Some(stored))) = answer {
                    self.remember(cell, dedup);
                    self.meters.repeated.increment(1);
                    answer_repeat(first, &stored);
                } else {
                    let certain = !self.lanes.is_doubtful(first.slice());
                    if let Body::Command(command) = &mut first.body {
                        command.repeat = Repeat::Excluded;
                        command.perhaps_stored &= !certain;
                    }
                    if let Some(busy) = self.cells.get_mut(cell).and_then(|found| found.busy.as_mut()) {
                        self.lanes.hold(first.slice(), 1);
                        busy.queue.push_front(first);
                    }
                }
                self.asked_behind(cell, first_dedup, &answers.collect());
            }
        }
        self.resume(cell);
    }

    /// `before` is what the cell waited for. Of equal keys that the store does not know only the first is new.
    fn asked_behind(&mut self, cell: CellRef, before: Option<Dedup>, answers: &HashMap<Dedup, Option<StoredOutcome>>) {
        if answers.is_empty() {
            return;
        }
        let mut new: HashSet<Dedup> = before.into_iter().collect();
        let Some(busy) = self.cells.get_mut(cell).and_then(|found| found.busy.as_mut()) else { return };
        let queue = std::mem::take(&mut busy.queue);
        for mut mail in queue {
            let certain = !self.lanes.is_doubtful(mail.slice());
            let answer = match &mut mail.body {
                Body::Command(command) if matches!(command.repeat, Repeat::Possible | Repeat::Likely) => {
                    let answer = answers.get(&command.dedup);
                    if answer.is_some_and(Option::is_none) {
                        let is_first = new.insert(command.dedup);
                        command.repeat = if is_first { Repeat::Absent } else { Repeat::Likely };
                        command.perhaps_stored &= !certain;
                    }
                    answer.and_then(Option::as_ref)
                }
                _ => None,
            };
            if let Some(stored) = answer {
                self.lanes.let_go(&mut mail);
                self.meters.repeated.increment(1);
                answer_repeat(mail, stored);
            } else if let Some(busy) = self.cells.get_mut(cell).and_then(|found| found.busy.as_mut()) {
                busy.queue.push_back(mail);
            }
        }
    }

    /// A key that the store knows: its next repeat is found out without deciding.
    fn remember(&mut self, cell: CellRef, dedup: Dedup) {
        let may_grow = self.remembered_keys < self.options.max_remembered_keys;
        let Some(found) = self.cells.get_mut(cell) else { return };
        let room = self.kinds.get(found.kind as usize).map_or(0, |kind| kind.options().idempotency_window);
        if !found.window.contains(dedup.short()) {
            self.remembered_keys += found.window.push(dedup.short(), room, may_grow);
        }
    }

    fn start_handler(&mut self, cell: CellRef, mut mail: Mail) {
        let Some((mut context, _)) = self.context(cell, &mail) else { return };
        let Some(found) = self.cells.get_mut(cell) else { return };
        let Some(kind) = self.kinds.get(found.kind as usize) else { return };
        context.chain = context.chain.and(kind.name(), found.id.clone());
        if let Body::Command(command) = &mail.body {
            let cause = Cause::new(kind.name(), &context, command.dedup);
            context = context.caused_by(cause);
        }
        let time_micros = context.now_micros;
        // what it does outside was done here
        mail.goes_on = false;
        let Some(state) = found.state.take() else { return };
        let Body::Command(command) = &mut mail.body else { return };
        let begun = catch_unwind(AssertUnwindSafe(|| command.pending.begin(state, context)));
        let future = match begun {
            Ok(Ok(future)) => future,
            Ok(Err(fault)) => return self.handler_failed(cell, mail, fault),
            Err(panic) => return self.handler_failed(cell, mail, panicked("command", &*panic)),
        };
        if let Some(busy) = &mut found.busy {
            busy.with = Task::Working(mail);
        }
        let deadline = self.clock.sleep(self.options.handler_deadline);
        let allowed = self.options.handler_deadline;
        self.tasks.push(Box::pin(async move {
            let work = AssertUnwindSafe(future).catch_unwind();
            let worked = match select(work, deadline).await {
                Either::Left((Ok(worked), _)) => Ok(worked),
                Either::Left((Err(panic), _)) => Err(panicked("command", &*panic)),
                Either::Right(((), work)) => {
                    drop_user(work);
                    Err(Fault::new(Code::DeadlinePassed, format!("the handler took longer than {allowed:?}; not done")))
                }
            };
            Done::Worked(cell, time_micros, worked)
        }));
    }

    /// The state went with the handler: it is brought back.
    fn handler_failed(&mut self, cell: CellRef, mail: Mail, fault: Fault) {
        mail.fail(fault);
        self.spoilt(cell);
    }

    fn worked(&mut self, cell: CellRef, time_micros: i64, worked: Result<Worked, Fault>) {
        // a cell that died meanwhile has another generation: the result does not count
        let Some(mut mail) = self.stop_task(cell) else { return };
        let Worked { state, finish } = match worked {
            Ok(worked) => worked,
            Err(fault) => return self.handler_failed(cell, mail, fault),
        };
        let Some(found) = self.cells.get_mut(cell) else { return };
        let queue = found.busy.take().map(|busy| busy.queue).unwrap_or_default();
        let state = found.state.insert(state);
        let Body::Command(command) = &mut mail.body else { return };
        let facts = command.pending.facts();
        let mut records = Vec::new();
        let run = AssertUnwindSafe(|| command.pending.finish(&mut **state, finish, &mut records));
        let decided = match catch_unwind(run) {
            Ok(decided) => decided,
            Err(panic) => Err(panicked("event", &*panic)),
        };
        self.decided(cell, mail, facts, decided.map(|verdict| (verdict, time_micros)), records);
        match self.cells.get_mut(cell).and_then(|found| found.busy.as_mut()) {
            Some(busy) => {
                let mut queue = queue;
                busy.queue.append(&mut queue);
            }
            None => self.drain_queue(cell, queue),
        }
    }
}

/// Tells a repeat what became of the first, unless its payload is another.
fn answer_repeat(mut mail: Mail, stored: &StoredOutcome) {
    let Body::Command(command) = &mut mail.body else { return };
    if is_same(command, stored) {
        if let Body::Command(command) = mail.open().body {
            tell(command.pending, Told::Stored(&stored.command.outcome));
        }
    } else {
        mail.fail(Fault::new(
            Code::KeyReused,
            "this idempotency key belongs to a command with another payload; give each command a key of its own",
        ));
    }
}

/// `None` for a command that can't be written: then it is not the one that was.
fn encoded_hash(command: &mut CommandMail) -> Option<u64> {
    let encode = AssertUnwindSafe(|| command.pending.encode().map(xxh3_64));
    catch_unwind(encode).ok()?.ok()
}

fn is_same(command: &mut CommandMail, stored: &StoredOutcome) -> bool {
    *stored.command.name == *command.pending.facts().name
        && stored.command.key == command.key
        && encoded_hash(command) == Some(stored.command.payload_hash)
}
