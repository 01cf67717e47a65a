//! The log store, and what its disk can do without Phoenix: the bytes that the log has, written and synced in portions
//! of the same size.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phoenix_bench::{Latencies, Seen};
use phoenix_runtime::domain::ports::BoxFuture;
use phoenix_runtime::event_store::EventStore;
use rustix::fs::{FallocateFlags, fallocate};

use super::named::open;
use super::{Bare, BenchError, Kind, Loop, Place, Subject};
use crate::bench::whole::cpu_micros;

/// How much room is reserved at once, as the log does.
const RESERVED: u64 = 64 << 20;

/// Folders in a folder of their own.
pub(super) struct Log {
    folder: PathBuf,
}

impl Log {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, place: Place) -> PathBuf {
        self.folder.join(place.name())
    }
}

impl Subject for Log {
    fn kind(&self) -> Kind {
        Kind::Log
    }

    fn open(&self, place: Place) -> BoxFuture<'_, Result<Arc<dyn EventStore>, BenchError>> {
        Box::pin(async move { open(&format!("log:{}", self.path(place).display())).await })
    }

    fn remove(&self, place: Place) -> BoxFuture<'_, Result<(), BenchError>> {
        let path = self.path(place);
        // what was never made need not be removed
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(path.with_extension("lock"));
        Box::pin(std::future::ready(Ok(())))
    }

    fn bare(&self, how: Loop) -> BoxFuture<'_, Result<Option<Bare>, BenchError>> {
        let (log, copy) = (self.path(Place::Fresh), self.folder.join("bare"));
        Box::pin(async move {
            let measured = tokio::task::spawn_blocking(move || {
                let measured = contents(&log).and_then(|bytes| write(&copy, &bytes, how));
                let _ = fs::remove_file(&copy);
                measured
            });
            let (seen, cpu_micros) = measured.await?.map_err(|e| BenchError::Bare(e.to_string()))?;
            let what =
                if how.alone { "bare write + fdatasync" } else { "bare write + fdatasync, batches of that size" };
            Ok(Some(Bare { what: what.to_owned(), seen, cpu_micros }))
        })
    }
}

/// Everything that is in the segments of a log.
fn contents(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut segments: Vec<_> = fs::read_dir(log)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    let mut all = Vec::new();
    for segment in segments {
        all.append(&mut fs::read(segment)?);
        // room that was reserved and not used
        let used = all.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        all.truncate(used);
    }
    Ok(all)
}

/// Writes bytes again, those of so many rows at once, each time durable before the next.
fn write(path: &Path, bytes: &[u8], how: Loop) -> std::io::Result<(Seen, Option<f64>)> {
    let portion = (bytes.len() / how.rows.max(1) * how.batch).max(1);
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    let (mut latencies, mut reserved, mut written) = (Latencies::default(), 0, 0);
    let (cpu_before, mut spent) = (cpu_micros(), Duration::ZERO);
    for portion in bytes.chunks_exact(portion) {
        let end = written + portion.len() as u64;
        if end > reserved {
            reserved = end + RESERVED;
            // a file system that reserves nothing is slower, and that is what is measured then
            let _ = fallocate(&file, FallocateFlags::empty(), 0, reserved);
            file.sync_all()?;
        }
        let since = Instant::now();
        file.write_all_at(portion, written)?;
        file.sync_data()?;
        latencies.add(since.elapsed());
        spent += since.elapsed();
        written = end;
        if spent > how.at_most {
            break;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 rows")]
    let rows = (latencies.len() * how.batch) as f64;
    let cpu = cpu_micros().zip(cpu_before).map(|(after, before)| (after - before) / rows);
    Ok((Seen { per_second: rows / spent.as_secs_f64(), latencies }, cpu))
}
