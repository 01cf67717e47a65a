//! Moves the index from memory into runs, and keeps these few.

use std::io;
use std::sync::Arc;

use super::checkpoint;
use super::index::Frozen;
use super::run::{self, Run};
use super::shared::Shared;

/// How many runs of one size are merged into one.
const TOGETHER: usize = 4;

/// Writes what is frozen, and merges runs as long as there are enough of one size.
pub(super) fn flush(shared: &Shared, frozen: &Arc<Frozen>) -> io::Result<()> {
    let entries = frozen.memory.sorted();
    let unit = shared.index().room();
    let mut runs = shared.index().runs.to_vec();
    let run = run::write(&*shared.files, next(&runs), entries.len() as u64, entries.into_iter().map(Ok))?;
    runs.insert(0, Arc::new(run));
    install(shared, frozen, &runs)?;
    while let Some(at) = mergeable(&runs, unit) {
        let Some(old) = runs.get(at..at + TOGETHER).map(<[_]>::to_vec) else { break };
        let most = old.iter().map(|run| run.entries).sum();
        let merged = run::write(&*shared.files, next(&runs), most, run::merged(&old))?;
        runs.splice(at..at + TOGETHER, [Arc::new(merged)]);
        install(shared, frozen, &runs)?;
        for run in old {
            shared.files.remove(&run::name(run.number))?;
        }
    }
    Ok(())
}

fn next(runs: &[Arc<Run>]) -> u64 {
    runs.iter().map(|run| run.number).max().unwrap_or(0) + 1
}

/// Makes a checkpoint of these runs, and lets everybody use them.
fn install(shared: &Shared, frozen: &Arc<Frozen>, runs: &[Arc<Run>]) -> io::Result<()> {
    shared.files.sync()?;
    checkpoint::write(&*shared.files, shared.seed, &frozen.state, runs)?;
    let mut index = shared.index_mut();
    index.runs = Arc::new(runs.to_vec());
    // another one may be frozen while runs are merged
    index.frozen.take_if(|other| Arc::ptr_eq(other, frozen));
    Ok(())
}

/// Where runs of one size begin that are enough for a larger one.
fn mergeable(runs: &[Arc<Run>], unit: usize) -> Option<usize> {
    let size = |run: &Arc<Run>| (run.entries / (unit as u64).max(1)).max(1).ilog(TOGETHER as u64);
    let same = |some: &[Arc<Run>]| some.windows(2).all(|pair| matches!(pair, [a, b] if size(a) == size(b)));
    runs.windows(TOGETHER).position(same)
}
