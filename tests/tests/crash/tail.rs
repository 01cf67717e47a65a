//! A reader of all events that follows the store all the time: over kills, changes of owner and lost connections.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use phoenix_runtime::domain::id::Slice;
use phoenix_runtime::event_store::StoreError;
use phoenix_runtime::event_store::port::Position;
use phoenix_runtime::node::NodeConfig;

use crate::ledger::{Mark, open, wait};
use crate::lot::Lot;

/// How long it rests when there is nothing new, or the store does not answer.
const REST: Duration = Duration::from_millis(2);

/// A reader at work.
pub(crate) struct Tail {
    stop: Sender<()>,
    thread: JoinHandle<Seen>,
}

struct Seen {
    marks: Vec<Mark>,
    pages: u64,
    failures: u64,
}

/// Where what was followed is not what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Astray {
    slice: Slice,
    /// The first difference: what was followed, and what is stored there.
    followed: Option<Mark>,
    stored: Option<Mark>,
}

impl Tail {
    /// Follows from the start; the store is open when this returns.
    pub(crate) fn follow(config: NodeConfig, seed: u64) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (opened, is_open) = mpsc::channel();
        let lot = Lot::new(seed, &[3]);
        let thread = thread::spawn(move || {
            wait(follow(&config, lot, &opened, move || match stopped.recv_timeout(REST) {
                Err(RecvTimeoutError::Timeout) => false,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            }))
        });
        // an error says that the thread has ended, which is told when it is joined
        let _ = is_open.recv();
        Self { stop, thread }
    }

    /// Goes on to the end, when nothing is appended any more, and compares with what is stored.
    pub(crate) fn end(self, stored: &[Mark]) -> Vec<Astray> {
        drop(self.stop);
        let Seen { marks, pages, failures } = self.thread.join().expect("a reader that does not panic");
        println!("followed {} events on {pages} pages, {failures} of which could not be read at once", marks.len());
        compare(&marks, stored)
    }
}

/// Small pages, so that the position is kept at every odd place. After the word to stop, an empty page is the end.
async fn follow(config: &NodeConfig, mut lot: Lot, opened: &Sender<()>, stops: impl Fn() -> bool) -> Seen {
    let store = open(config).await;
    // whoever waits for it lives
    let _ = opened.send(());
    let mut seen = Seen { marks: Vec::new(), pages: 0, failures: 0 };
    let (mut position, mut last) = (Position::default(), false);
    loop {
        let limit = 1 + usize::try_from(lot.below(100)).expect("it is small");
        seen.pages += 1;
        match store.read_all(position.clone(), limit).await {
            Ok((events, behind)) => {
                assert!(events.len() <= limit, "{} events on a page of {limit}", events.len());
                seen.marks.extend(events.iter().map(Mark::of));
                position = behind;
                if events.is_empty() {
                    if last {
                        return seen;
                    }
                    last = stops();
                }
            }
            Err(StoreError::Unavailable(_)) => {
                seen.failures += 1;
                last = stops();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Where two readings differ, in each slice.
pub(crate) fn compare(followed: &[Mark], stored: &[Mark]) -> Vec<Astray> {
    let (followed, stored) = (by_slice(followed), by_slice(stored));
    let slices: std::collections::BTreeSet<Slice> = followed.keys().chain(stored.keys()).copied().collect();
    let mut astray = Vec::new();
    for slice in slices {
        let of = |all: &BTreeMap<Slice, Vec<Mark>>| all.get(&slice).cloned().unwrap_or_default();
        let (followed, stored) = (of(&followed), of(&stored));
        let differs = (0..followed.len().max(stored.len())).find(|index| followed.get(*index) != stored.get(*index));
        if let Some(index) = differs {
            let (followed, stored) = (followed.get(index).cloned(), stored.get(index).cloned());
            astray.push(Astray { slice, followed, stored });
        }
    }
    astray
}

fn by_slice(marks: &[Mark]) -> BTreeMap<Slice, Vec<Mark>> {
    let mut slices: BTreeMap<Slice, Vec<Mark>> = BTreeMap::new();
    for mark in marks {
        slices.entry(mark.slice).or_default().push(mark.clone());
    }
    slices
}

#[cfg(test)]
pub(crate) mod tests {
    use libtest_mimic::Trial;

    use super::*;

    fn mark(slice: u16, sequence: u64) -> Mark {
        Mark { slice: Slice(slice), sequence, stream: "a".to_owned(), version: sequence }
    }

    #[track_caller]
    fn check(followed: &[(u16, u64)], expected: &[(u16, Option<u64>, Option<u64>)]) {
        let stored = [mark(1, 1), mark(1, 2), mark(1, 3), mark(2, 1)];
        let followed: Vec<_> = followed.iter().map(|(slice, sequence)| mark(*slice, *sequence)).collect();
        let of = |slice: u16, sequence: &Option<u64>| sequence.map(|sequence| mark(slice, sequence));
        let expected: Vec<_> = expected
            .iter()
            .map(|(slice, followed, stored)| Astray {
                slice: Slice(*slice),
                followed: of(*slice, followed),
                stored: of(*slice, stored),
            })
            .collect();
        assert_eq!(compare(&followed, &stored), expected);
    }

    fn what_is_skipped_doubled_or_out_of_order_is_found() {
        check(&[(1, 1), (2, 1), (1, 2), (1, 3)], &[]);
        check(&[(1, 1), (2, 1), (1, 3)], &[(1, Some(3), Some(2))]);
        check(&[(1, 1), (2, 1), (1, 2)], &[(1, None, Some(3))]);
        check(&[(1, 1), (1, 2), (1, 2), (1, 3), (2, 1)], &[(1, Some(2), Some(3))]);
        check(&[(1, 1), (1, 3), (1, 2), (2, 1)], &[(1, Some(3), Some(2))]);
        check(&[(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)], &[(3, Some(1), None)]);
    }

    pub(crate) fn trials() -> Vec<Trial> {
        crate::trials![what_is_skipped_doubled_or_out_of_order_is_found]
    }
}
