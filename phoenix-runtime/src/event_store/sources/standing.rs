//! Whether an answer counts that a database gave of a slice.
//!
//! It counts if the database held the slice when it answered. Asking afterwards is enough: what a database is to a slice
//! carries the number of a move and never comes again, and the map names a move only when it has come to its end.

use std::collections::BTreeSet;

use crate::domain::id::{SLICES, Slice};
use crate::event_store::port::{Lane, StoreError};
use crate::event_store::sources::map::SliceMap;
use crate::event_store::sources::members::Members;
use crate::event_store::sources::port::{Hold, Tenure};

/// A slice as the map in memory has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    /// Which of the databases; `None` for one that this process was not told of.
    pub(super) lane: Option<Lane>,
    /// The move that brought it there.
    pub(super) since: u64,
    /// The move that is about to take it away.
    pub(super) moving: Option<u64>,
}

/// The map in memory.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) version: u64,
    of: Vec<Seat>,
}

impl Seats {
    pub(super) fn new(version: u64, map: &SliceMap, members: &Members) -> Self {
        let seat = |slice| {
            let (name, since) = map.place(Slice(slice));
            let lane = members.named(name).map(|(index, _)| Lane(index));
            Seat { lane, since, moving: map.moving.get(&slice).map(|moving| moving.number) }
        };
        Self { version, of: (0..SLICES).map(seat).collect() }
    }

    pub(super) fn of(&self, slice: Slice) -> Seat {
        // a slice that does not exist is refused at home
        self.of.get(usize::from(slice.0)).copied().unwrap_or(Seat { lane: Some(Lane(0)), since: 0, moving: None })
    }

    pub(super) fn in_lane(&self, lane: Lane) -> Vec<Slice> {
        (0..SLICES).map(Slice).filter(|slice| self.of(*slice).lane == Some(lane)).collect()
    }
}

/// Slices of which an answer of one database does not simply count.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Nobody has them now, and this database had them last: its answer is whole and can't change before somebody has
    /// them again. Good enough for whoever only reads; an owner would decide what nobody takes.
    pub(super) frozen: BTreeSet<Slice>,
    /// Somebody else has them.
    pub(super) gone: BTreeSet<Slice>,
}

impl Seat {
    fn is_held(self, tenure: Tenure) -> bool {
        // with the number of the open move if that was called off, and the map does not say so yet
        tenure.appends() && (tenure.since == self.since || Some(tenure.since) == self.moving)
    }

    fn is_frozen(self, tenure: Tenure) -> bool {
        tenure.hold == Hold::Away && self.moving == Some(tenure.since)
    }
}

/// Finds the doubts about an answer that a database has just given of these slices.
///
/// # Errors
/// What the database or the home says when it is asked what it holds. One that says nothing may have been emptied before
/// it went: where the map names another one for any of the slices, all of them are gone, to be asked for again.
pub(super) async fn doubts(
    members: &Members,
    lane: Lane,
    slices: impl IntoIterator<Item = Slice>,
    seats: &Seats,
    reread: impl AsyncFnOnce() -> Result<std::sync::Arc<Seats>, StoreError>,
) -> Result<Doubts, StoreError> {
    let Some(member) = members.all().get(usize::from(lane.0)) else { return Ok(Doubts::default()) };
    let tenures = match member.tenures().await {
        Ok(tenures) => tenures,
        Err(error) => {
            let slices: BTreeSet<Slice> = slices.into_iter().collect();
            // what the home says is no news if it does not answer either
            let now = reread().await.map_err(|_| error.clone())?;
            if slices.iter().all(|slice| now.of(*slice).lane == Some(lane)) {
                return Err(error);
            }
            return Ok(Doubts { gone: slices, ..Doubts::default() });
        }
    };
    let doubtful: Vec<Slice> = slices.into_iter().filter(|s| !seats.of(*s).is_held(tenures.of(*s))).collect();
    let mut doubts = Doubts::default();
    if doubtful.is_empty() {
        return Ok(doubts);
    }
    // only the map as it is after the answer tells whether the move was still open then
    let now = reread().await?;
    for slice in doubtful {
        let (seat, tenure) = (now.of(slice), tenures.of(slice));
        if seat.lane != Some(lane) || !(seat.is_held(tenure) || seat.is_frozen(tenure)) {
            doubts.gone.insert(slice);
        } else if seat.is_frozen(tenure) {
            doubts.frozen.insert(slice);
        }
    }
    Ok(doubts)
}
