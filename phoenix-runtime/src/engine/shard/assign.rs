//! Partitions that come to this shard and leave it, and messages for those that are not here.
//!
//! A cell belongs to one assignment of its slice. When the partition leaves, what was taken of it is finished first: cells
//! go one by one as they become idle. When it is lost, or the bound has passed, they go at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::error::{Code, Fault};
use crate::domain::id::Slice;
use crate::engine::batch::{Sealed, Waiter};
use crate::engine::cell::{Busy, CellRef, Task};
use crate::engine::forward::ready;
use crate::engine::journal::persist;
use crate::engine::mailbox::{Body, Mail};
use crate::engine::ownership::{Control, Taken};
use crate::engine::shard::{Shard, outcome_unknown};
use crate::event_store::port::{Batch, Epoch, Partition};

/// Partitions that are leaving together.
pub(super) struct Departure {
    partitions: BTreeSet<Partition>,
    /// What is left of them.
    cells: Vec<CellRef>,
    done: oneshot::Sender<()>,
}

/// What becomes of those whose append is under way when a partition is let go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// They are told when the store answers.
    Wait,
    /// They are told now that nobody knows.
    Unknown,
}

impl Shard {
    /// Does what the engine says. Says whether it said anything.
    pub(super) fn poll_control(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let mut progress = false;
        while let Poll::Ready(Some(control)) = self.control.poll_recv(cx) {
            progress = true;
            match control {
                Control::Take(taken, done) => {
                    self.take_partitions(&taken);
                    // whoever asked may be gone
                    let _ = done.send(());
                }
                Control::Leave(partitions, done) => self.leave(&partitions, done),
                Control::Abandon(partitions, done) => {
                    self.abandon(&partitions, Sent::Unknown);
                    self.poll_departures();
                    let _ = done.send(());
                }
            }
        }
        progress
    }

    fn take_partitions(&mut self, taken: &Taken) {
        let partitions: BTreeSet<Partition> = taken.epochs.iter().map(|(partition, _)| *partition).collect();
        // cells of an earlier assignment, which somebody else may have owned since
        self.abandon(&partitions, Sent::Wait);
        for departure in &mut self.departures {
            departure.partitions.retain(|partition| !partitions.contains(partition));
        }
        for (slice, last) in &taken.last {
            self.sequences.set(*slice, *last);
            self.lanes.forget_doubts(*slice);
            if !self.lanes.is_open(*slice) {
                self.lanes.relocate(*slice, self.store.lane(*slice));
            }
        }
        for (partition, epoch) in &taken.epochs {
            self.holdings.hold(*partition, *epoch);
        }
    }

    fn leave(&mut self, partitions: &BTreeSet<Partition>, done: oneshot::Sender<()>) {
        let left: Vec<bool> = partitions.iter().map(|partition| self.holdings.leave(*partition)).collect();
        if left.contains(&true) {
            for lane in self.lanes.all() {
                let holdings = &self.holdings;
                let put_off = self.lanes.take_put_off(lane, |slice| partitions.contains(&holdings.of(slice)));
                for mail in put_off {
                    self.refuse(mail);
                }
            }
        }
        let cells = if left.contains(&true) { self.cells_of(partitions) } else { Vec::new() };
        self.departures.push(Departure { partitions: partitions.clone(), cells, done });
        self.poll_departures();
    }

    fn cells_of(&mut self, partitions: &BTreeSet<Partition>) -> Vec<CellRef> {
        let all = self.cells.all();
        let of = |cell: &CellRef| {
            self.cells.get_mut(*cell).is_some_and(|found| partitions.contains(&self.holdings.of(found.slice())))
        };
        all.into_iter().filter(of).collect()
    }

    /// An aggregate comes into memory while its partition is leaving: a handler waits for it.
    pub(super) fn note_departing(&mut self, cell: CellRef, slice: Slice) {
        let partition = self.holdings.of(slice);
        if let Some(departure) = self.departures.iter_mut().find(|d| d.partitions.contains(&partition)) {
            departure.cells.push(cell);
        }
    }

    /// Forgets cells of leaving partitions that have nothing to do any more. Says whether a partition has left.
    pub(super) fn poll_departures(&mut self) -> bool {
        if self.departures.is_empty() {
            return false;
        }
        let mut progress = false;
        for mut departure in std::mem::take(&mut self.departures) {
            for cell in std::mem::take(&mut departure.cells) {
                match self.cells.get_mut(cell).map(|found| found.is_idle()) {
                    Some(true) => self.forget(cell),
                    Some(false) => departure.cells.push(cell),
                    // it is gone already
                    None => {}
                }
            }
            if departure.cells.is_empty() && !self.has_waiters(&departure.partitions) {
                self.let_go(&departure.partitions);
                // whoever asked may be gone
                let _ = departure.done.send(());
                progress = true;
            } else {
                self.departures.push(departure);
            }
        }
        progress
    }

    /// Whether anybody of these partitions waits for a batch.
    fn has_waiters(&mut self, partitions: &BTreeSet<Partition>) -> bool {
        let holdings = &self.holdings;
        let concerns = |waiter: &Waiter| partitions.contains(&holdings.of(waiter.mail.slice()));
        self.lanes.all().any(|lane| {
            let work = self.lanes.work(lane);
            let in_flight = work.in_flight.iter().flat_map(|(sealed, _)| &sealed.waiters);
            work.open.waiters.iter().chain(in_flight).any(concerns)
        })
    }

    fn let_go(&mut self, partitions: &BTreeSet<Partition>) {
        for partition in partitions {
            self.holdings.let_go(*partition);
        }
        let (kinds, holdings, before) = (&self.kinds, &self.holdings, self.parked.len());
        self.parked.retain(|(kind, id), _| {
            let slice = kinds.get(usize::from(*kind)).map(|kind| Slice::of(kind.name(), id.as_str()));
            slice.is_none_or(|slice| !partitions.contains(&holdings.of(slice)))
        });
        let gone = before - self.parked.len();
        self.health.parked.fetch_sub(gone, std::sync::atomic::Ordering::Relaxed);
    }

    /// Forgets everything of these partitions at once. Nothing was done of what is not sent.
    fn abandon(&mut self, partitions: &BTreeSet<Partition>, sent: Sent) {
        if partitions.iter().all(|partition| self.holdings.epoch(*partition).is_none()) {
            return;
        }
        let cells = self.cells_of(partitions);
        let (mut open, mut put_off, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for lane in self.lanes.all() {
            let count = self.holdings.count();
            let concerns = |slice: Slice| partitions.contains(&Partition::of(slice, count));
            open.extend(self.withdraw(lane, |_, slice| concerns(slice)).into_iter().map(|(_, mail)| mail));
            put_off.extend(self.lanes.take_put_off(lane, concerns));
            if let (Sent::Unknown, Some((sealed, _))) = (sent, &mut self.lanes.work(lane).in_flight) {
                let (gone, kept) = sealed.waiters.drain(..).partition(|waiter| concerns(waiter.mail.slice()));
                sealed.waiters = kept;
                let gone: Vec<Waiter> = gone;
                unknown.extend(gone.into_iter().map(|waiter| waiter.mail));
            }
        }
        let gone: BTreeSet<CellRef> = cells.iter().copied().collect();
        self.lanes.forget_questions(|cell| gone.contains(&cell));
        // of a partition that is leaving newer ones have gone on already, and they would come behind these
        let leaving: BTreeSet<Partition> =
            partitions.iter().filter(|partition| !self.holdings.is_held(**partition)).copied().collect();
        self.let_go(partitions);
        for mail in unknown {
            mail.fail(outcome_unknown());
        }
        let mut refused = open;
        for cell in cells {
            let busy = self.cells.get_mut(cell).and_then(|found| found.busy.take());
            self.forget(cell);
            let Some(Busy { with, queue }) = busy.map(|busy| *busy) else { continue };
            if let Task::Question(mail) | Task::Asking(mail) | Task::Start(mail) | Task::Working(mail) = with {
                refused.push(mail);
            }
            for mut mail in queue {
                self.lanes.let_go(&mut mail);
                refused.push(mail);
            }
        }
        for mut mail in refused.into_iter().chain(put_off) {
            mail.goes_on &= !leaving.contains(&self.holdings.of(mail.slice()));
            self.refuse(mail);
        }
    }

    /// The store says that a partition has another owner than this shard under this epoch: everything of it here is told
    /// and forgotten, the batch that was refused with it. Gives back the other waiters.
    pub(super) fn lose_partition(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        waiters: Vec<Waiter>,
        uncertain: bool,
    ) -> Vec<Waiter> {
        let (gone, rest): (Vec<_>, Vec<_>) =
            waiters.into_iter().partition(|waiter| self.holdings.of(waiter.mail.slice()) == partition);
        let is_current = self.holdings.epoch(partition) == Some(epoch);
        let keeps_order = is_current && self.holdings.is_held(partition);
        for Waiter { mut mail, .. } in gone {
            mail.goes_on &= keeps_order;
            if uncertain { mail.fail(outcome_unknown()) } else { self.refuse(mail) }
        }
        // a batch of an earlier assignment says nothing about this one
        if is_current {
            if self.holdings.is_held(partition) {
                tracing::error!(partition = partition.0, epoch = epoch.0, "a partition has another owner now");
                self.standing.lost(partition, epoch);
            }
            self.abandon(&BTreeSet::from([partition]), Sent::Wait);
        }
        rest
    }

    /// A message for an aggregate that this node does not own, of which nothing was done: it goes to its owner, if there is
    /// a way.
    pub(super) fn refuse(&mut self, mail: Mail) {
        if let Body::Command(command) = &mail.body
            && command.perhaps_stored
        {
            return mail.fail(outcome_unknown());
        }
        let partition = self.holdings.of(mail.slice());
        let kind = self.kinds.get(usize::from(mail.kind)).map(|kind| kind.name());
        match (&self.forward, kind) {
            (Some(forward), Some(aggregate)) if mail.goes_on => {
                if let Some(message) = ready(mail.open(), aggregate, partition, self.now) {
                    forward.forward(message);
                }
            }
            _ => mail.fail(not_owned()),
        }
    }

    /// Asks now and then, in lanes where nothing else does, whether the partitions are still owned: a node that nobody
    /// calls must not be ready for ever when another one has taken over.
    pub(super) fn poll_owner(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if self.draining {
            return false;
        }
        // never without a pause, whatever the options say
        let (clock, pause) = (&self.clock, self.options.idle_check.max(Duration::from_millis(1)));
        let timer = self.owner_timer.get_or_insert_with(|| clock.sleep(pause));
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.owner_timer = None;
        let epochs = self.holdings.epochs();
        for lane in self.lanes.all() {
            let work = self.lanes.work(lane);
            let busy = std::mem::take(&mut work.has_sent) || work.in_flight.is_some() || !work.open.is_empty();
            if busy || epochs.is_empty() {
                continue;
            }
            let batch = Arc::new(Batch { epochs: epochs.clone(), records: Vec::new() });
            let sealed = Sealed { batch: Arc::clone(&batch), waiters: Vec::new(), snapshots: Vec::new() };
            let (store, backoff, health) = (Arc::clone(&self.store), self.backoff(), Arc::clone(&self.health));
            let asked = Box::pin(async move { persist(store, lane, batch, backoff, &health).await });
            self.lanes.work(lane).in_flight = Some((sealed, asked));
        }
        true
    }
}

pub(super) fn not_owned() -> Fault {
    Fault::new(
        Code::OwnershipLost,
        "this node does not own the aggregate now, and nothing was done; send the command to its owner, with the same \
         idempotency key",
    )
}
