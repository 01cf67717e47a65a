//! The inbox as the loop sees it: rows are put, read and removed beside the commands, a few calls at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::TICK;
use super::examine::{ALONE, Examined, Findings, Verdict, examine};
use super::job::{Job, identity};
use super::rows::{Cursor, Facts, RowId, State, before, id_of, key, until_done};
use super::settle::Dead;
use super::slot::{Home, Slot, Stage};
use super::spill::{Bounds, Putting};
use super::work::{Done, LOOK, Work};
use crate::bus::envelope::Message;
use crate::domain::error::{Code, Fault};
use crate::domain::id::identity_hash;
use crate::domain::ports::Clock;
use crate::event_store::letters::{Due, InboxRow, Letters};
use crate::event_store::port::{EventStore, StoreError};

/// How many rows, and bytes of them, are read at once.
const PAGE_ROWS: usize = 8;
const PAGE_BYTES: usize = 1 << 20;
/// For how long a command rests that was tried alone: by then a node that lives, and tried it, has said so.
const REST: Duration = Duration::from_secs(5);

/// Rows that were read in their order.
#[derive(Debug)]
pub(super) struct Page {
    /// The last of them; `None` where there are no more.
    last: Option<RowId>,
    /// All of them.
    found: BTreeSet<RowId>,
    findings: Findings,
}

impl Work {
    /// Puts what is to be put, of all partitions at once.
    pub(super) fn put(&mut self) {
        if self.putting || self.bounds.messages == 0 {
            return;
        }
        let now_micros = self.parts.clock.wall_micros();
        let (mut all, mut rows, mut ready) = (Vec::new(), Vec::new(), Vec::new());
        for (number, slot) in &mut self.slots {
            let Some((putting, some)) = slot.collect(&self.bounds, now_micros) else { continue };
            if some.is_empty() {
                slot.stored(putting);
                ready.push(*number);
            } else {
                all.push(putting);
                rows.extend(some);
            }
        }
        for partition in ready {
            self.dispatch(partition);
        }
        if all.is_empty() {
            return;
        }
        self.putting = true;
        // what is just being removed is put when that is over, or it would be gone with it
        let is_removed = |row: &InboxRow| {
            self.slots.get(&row.partition).is_some_and(|slot| slot.rows.removing.contains(&id_of(&row.key())))
        };
        if rows.iter().any(is_removed) {
            self.delayed = Some((all, rows));
            return;
        }
        self.put_now(all, rows);
    }

    fn put_now(&mut self, all: Vec<Putting>, rows: Vec<InboxRow>) {
        let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
        self.done.push(Box::pin(async move {
            until_done(&*store, &*clock, "put commands into the inbox", |letters| letters.put(rows.clone())).await;
            Done::Stored(all)
        }));
    }

    pub(super) fn stored(&mut self, all: Vec<Putting>) {
        self.putting = false;
        for putting in all {
            let partition = putting.partition;
            if let Some(slot) = self.slots.get_mut(&partition).filter(|slot| slot.assignment == putting.assignment) {
                slot.stored(putting);
                self.dispatch(partition);
            }
        }
    }

    /// Removes rows of which everything has its outcome.
    pub(super) fn remove(&mut self) {
        if self.removing {
            return;
        }
        let (mut keys, mut of) = (Vec::new(), Vec::new());
        for (number, slot) in &mut self.slots {
            if slot.rows.finished.is_empty() {
                continue;
            }
            let finished = std::mem::take(&mut slot.rows.finished);
            slot.rows.removing.extend(&finished);
            keys.extend(finished.into_iter().map(|id| key(&slot.partition, id)));
            slot.settling += 1;
            of.push((*number, slot.assignment));
        }
        if keys.is_empty() {
            return;
        }
        self.removing = true;
        let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
        self.done.push(Box::pin(async move {
            let what = "remove what is done from the inbox";
            until_done(&*store, &*clock, what, |letters| letters.finish(keys.clone())).await;
            Done::Removed(of)
        }));
    }

    pub(super) fn removed(&mut self, of: Vec<(u16, u64)>) {
        self.removing = false;
        for (partition, assignment) in of {
            if let Some(slot) = self.slots.get_mut(&partition).filter(|slot| slot.assignment == assignment) {
                slot.settling -= 1;
                slot.rows.removing.clear();
            }
        }
        if let Some((all, rows)) = self.delayed.take() {
            self.put_now(all, rows);
        }
    }

    /// Reads on in the inboxes of partitions with room, and looks after the aggregates that have something there.
    pub(super) fn read(&mut self) {
        let now = self.parts.clock.monotonic();
        let mut lanes = Vec::new();
        for (number, slot) in &mut self.slots {
            if slot.stage != Stage::Running {
                continue;
            }
            slot.make_way(&self.bounds);
            if slot.rows.cursor == Cursor::End && slot.rows.highest.is_some() && slot.next_look <= now {
                slot.next_look = now.saturating_add(LOOK);
                slot.rows.cursor = Cursor::Start;
            }
            lanes.extend(slot.spilled.iter().map(|lane| (*number, *lane)));
            let has_room = slot.has_room((self.bounds.unfinished / 2).max(1));
            if slot.rows.cursor == Cursor::End || !has_room {
                slot.looks = false;
            }
            if slot.rows.cursor == Cursor::End || slot.rows.reading || slot.rows.putting || !has_room {
                continue;
            }
            slot.rows.reading = true;
            let after = match slot.rows.cursor {
                Cursor::Behind(id) => Some(key(&slot.partition, id)),
                Cursor::Start | Cursor::End => None,
            };
            let question = Due {
                topic: Arc::clone(&slot.partition.topic),
                partitions: vec![*number],
                until_micros: i64::MAX,
                after,
                limit: PAGE_ROWS,
                bytes: PAGE_BYTES,
            };
            let (left, known) = slot.rows.names();
            let (partition, assignment) = (*number, slot.assignment);
            let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
            let max_tries = self.parts.options.max_tries;
            self.done.push(Box::pin(async move {
                let page = page((&*store, &*clock), question, (&left, &known), max_tries).await;
                if let Err(error) = &page {
                    tracing::warn!(%error, "can't read the inbox; trying again");
                    clock.sleep(TICK).await;
                }
                Done::Page { partition, assignment, page: Box::new(page) }
            }));
        }
        for (partition, lane) in lanes {
            self.refill(partition, lane);
        }
    }

    pub(super) fn page(&mut self, partition: u16, assignment: u64, page: Result<Page, StoreError>) {
        let Some(slot) = self.slots.get_mut(&partition).filter(|slot| slot.assignment == assignment) else { return };
        slot.rows.reading = false;
        let Ok(Page { last, found, findings }) = page else { return };
        if slot.stage != Stage::Running {
            return;
        }
        if slot.rows.forget_missing(last, &found) {
            return slot.look_again();
        }
        slot.rows.cursor = last.map_or(Cursor::End, Cursor::Behind);
        if slot.rows.cursor == Cursor::End {
            slot.rows.recount();
        }
        self.load(partition, findings, None);
        self.dispatch(partition);
    }

    /// Brings what is behind an aggregate's commands into memory, if there is room.
    pub(super) fn refill(&mut self, partition: u16, lane: u64) {
        let Some(slot) = self.slots.get_mut(&partition) else { return };
        let Some(id) = slot.refill(lane, &self.bounds) else { return self.dispatch(partition) };
        let fresh = slot.rows.get(id).is_some_and(|row| row.fresh);
        let question = Due {
            topic: Arc::clone(&slot.partition.topic),
            partitions: vec![partition],
            until_micros: i64::MAX,
            after: before(&slot.partition, id),
            limit: 1,
            bytes: PAGE_BYTES,
        };
        let assignment = slot.assignment;
        let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
        let max_tries = self.parts.options.max_tries;
        self.done.push(Box::pin(async move {
            let row = one((&*store, &*clock), question, id, fresh, max_tries).await;
            if let Err(error) = &row {
                tracing::warn!(%error, "can't read a row of the inbox; trying again");
                clock.sleep(TICK).await;
            }
            Done::Row { partition, assignment, lane, id, row: Box::new(row) }
        }));
    }

    pub(super) fn row(
        &mut self,
        (partition, assignment): (u16, u64),
        hash: u64,
        id: RowId,
        row: Result<Findings, StoreError>,
    ) {
        let Some(slot) = self.slots.get_mut(&partition).filter(|slot| slot.assignment == assignment) else { return };
        let lane = slot.lanes.of(hash);
        lane.reading = false;
        let Ok(findings) = row else { return };
        if matches!(slot.stage, Stage::Leaving { .. }) {
            return;
        }
        lane.stored.remove(&id);
        if findings.rows.is_empty() && findings.cut.is_empty() {
            slot.rows.gone(id);
            return slot.look_again();
        }
        self.load(partition, findings, Some(hash));
        self.refill(partition, hash);
    }

    /// Records of rows come into memory.
    fn load(&mut self, partition: u16, findings: Findings, of: Option<u64>) {
        if findings.rows.iter().any(|row| row.verdict == Verdict::DoAlone) {
            self.be_quiet();
        }
        let Some(slot) = self.slots.get_mut(&partition) else { return };
        let mut dead = Vec::new();
        let is_cut = !findings.cut.is_empty();
        for (id, facts) in findings.cut {
            slot.rows.cut(id, facts);
        }
        for Examined { id, facts, records, verdict } in findings.rows {
            if is_cut {
                slot.rows.add(id, facts, State::Held, false);
            } else {
                slot.rows.know(id, facts, State::Held);
            }
            if let Verdict::Hold(hash) = verdict {
                slot.lanes.of(hash).stored.insert(id);
                slot.spilled.insert(hash);
            }
            if matches!(verdict, Verdict::Leave | Verdict::Hold(_)) {
                continue;
            }
            slot.rows.read(id);
            let fresh = slot.rows.get(id).is_some_and(|row| row.fresh);
            for (offset, record) in records {
                if slot.given_up.contains(&offset) {
                    continue;
                }
                let Ok(Message::Call(call)) = Message::from_record(&record) else {
                    // what is no call is never put
                    tracing::error!(partition, offset, "a record of the inbox is no call; it is passed over");
                    continue;
                };
                let (before, record) = (!fresh || call.attempt > 0, Arc::new(record));
                let mut job = Box::new(slot.job(offset, identity(&call), call, record, Home::Row(id)));
                slot.rows.one_more(id);
                job.before = before;
                job.suspect = verdict == Verdict::DoAlone;
                match (verdict, of) {
                    (Verdict::GiveUp(tries), _) => {
                        slot.given_up.insert(offset);
                        dead.push((job, tries));
                    }
                    (_, None) => slot.admit(job, self.bounds.per_aggregate),
                    (_, Some(hash)) => {
                        slot.lanes.of(hash).admit(&mut job);
                        slot.backlog.push_back(job);
                    }
                }
            }
            slot.rows.settle(id);
        }
        for (job, tries) in dead {
            self.give_up(job, tries);
        }
    }

    /// Buries what ended the process again and again.
    fn give_up(&mut self, mut job: Box<Job>, tries: u32) {
        let text = format!(
            "the process ended {tries} times while it was at work, the last times while no other command of the inbox was; \
             see what ended the process, and replay it when that is mended"
        );
        job.epoch = self.epoch(job.partition);
        let dead = Dead { code: Code::ProcessEnded, reason: text.clone(), tries };
        self.settle(job, Err(Fault::new(Code::ProcessEnded, text).into()), Some(dead));
    }
}

impl Slot {
    /// A row is not there that should be. Perhaps a former owner, which did not know it yet, has put its records into
    /// others: these are found before anything behind it is done.
    fn look_again(&mut self) {
        self.rows.cursor = Cursor::Start;
        self.looks = true;
    }

    /// Brings what waits in memory behind an aggregate's commands to the front, or says which row is to be read.
    fn refill(&mut self, hash: u64, bounds: &Bounds) -> Option<RowId> {
        let has_room = self.has_room(bounds.unfinished);
        if !self.lanes.has(hash) {
            self.spilled.remove(&hash);
        }
        if self.stage != Stage::Running || !self.lanes.has(hash) {
            return None;
        }
        let lane = self.lanes.of(hash);
        if lane.reading {
            return None;
        }
        if lane.putting > 0 {
            // perhaps what is in front of the rows that are there
            return None;
        }
        let first = lane.stored.first().copied();
        while lane.front < bounds.per_aggregate
            && lane.tail.front().is_some_and(|job| first.is_none_or(|(first, _)| job.offset < first))
            && let Some(mut job) = lane.tail.pop_front()
        {
            lane.admit(&mut job);
            self.waiting = self.waiting.saturating_sub(1);
            self.backlog.push_back(job);
        }
        if let Some(first) = first {
            let is_next = lane.tail.front().is_none_or(|job| first.0 <= job.offset);
            let may = is_next && has_room && self.rows.was_passed(first);
            lane.reading = may && lane.front <= bounds.per_aggregate / 2;
            return lane.reading.then_some(first);
        }
        if lane.tail.is_empty() {
            self.spilled.remove(&hash);
            self.moving.remove(&hash);
            self.tidy(hash);
        }
        None
    }
}

/// Rows as they are once a node that tried one of them alone, and lives, has taken its try back. Those of `own` are this
/// node's.
async fn at_rest(
    (letters, clock): (&dyn Letters, &dyn Clock),
    question: Due,
    own: impl Fn(RowId) -> bool,
) -> Result<Vec<InboxRow>, StoreError> {
    let rows = letters.due(question.clone()).await?;
    if rows.iter().any(|row| row.tries > ALONE && !own(id_of(&row.key()))) {
        clock.sleep(REST).await;
        return letters.due(question).await;
    }
    Ok(rows)
}

/// Rows from the cursor on. `left` are those that this node has put and left there, `known` all others that it knows.
async fn page(
    (store, clock): (&dyn EventStore, &dyn Clock),
    question: Due,
    (left, known): (&BTreeSet<RowId>, &BTreeSet<RowId>),
    max_tries: u32,
) -> Result<Page, StoreError> {
    let Some(letters) = store.letters() else {
        return Ok(Page { last: None, found: BTreeSet::new(), findings: Findings::default() });
    };
    let rows = at_rest((letters, clock), question, |id| left.contains(&id) || known.contains(&id)).await?;
    let last = rows.last().map(|row| id_of(&row.key()));
    let found = rows.iter().map(|row| id_of(&row.key())).collect();
    let unknown = rows.into_iter().filter(|row| !known.contains(&id_of(&row.key())));
    let (mut held, mut rows) = (Vec::new(), Vec::new());
    for row in unknown {
        if let Some(stream) = &row.hold {
            let hash = identity_hash(&stream.aggregate, stream.id.as_str());
            let (id, facts) = (id_of(&row.key()), Facts::of(&row));
            held.push(Examined { id, facts, records: Vec::new(), verdict: Verdict::Hold(hash) });
        } else {
            rows.push(row);
        }
    }
    let mut findings = examine((store, clock), rows, |id| left.contains(&id), max_tries).await?;
    findings.rows.extend(held);
    // what comes first is done first, wherever it is
    findings.rows.sort_by_key(|row| row.id);
    Ok(Page { last, found, findings })
}

/// One row.
async fn one(
    (store, clock): (&dyn EventStore, &dyn Clock),
    question: Due,
    id: RowId,
    fresh: bool,
    max_tries: u32,
) -> Result<Findings, StoreError> {
    let Some(letters) = store.letters() else { return Ok(Findings::default()) };
    let mut rows = at_rest((letters, clock), question, |_| fresh).await?;
    rows.retain(|row| id_of(&row.key()) == id);
    examine((store, clock), rows, |_| fresh, max_tries).await
}
