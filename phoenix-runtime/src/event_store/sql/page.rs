//! Which rows of an answer there is room for: each is looked at when it comes, and dropped where there is none.

use std::collections::BTreeSet;

use sea_orm::sqlx;

use super::dialect::Part;
use super::row::{Cells, column};
use crate::event_store::port::{PAGE_BYTES, row_bytes};
use crate::event_store::rules::Room;

/// How many bytes of rows are dropped before it is cheaper to end the connection than to hear the rest.
const MOST_DROPPED: usize = 4 * PAGE_BYTES;

/// What an answer has taken, and what it had no room for.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    snapshots: Room,
    events: Room,
    dropped: usize,
    /// The question of the last event that was taken: those of one question come together.
    last: Option<i64>,
    /// Questions some of whose events were taken, and not all.
    cut: BTreeSet<i64>,
    left_out: BTreeSet<i64>,
}

impl Page {
    /// Whether there is room for a row of a page of records.
    pub(super) fn takes_record(&mut self, row: &impl Cells) -> Result<bool, sqlx::Error> {
        Ok(self.takes(Part::Event, 0, size(row)?))
    }

    /// Whether there is room for a row that was asked for by a question.
    pub(super) fn takes(&mut self, part: Part, question: i64, bytes: usize) -> bool {
        let takes = !self.left_out.contains(&question)
            && match part {
                Part::Snapshot => self.snapshots.takes(bytes),
                Part::Keys => true,
                Part::Event => self.events.takes(bytes),
            };
        if takes {
            if part == Part::Event {
                self.last = Some(question);
            }
            return true;
        }
        self.dropped += bytes;
        if part == Part::Event && self.last == Some(question) {
            self.cut.insert(question);
        } else {
            self.left_out.insert(question);
        }
        false
    }

    /// Says that a question was not asked any more.
    pub(super) fn leave_out(&mut self, question: i64) {
        self.left_out.insert(question);
    }

    /// Whether there is no room for another event.
    pub(super) const fn is_full(&self) -> bool {
        self.events.is_full()
    }

    /// Whether so much was dropped that the rest is not worth hearing.
    pub(super) const fn is_over(&self) -> bool {
        self.dropped > MOST_DROPPED
    }

    /// Whether events of a question are missing that has some.
    pub(super) fn is_cut(&self, question: i64) -> bool {
        self.cut.contains(&question) || (self.is_over() && self.last == Some(question))
    }

    /// Whether a question has no answer, where these are the events that were taken for it.
    pub(super) fn is_left_out(&self, question: i64, events: usize) -> bool {
        self.left_out.contains(&question) || (self.is_over() && events == 0)
    }
}

/// What a row of events, or of a load, counts.
pub(super) fn size(row: &impl Cells) -> Result<usize, sqlx::Error> {
    let bytes = |column| Ok::<_, sqlx::Error>(row.bytes(column)?.map_or(0, <[u8]>::len));
    Ok(row_bytes(bytes(column::PAYLOAD)?, bytes(column::OUTCOME_BODY)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: usize = PAGE_BYTES / 2;

    #[test]
    fn events_are_taken_until_they_fill_an_answer() {
        let mut page = Page::default();
        let taken: Vec<_> = [1, 1, 2, 2, 3].map(|question| page.takes(Part::Event, question, HALF - 1)).to_vec();
        assert_eq!(taken, [true, true, true, false, false], "the last one goes beyond");
        assert!(page.is_full() && !page.is_over());
        let told = [1, 2, 3, 4].map(|question| (page.is_cut(question), page.is_left_out(question, 0)));
        assert_eq!(told, [(false, false), (true, false), (false, true), (false, false)]);
    }

    #[test]
    fn snapshots_have_room_of_their_own() {
        let mut page = Page::default();
        let taken: Vec<_> = [1, 2, 3].map(|question| page.takes(Part::Snapshot, question, HALF)).to_vec();
        assert_eq!(taken, [true, true, false]);
        let taken: Vec<_> = [1, 2, 3].map(|question| page.takes(Part::Event, question, 10)).to_vec();
        assert_eq!(taken, [true, true, false], "events without their snapshot are of no use");
        assert!(page.is_left_out(3, 0) && !page.is_cut(3));
    }

    #[test]
    fn what_was_not_heard_is_left_out() {
        let mut page = Page::default();
        while !page.is_over() {
            page.takes(Part::Event, 1, HALF);
        }
        assert!(page.is_cut(1) && page.is_left_out(2, 0) && !page.is_left_out(1, 2));
    }
}
