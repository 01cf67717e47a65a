//! The outcome of a batch: tell, or undo.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::domain::error::{Code, Fault, QueryError};
use crate::domain::id::{AggregateId, Slice};
use crate::domain::pending::{Pending, Told};
use crate::engine::batch::{Sealed, Waiter, Waiting};
use crate::engine::cell::{Busy, CellRef, Task};
use crate::engine::journal::Failed;
use crate::engine::mailbox::{Body, Mail, Repeat};
use crate::engine::shard::keep::Keeping;
use crate::engine::shard::{Done, SUSPICION, Shard};
use crate::event_store::port::{Conflict, ConflictKind, Epoch, Lane, StoreError};

/// Tells a caller; a reply that panics while it is handed over harms nobody else.
pub(super) fn tell(pending: Box<dyn Pending>, told: Told<'_>) {
    if catch_unwind(AssertUnwindSafe(|| pending.tell(told))).is_err() {
        tracing::error!("handing over an answer panicked");
    }
}

/// Whether the rows of an attempt may still be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// They are stored by now or never: their epochs are old.
    Never,
    Perhaps,
}

impl Shard {
    pub(super) fn settle(&mut self, lane: Lane, sealed: Sealed, outcome: Result<(), Failed>) {
        let Err(Failed { error, uncertain }) = outcome else {
            return self.committed(lane, sealed);
        };
        self.meters.batches_failed.increment(1);
        self.sequences.take_back(&sealed.batch, &self.holdings);
        match error {
            StoreError::Fenced { partition, given, .. } => {
                let waiters = self.lose_partition(partition, given, sealed.waiters, uncertain);
                if uncertain {
                    // the batch named the lost partition, so it is stored by now or never: what became of the others is known
                    self.look_up(lane, Sealed { waiters, ..sealed }, &BTreeSet::new(), Arrival::Never);
                } else {
                    self.undo(lane, waiters);
                }
            }
            StoreError::Moved(slices) => {
                tracing::info!(slices = slices.len(), first = ?slices.first(), "slices have moved; deciding anew");
                let moved: BTreeSet<Slice> = slices.into_iter().collect();
                // before anything of them is decided anew
                for slice in moved.iter().filter(|slice| self.store.lane(**slice) == lane) {
                    self.lanes.went_away(*slice);
                }
                if uncertain {
                    self.look_up(lane, sealed, &moved, Arrival::Perhaps);
                } else {
                    self.undo_with(lane, sealed.waiters, None, &moved);
                }
            }
            StoreError::Conflict(conflicts) => {
                tracing::info!(conflicts = conflicts.len(), first = ?conflicts.first(), "a batch is in conflict; deciding anew");
                if conflicts.iter().any(|c| c.kind == ConflictKind::Key) {
                    self.suspect(SUSPICION);
                }
                let mut misnumbered = conflicts.iter().filter(|c| c.kind == ConflictKind::Sequence).peekable();
                if misnumbered.peek().is_some() {
                    let slice = |c: &Conflict| sealed.batch.records.get(c.index).map(|record| record.slice);
                    if misnumbered.all(|c| slice(c).is_some_and(|slice| self.lanes.is_doubtful(slice))) {
                        // rows that were sent before a slice moved have arrived after all
                        return self.look_up(lane, sealed, &BTreeSet::new(), Arrival::Perhaps);
                    }
                    // somebody else has written to a slice of ours, and the fence did not say so
                    tracing::error!("the sequence of a slice is not where its owner left it");
                    let mut waiters = sealed.waiters;
                    for (partition, epoch) in &sealed.batch.epochs {
                        waiters = self.lose_partition(*partition, *epoch, waiters, false);
                    }
                    return;
                }
                let mut waiters = sealed.waiters;
                for waiter in &mut waiters {
                    let known = |c: &Conflict| c.kind == ConflictKind::Key && c.index == waiter.first_record;
                    if let (true, Body::Command(command)) = (conflicts.iter().any(known), &mut waiter.mail.body) {
                        // also one without a key: its id was sent twice
                        command.repeat = Repeat::Likely;
                    }
                }
                self.undo(lane, waiters);
            }
            StoreError::Refused { index, reason } => {
                let mut waiters = sealed.waiters;
                // who wrote it may have been told already, when its partition was let go
                let slice = sealed.batch.records.get(index).map(|record| record.slice);
                let culprit = waiters
                    .iter()
                    .rposition(|w| w.first_record <= index && matches!(w.mail.body, Body::Command(_)))
                    .filter(|place| waiters.get(*place).map(|waiter| waiter.mail.slice()) == slice);
                if let Some(culprit) = culprit {
                    let waiter = waiters.remove(culprit);
                    let refused = Some((waiter, Fault::new(Code::TooLarge, reason)));
                    self.undo_with(lane, waiters, refused, &BTreeSet::new());
                } else {
                    self.undo(lane, waiters);
                }
            }
            other => {
                tracing::error!(error = %other, "a batch can't be appended");
                self.health.damaged.store(true, Ordering::Relaxed);
                let fault = Fault::new(Code::StoreFailed, other.to_string());
                let cells: HashSet<CellRef> = sealed.waiters.iter().map(|w| w.cell).collect();
                let mut mails: Vec<Mail> = sealed.waiters.into_iter().map(|w| w.mail).collect();
                mails.extend(self.withdraw(lane, |cell, _| cells.contains(&cell)).into_iter().map(|(_, mail)| mail));
                for cell in cells {
                    self.expel(cell, &fault);
                }
                for mail in mails {
                    mail.fail(fault.clone());
                }
            }
        }
    }

    fn committed(&mut self, lane: Lane, sealed: Sealed) {
        let (mut replied, mut rejected, mut not_found) = (0_u64, 0_u64, 0_u64);
        let Sealed { batch, mut waiters, snapshots } = sealed;
        let mut asked = Vec::new();
        for Waiter { cell, mail, version, told, .. } in waiters.drain(..) {
            let mail = mail.open();
            match (mail.body, told) {
                (Body::Command(command), Waiting::NotFound) => {
                    not_found += 1;
                    tell(command.pending, Told::NotFound);
                }
                (Body::Command(command), told) => {
                    *(if told == Waiting::Rejected { &mut rejected } else { &mut replied }) += 1;
                    tell(command.pending, Told::Decided { version });
                }
                (Body::Snapshot(told), Waiting::Absent) => {
                    // whoever asked may be gone
                    let _ = told.send(Err(QueryError::NotFound));
                }
                (Body::Snapshot(told), _) => asked.push((mail.kind, mail.id, version, told)),
                (Body::Query(query), Waiting::Absent) => query.tell(Err(QueryError::NotFound)),
                (Body::Query(query), _) => {
                    if catch_unwind(AssertUnwindSafe(|| query.tell(Ok(version)))).is_err() {
                        tracing::error!("handing over an answer panicked");
                    }
                }
            }
            self.unpin(cell);
        }
        self.meters.replied.increment(replied);
        self.meters.rejected.increment(rejected);
        self.meters.not_found.increment(not_found);
        self.lanes.settle_doubts(&batch.records);
        self.lanes.work(lane).open.recycle(batch, waiters);
        for snapshot in snapshots {
            let Some(index) = self.kinds.iter().position(|kind| kind.name() == &*snapshot.stream.aggregate) else {
                continue;
            };
            let options = self.kinds[index].options();
            let asks = |(kind, id, version, _): &(u16, AggregateId, u64, _)| {
                usize::from(*kind) == index && *id == snapshot.stream.id && *version == snapshot.version
            };
            let told = asked.iter().position(asks).map(|place| asked.swap_remove(place).3);
            let kept = options.snapshots_kept.max(1) as usize;
            self.keep(lane, Keeping { snapshot, kept, archive: options.archive, told });
        }
    }

    /// One waiter less rests on this cell.
    fn unpin(&mut self, cell: CellRef) {
        let Some(found) = self.cells.get_mut(cell) else { return };
        found.pins = found.pins.saturating_sub(1);
        if found.pins == 0 {
            if found.busy.is_some() {
                self.advance(cell);
            } else {
                self.drop_if_nothing(cell);
            }
        }
    }

    fn undo(&mut self, lane: Lane, waiters: Vec<Waiter>) {
        self.undo_with(lane, waiters, None, &BTreeSet::new());
    }

    /// A batch failed: the cells that it touched, and everything that was decided on them since, are brought back from
    /// the store, and their messages are done anew in their first order, before anything newer. Who is `refused`
    /// is told instead. Nothing of `moved` slices stays open in this lane, and they go on in the lane of the store's word.
    fn undo_with(
        &mut self,
        lane: Lane,
        waiters: Vec<Waiter>,
        refused: Option<(Waiter, Fault)>,
        moved: &BTreeSet<Slice>,
    ) {
        let mut order = Vec::new();
        let mut again: HashMap<CellRef, Vec<Mail>> = HashMap::new();
        if let Some((waiter, fault)) = refused {
            order.push(waiter.cell);
            again.insert(waiter.cell, Vec::new());
            self.release(waiter.cell);
            waiter.mail.fail(fault);
        }
        for waiter in waiters {
            let mails = again.entry(waiter.cell).or_insert_with(|| {
                order.push(waiter.cell);
                Vec::new()
            });
            mails.push(waiter.mail);
            self.release(waiter.cell);
        }
        for (cell, mail) in self.withdraw(lane, |cell, slice| again.contains_key(&cell) || moved.contains(&slice)) {
            let mails = again.entry(cell).or_insert_with(|| {
                order.push(cell);
                Vec::new()
            });
            mails.push(mail);
        }
        for slice in moved {
            self.lanes.relocate(*slice, self.store.lane(*slice));
        }
        if !moved.is_empty() {
            self.want_anew(lane);
        }
        for cell in order {
            let mails = again.remove(&cell).unwrap_or_default();
            self.bring_back(cell, mails);
        }
        // newer than all of these
        for mail in self.lanes.take_put_off(lane, |slice| moved.contains(&slice)) {
            self.deliver(mail);
        }
    }

    /// An attempt of unknown outcome may have stored the batch. If slices of it are in another lane now, its rows may have
    /// moved with them, and may even arrive later, should a slice come back. So numbers are read again, and each command is
    /// looked up.
    fn look_up(&mut self, lane: Lane, sealed: Sealed, moved: &BTreeSet<Slice>, arrival: Arrival) {
        let Sealed { batch, mut waiters, .. } = sealed;
        for waiter in &mut waiters {
            waiter.mail.deadline = None;
            if let Body::Command(command) = &mut waiter.mail.body {
                command.repeat = Repeat::Likely;
                command.perhaps_stored = true;
            }
        }
        self.undo_with(lane, waiters, None, moved);
        let touched: BTreeSet<Slice> = batch.records.iter().map(|record| record.slice).collect();
        if arrival == Arrival::Perhaps {
            self.lanes.doubt(touched.iter().copied());
        }
        let mut by_lane = BTreeMap::<Lane, Vec<Slice>>::new();
        for slice in touched {
            by_lane.entry(self.lanes.of(slice)).or_default().push(slice);
        }
        for (lane, slices) in by_lane {
            self.start_reread(lane, slices);
        }
    }

    /// Reads the numbers of slices again; until they are known the lane sends nothing.
    fn start_reread(&mut self, lane: Lane, slices: Vec<Slice>) {
        self.lanes.work(lane).rereads += 1;
        let (store, mut backoff) = (Arc::clone(&self.store), self.backoff());
        let epochs = slices.iter().map(|slice| (*slice, self.holdings.epoch(self.holdings.of(*slice)))).collect();
        self.tasks.push(Box::pin(async move {
            loop {
                match store.last_sequences(slices.clone()).await {
                    Ok(last) => return Done::Reread(lane, epochs, last),
                    Err(error) => tracing::warn!(%error, "can't read the numbers of slices that moved; trying again"),
                }
                backoff.wait().await;
            }
        }));
    }

    /// Numbers that were asked for under an earlier assignment are older than those that came with this one.
    pub(super) fn reread(&mut self, lane: Lane, epochs: &BTreeMap<Slice, Option<Epoch>>, last: BTreeMap<Slice, u64>) {
        let work = self.lanes.work(lane);
        work.rereads = work.rereads.saturating_sub(1);
        for (slice, last) in last {
            if epochs.get(&slice) == Some(&self.holdings.epoch(self.holdings.of(slice))) {
                self.sequences.set(slice, last);
            }
        }
    }

    /// A slice that was away could be read: its aggregates decide again, where the store says that it is now.
    pub(super) fn came_back(&mut self, slice: Slice) {
        if !self.lanes.came_back(slice) {
            return;
        }
        let (before, now) = (self.lanes.of(slice), self.store.lane(slice));
        // numbers that are read again in its old lane are set before anything may be appended: its next batch goes there,
        // and is told where it is
        if before == now || self.lanes.is_open(slice) || self.lanes.work(before).rereads > 0 {
            return;
        }
        self.lanes.relocate(slice, now);
        self.want_anew(before);
        for mail in self.lanes.take_put_off(before, |of| of == slice) {
            self.deliver(mail);
        }
    }

    fn release(&mut self, cell: CellRef) {
        if let Some(found) = self.cells.get_mut(cell) {
            found.pins = found.pins.saturating_sub(1);
        }
    }

    /// Takes what concerns some cells out of the open batch of a lane.
    pub(super) fn withdraw(&mut self, lane: Lane, concerns: impl Fn(CellRef, Slice) -> bool) -> Vec<(CellRef, Mail)> {
        let mut taken = Vec::new();
        let work = self.lanes.work(lane);
        let open = std::mem::take(&mut work.open);
        let mut records = open.records.into_iter().map(Some).collect::<Vec<_>>();
        let ends: Vec<usize> = open.waiters.iter().skip(1).map(|w| w.first_record).chain([records.len()]).collect();
        let mut gone = Vec::new();
        for (waiter, end) in open.waiters.into_iter().zip(ends) {
            let range = waiter.first_record..end;
            if concerns(waiter.cell, waiter.mail.slice()) {
                if let Some(found) = self.cells.get_mut(waiter.cell) {
                    found.pins = found.pins.saturating_sub(1);
                    gone.push((found.kind, found.id.clone()));
                }
                taken.push((waiter.cell, waiter.mail));
            } else {
                let first_record = work.open.records.len();
                for record in records[range].iter_mut().filter_map(Option::take) {
                    work.open.push(record);
                }
                work.open.waiters.push(Waiter { first_record, ..waiter });
            }
        }
        let kept = open.snapshots.into_iter().filter(|s| {
            !gone.iter().any(|(kind, id)| {
                *id == s.stream.id && self.kinds.get(*kind as usize).is_some_and(|k| *k.name() == *s.stream.aggregate)
            })
        });
        kept.for_each(|snapshot| work.open.push_snapshot(snapshot));
        taken
    }

    fn bring_back(&mut self, cell: CellRef, mails: Vec<Mail>) {
        let Some(found) = self.cells.get_mut(cell) else {
            for mut mail in mails {
                // its assignment has ended, and newer ones may have gone on already
                mail.goes_on = false;
                self.refuse(mail);
            }
            return;
        };
        let slice = found.slice();
        let mut queue: std::collections::VecDeque<Mail> = mails.into();
        for mail in &mut queue {
            if let Body::Command(command) = &mut mail.body
                && matches!(command.repeat, Repeat::Possible | Repeat::Absent)
            {
                // it may be the very repeat that the batch failed for: ask about all of them, at once
                command.repeat = Repeat::Likely;
            }
        }
        let mut held = queue.len();
        let activating = match found.busy.take() {
            Some(busy) => {
                let Busy { with, queue: behind } = *busy;
                let activating = matches!(with, Task::Activation);
                if let Task::Question(mail) | Task::Asking(mail) | Task::Start(mail) | Task::Working(mail) = with {
                    held += 1;
                    queue.push_back(mail);
                }
                queue.extend(behind);
                activating
            }
            None => false,
        };
        found.state = None;
        found.busy = Some(Box::new(Busy { with: Task::Activation, queue }));
        self.lanes.hold(slice, held);
        self.lanes.forget_questions(|asked| asked == cell);
        if !activating {
            self.start_activation(cell);
        }
    }
}
