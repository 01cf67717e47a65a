//! Moves the index from memory into runs, and keeps these few.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use super::checkpoint;
use super::index::Frozen;
use super::run::{self, Entry, Run};
use super::shared::Shared;

/// How many runs of one size are merged into one.
const TOGETHER: usize = 4;

/// Writes what is frozen.
pub(super) fn flush(shared: &Shared, frozen: &Arc<Frozen>) -> io::Result<()> {
    let entries = frozen.memory.sorted();
    let run = write(shared, entries.len() as u64, entries.into_iter().map(Ok))?;
    install(shared, Some(frozen), |runs| runs.insert(0, run))
}

/// Merges runs as long as there are enough of one size.
pub(super) fn merge(shared: &Shared) -> io::Result<()> {
    loop {
        let (runs, unit) = {
            let index = shared.index();
            (Arc::clone(&index.runs), index.room())
        };
        let Some(old) = mergeable(&runs, unit).and_then(|at| runs.get(at..at + TOGETHER)) else { return Ok(()) };
        let merged = write(shared, old.iter().map(|run| run.entries).sum(), run::merged(old))?;
        install(shared, None, |runs| {
            // newer ones may stand before them by now
            let place = runs.iter().position(|run| old.first().is_some_and(|first| first.number == run.number));
            if let Some(at) = place {
                runs.splice(at..at + TOGETHER, [merged]);
            }
        })?;
        for run in old {
            shared.files.remove(&run::name(run.number))?;
        }
    }
}

/// Writes a run, or leaves nothing of it.
fn write(shared: &Shared, most: u64, sorted: impl Iterator<Item = io::Result<Entry>>) -> io::Result<Arc<Run>> {
    let number = shared.next_run();
    let written = run::write(&*shared.files, number, most, sorted);
    if written.is_err() {
        // otherwise the next start removes it
        let _ = shared.files.remove(&run::name(number));
    }
    written.map(Arc::new)
}

/// Makes a checkpoint of the runs as they are with a change, and lets everybody use them.
fn install(shared: &Shared, frozen: Option<&Arc<Frozen>>, change: impl FnOnce(&mut Vec<Arc<Run>>)) -> io::Result<()> {
    // one after the other: somebody may flush while runs are merged
    let mut saved = shared.saved();
    let mut runs = shared.index().runs.to_vec();
    change(&mut runs);
    shared.files.sync()?;
    checkpoint::write(&*shared.files, shared.seed, frozen.map_or(&*saved, |frozen| &frozen.state), &runs)?;
    let mut index = shared.index_mut();
    index.runs = Arc::new(runs);
    if let Some(frozen) = frozen {
        saved.clone_from(&frozen.state);
        index.frozen.take_if(|other| Arc::ptr_eq(other, frozen));
    }
    Ok(())
}

/// The thread that merges, so that nobody who flushes waits for it.
pub(super) struct Merging {
    wanted: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Merging {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let (wanted, wishes) = channel();
        let shared = Arc::clone(shared);
        let merge = move || {
            while wishes.recv().is_ok() {
                if let Err(error) = merge(&shared) {
                    tracing::warn!(%error, "the index of the log stays in more files than it should");
                }
            }
        };
        // without a thread the next start merges
        let thread = std::thread::Builder::new().name("phoenix-merge".to_owned()).spawn(merge).ok();
        Self { wanted, thread }
    }

    /// To be told whenever there may be something to merge.
    pub(super) fn wanted(&self) -> Sender<()> {
        self.wanted.clone()
    }

    /// Waits for what was wanted.
    pub(super) fn end(self) {
        drop(self.wanted);
        let _ = self.thread.map(JoinHandle::join);
    }
}

/// Where runs of one size begin that are enough for a larger one.
fn mergeable(runs: &[Arc<Run>], unit: usize) -> Option<usize> {
    let size = |run: &Arc<Run>| (run.entries / (unit as u64).max(1)).max(1).ilog(TOGETHER as u64);
    let same = |some: &[Arc<Run>]| some.windows(2).all(|pair| matches!(pair, [a, b] if size(a) == size(b)));
    runs.windows(TOGETHER).position(same)
}
