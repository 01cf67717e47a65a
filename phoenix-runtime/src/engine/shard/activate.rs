//! Aggregates on their way into memory.
//!
//! Those that come up in a turn, and while the loads in flight are as many as may be, are asked for together; one alone
//! goes at once. Their events are applied in small pieces, one aggregate after the other, between everything else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::activation::{
    Granted, MOST_TOGETHER, Page, Progress, Replay, Wish, load, panic_text, read_ahead, read_on,
};
use crate::engine::cell::{CellRef, Task};
use crate::engine::journal::Backoff;
use crate::engine::shard::{Done, Place, Shard, drop_user};
use crate::event_store::port::{Lane, PAGE_BYTES, StreamId};

/// How many loads of many aggregates are in flight at a time, for each lane.
const LOADS: usize = 4;

/// Of how many streams the next page is read while one is applied. Where more come up they keep the store busy anyway.
const AHEAD: usize = 4;

/// How many streams are read on at a time.
const READS: usize = 16;

/// The most bytes of events that wait to be applied before more are asked for.
const MOST_HELD: usize = 8 * PAGE_BYTES;

/// How much is replayed in a turn, in events.
const TURN: usize = 256;

/// How much is replayed of one aggregate before it is the next one's turn.
const PIECE: usize = 64;

impl Shard {
    pub(super) fn start_activation(&mut self, cell: CellRef) {
        let Some(found) = self.cells.get_mut(cell) else { return };
        drop_user(found.state.take());
        self.lanes.work(self.lanes.of(found.slice())).wanted.push(cell);
    }

    /// Asks for the aggregates of a lane that are wanted.
    pub(super) fn start_loads(&mut self, lane: Lane) -> bool {
        if (self.lanes.work(lane).wanted.is_empty() && self.lanes.work(lane).loaded_again.is_empty())
            || !self.has_room()
        {
            return false;
        }
        let mut progress = false;
        while self.lanes.work(lane).loads < LOADS && !self.lanes.work(lane).wanted.is_empty() {
            let wanted = &mut self.lanes.work(lane).wanted;
            let now: Vec<CellRef> = wanted.drain(..wanted.len().min(MOST_TOGETHER)).collect();
            let wishes: Vec<Wish> = now.into_iter().filter_map(|cell| self.wish(cell)).collect();
            if !wishes.is_empty() {
                self.lanes.work(lane).loads += 1;
                self.load(Place::First(lane), wishes, self.backoff());
            }
            progress = true;
        }
        while let Some((wishes, backoff)) = self.lanes.work(lane).loaded_again.next() {
            self.load(Place::Again(lane), wishes, backoff);
            progress = true;
        }
        progress
    }

    /// Whether what waits to be applied is little enough to ask for more.
    fn has_room(&self) -> bool {
        self.replays.iter().map(|replay| replay.held()).sum::<usize>() < MOST_HELD
    }

    fn wish(&mut self, cell: CellRef) -> Option<Wish> {
        // it may be gone since it was wanted
        let found = self.cells.get_mut(cell)?;
        let kind = Arc::clone(self.kinds.get(found.kind as usize)?);
        let stream = StreamId { aggregate: self.names.get(kind.name()), id: found.id.clone() };
        Some(Wish::new(cell, kind, stream))
    }

    fn load(&mut self, place: Place, wishes: Vec<Wish>, backoff: Backoff) {
        let (store, page) = (Arc::clone(&self.store), self.options.replay_page);
        self.tasks.push(Box::pin(async move { Done::Loaded(place, load(store, wishes, page).await, backoff) }));
    }

    /// Puts wishes again that were not granted together.
    pub(super) fn load_again(&mut self, mut wishes: Vec<Wish>, backoff: &Backoff) {
        wishes.retain(|wish| self.cells.get_mut(wish.cell).is_some());
        let first = wishes.first().and_then(|wish| self.cells.get_mut(wish.cell));
        let Some(lane) = first.map(|found| self.lanes.of(found.slice())) else { return };
        self.lanes.work(lane).loaded_again.put(wishes, backoff);
    }

    pub(super) fn granted(&mut self, place: Place, granted: Granted, mut backoff: Backoff) {
        match place {
            Place::First(lane) => {
                let work = self.lanes.work(lane);
                work.loads = work.loads.saturating_sub(1);
            }
            Place::Again(lane) => self.lanes.work(lane).loaded_again.ended(),
        }
        match granted {
            Granted::All(found) => {
                // their answer would have been too large with them
                let (left_out, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, found)| found.is_left_out());
                if !left_out.is_empty() {
                    self.load_again(left_out.into_iter().map(|(wish, _)| wish).collect(), &self.backoff());
                }
                for (wish, found) in found {
                    // it begins with what users write, as the whole of it
                    match catch_unwind(AssertUnwindSafe(|| Replay::new(wish.clone(), found))) {
                        Ok(mut replay) => {
                            self.read_ahead(&mut replay);
                            self.replays.push_back(Box::new(replay));
                        }
                        Err(panic) => self.park(wish.cell, &format!("it panicked: {}", panic_text(&*panic))),
                    }
                }
            }
            Granted::Failed(wishes) => self.load_again(wishes, &backoff),
            // it may take long: others have its place meanwhile
            Granted::Unanswered(wishes) => self.tasks.push(Box::pin(async move {
                backoff.wait().await;
                Done::LoadAgain(wishes, backoff)
            })),
            Granted::Refused(wish, reason) => self.park(wish.cell, &reason),
        }
    }

    /// Asks for the next page of a stream while this one is applied.
    fn read_ahead(&mut self, replay: &mut Replay) {
        if self.reads_ahead >= AHEAD {
            return;
        }
        let Some(from) = replay.next_page() else { return };
        self.reads_ahead += 1;
        let (wanted, page) = oneshot::channel();
        let (store, stream, backoff) = (Arc::clone(&self.store), replay.stream().clone(), self.backoff());
        let reading = read_on(store, stream, from, self.options.replay_page.max(1), backoff);
        replay.expect(page);
        self.tasks.push(Box::pin(async move {
            read_ahead(reading, wanted).await;
            Done::ReadAhead
        }));
    }

    pub(super) fn read_on(&mut self, mut replay: Box<Replay>, events: Page) {
        self.reads = self.reads.saturating_sub(1);
        match events {
            Ok(events) => {
                replay.go_on(events, self.options.replay_page.max(1));
                self.read_ahead(&mut replay);
                self.replays.push_back(replay);
            }
            Err(reason) => self.park(replay.cell(), &reason),
        }
    }

    /// Goes on with what is replayed, for as long as a turn may take. Says whether anything came of it.
    pub(super) fn replay(&mut self) -> bool {
        let mut left = TURN;
        let mut progress = false;
        while left > 0 {
            let Some(mut replay) = self.replays.pop_front() else { break };
            let cell = replay.cell();
            if self.cells.get_mut(cell).is_none() {
                drop_user(replay);
                continue;
            }
            let piece = left.min(PIECE);
            let mut budget = piece;
            let step = catch_unwind(AssertUnwindSafe(|| replay.step(&mut budget)));
            // also an aggregate without events is work
            left = left.saturating_sub((piece - budget).max(1));
            progress |= !matches!(step, Ok(Progress::Working));
            match step {
                Ok(Progress::Working) => self.replays.push_back(replay),
                Ok(Progress::Done) => self.activated(cell, replay.finish()),
                Ok(Progress::Anew) => self.load_again(vec![replay.anew()], &self.backoff()),
                Ok(Progress::Failed(reason)) => self.park(cell, &reason),
                Ok(Progress::ReadOn(from)) => self.reads_waiting.push_back((from, replay)),
                Err(panic) => {
                    let reason = format!("it panicked: {}", panic_text(&*panic));
                    self.park(cell, &reason);
                }
            }
        }
        self.start_reads() || progress
    }

    /// Reads on in streams whose page was applied.
    fn start_reads(&mut self) -> bool {
        let mut progress = false;
        while self.reads < READS && !self.reads_waiting.is_empty() && self.has_room() {
            let Some((from, mut replay)) = self.reads_waiting.pop_front() else { break };
            self.reads += 1;
            let (store, page, backoff) = (Arc::clone(&self.store), self.options.replay_page.max(1), self.backoff());
            self.tasks.push(Box::pin(async move {
                let events = match replay.take_ahead() {
                    Some(ahead) => ahead.await.ok(),
                    None => None,
                };
                let events = match events {
                    Some(events) => events,
                    None => read_on(store, replay.stream().clone(), from, page, backoff).await,
                };
                Done::ReadOn(replay, events)
            }));
            progress = true;
        }
        progress
    }

    /// Aggregates that are wanted in a lane that their slice has left.
    pub(super) fn want_anew(&mut self, lane: Lane) {
        for cell in std::mem::take(&mut self.lanes.work(lane).wanted) {
            let Some(found) = self.cells.get_mut(cell) else { continue };
            if found.busy.as_ref().is_some_and(|busy| matches!(busy.with, Task::Activation)) {
                self.lanes.work(self.lanes.of(found.slice())).wanted.push(cell);
            }
        }
    }
}
