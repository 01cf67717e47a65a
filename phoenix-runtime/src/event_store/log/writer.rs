//! The one thread that writes: it stages all jobs that wait, and makes them durable with one write and one sync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::address::Address;
use super::compaction::Work;
use super::error::failed;
use super::files::LogFile;
use super::flush::{Merging, flush};
use super::frame::LARGEST;
use super::options::{LARGEST_SEGMENT, LogStoreOptions};
use super::recover::publish_end;
use super::segment::FIRST;
use super::shared::Shared;
use super::stage::{self, Refusal, Stage};
use crate::event_store::port::{Batch, Epoch, Partition, Snapshot, StoreError, StoredEvent, StreamId};
use crate::event_store::rules;

/// Where the answer to a job goes. Who does not wait any more is not told.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Something to write.
pub(super) enum Job {
    Append(Arc<Batch>, Reply<()>),
    /// How many there are, or shall be.
    Partitions(u16, Reply<u16>),
    Acquire(Vec<Partition>, Reply<Vec<(Partition, Epoch)>>),
    Snapshot(Box<Snapshot>, Reply<()>),
    DropSnapshots(StreamId, u64, Reply<u64>),
    Strip(StreamId, u64, BTreeMap<u32, u64>, Reply<u64>),
    Refill(Vec<StoredEvent>, Reply<()>),
}

impl Job {
    fn records(&self) -> usize {
        match self {
            Self::Append(batch, _) => batch.records.len(),
            Self::Refill(events, _) => events.len(),
            _ => 1,
        }
    }
}

/// An answer that is told once everything before it is durable.
enum Answer {
    Done(Reply<()>),
    Count(Reply<u64>, u64),
    Partitions(Reply<u16>, u16),
    Acquired(Reply<Vec<(Partition, Epoch)>>, Vec<(Partition, Epoch)>),
}

impl Answer {
    fn tell(self, result: Result<(), StoreError>) {
        match self {
            Self::Done(reply) => drop(reply.send(result)),
            Self::Count(reply, count) => drop(reply.send(result.map(|()| count))),
            Self::Partitions(reply, count) => drop(reply.send(result.map(|()| count))),
            Self::Acquired(reply, epochs) => drop(reply.send(result.map(|()| epochs))),
        }
    }
}

type Made = Result<Arc<dyn LogFile>, StoreError>;

pub(super) struct Writer {
    shared: Arc<Shared>,
    stage: Stage,
    /// The segment that is written to, and how much of it is reserved.
    file: Arc<dyn LogFile>,
    reserved: u64,
    /// Where a file has the end of the log, for those who read it from another process.
    end: Arc<dyn LogFile>,
    waiting: Vec<Answer>,
    segment_size: u64,
    records_a_commit: usize,
    /// The next segment, which is made in advance.
    next: Option<JoinHandle<Made>>,
    /// Says whether the index was saved.
    flushing: Option<JoinHandle<bool>>,
    /// At how many times its size the index in memory is saved.
    full_at: usize,
    merging: Merging,
    /// Who writes segments anew, and whether there is anything new to see.
    compaction: Option<Sender<Work>>,
    look: bool,
}

impl Writer {
    /// Goes on at the end of an open log.
    pub(super) fn new(
        shared: Arc<Shared>,
        options: &LogStoreOptions,
        end: Arc<dyn LogFile>,
        compaction: Sender<Work>,
    ) -> Result<Self, StoreError> {
        let stage = Stage::new(&shared, options.streams_in_memory);
        let segment = stage.draft.start().segment();
        let file = shared.segments.writable(segment)?;
        let length = file.length().map_err(|e| failed(&shared.segments.path_of(segment), "read its length", &e))?;
        // a file may be longer than addresses reach
        let reserved = length.min(LARGEST_SEGMENT as u64);
        let mut writer = Self {
            merging: Merging::start(&shared),
            shared,
            stage,
            file,
            reserved,
            end,
            waiting: Vec::new(),
            segment_size: options.segment_bytes(),
            records_a_commit: options.records_a_commit.max(1),
            next: None,
            flushing: None,
            full_at: 1,
            compaction: (options.compact_above <= 100).then_some(compaction),
            // what was freed before a start
            look: true,
        };
        writer.prepare_next();
        Ok(writer)
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let commit_records = metrics::histogram!("phoenix_commit_records");
        let mut next = None;
        while let Some(first) = next.take().or_else(|| jobs.recv().ok()) {
            let mut records = first.records();
            self.take(first);
            while let Ok(job) = jobs.try_recv() {
                if records + job.records() > self.records_a_commit {
                    next = Some(job);
                    break;
                }
                records += job.records();
                self.take(job);
            }
            self.commit();
            commit_records.record(u32::try_from(records).unwrap_or(u32::MAX));
            self.stage.streams.age();
            self.keep_index_small();
            self.let_look();
        }
        self.close();
    }

    /// Stages a job, or answers it.
    fn take(&mut self, job: Job) {
        if let Err(error) = self.shared.check() {
            return refuse(job, error);
        }
        match job {
            Job::Append(batch, reply) => self.append(&batch, reply),
            Job::Partitions(wanted, reply) => match self.room_for(64).and_then(|()| self.stage.partitions(wanted)) {
                Err(error) => drop(reply.send(Err(error))),
                Ok(count) => self.waiting.push(Answer::Partitions(reply, count)),
            },
            Job::Acquire(partitions, reply) => {
                let once = rules::acquired(&partitions);
                let once = match once.and_then(|once| self.room_for(64 + 16 * once.len()).map(|()| once)) {
                    Err(error) => return drop(reply.send(Err(error))),
                    Ok(once) => once,
                };
                self.stage.acquire(&once);
                let epochs = partitions.into_iter().map(|partition| (partition, self.stage.epoch(partition)));
                self.waiting.push(Answer::Acquired(reply, epochs.collect()));
            }
            Job::Snapshot(snapshot, reply) => {
                let bound = 4096 + snapshot.payload.len();
                let staged = self.room_for(bound).and_then(|()| self.stage.put_snapshot(&self.shared, &snapshot));
                if let Err(error) = staged {
                    return drop(reply.send(Err(error)));
                }
                self.look = true;
                self.waiting.push(Answer::Done(reply));
            }
            Job::DropSnapshots(stream, below, reply) => {
                match self.room_for(4096).and_then(|()| self.stage.drop_snapshots(&self.shared, &stream, below)) {
                    Err(error) => drop(reply.send(Err(error))),
                    Ok(count) => {
                        self.look = true;
                        self.waiting.push(Answer::Count(reply, count));
                    }
                }
            }
            Job::Strip(stream, up_to, freed, reply) => {
                // what was staged can't be read, so it is made durable first
                self.commit();
                let bound = 4096 + 16 * freed.len();
                let staged = self.room_for(bound);
                match staged.and_then(|()| self.stage.strip(&self.shared, &stream, up_to, &freed)) {
                    Err(error) => drop(reply.send(Err(error))),
                    Ok(count) => {
                        self.look = true;
                        self.waiting.push(Answer::Count(reply, count));
                    }
                }
            }
            Job::Refill(events, reply) => {
                self.commit();
                match self.refill(&events) {
                    Err(error) => drop(reply.send(Err(error))),
                    Ok(()) => self.waiting.push(Answer::Done(reply)),
                }
            }
        }
    }

    fn refill(&mut self, events: &[StoredEvent]) -> Result<(), StoreError> {
        let wanted = stage::to_refill(&self.shared, events)?;
        let bound = wanted.iter().map(|stored| stage::bound(&(*stored).into())).sum();
        self.room_for(bound)?;
        self.stage.refill(self.shared.seed, &wanted);
        Ok(())
    }

    fn append(&mut self, batch: &Batch, reply: Reply<()>) {
        let checked = rules::fence(&batch.epochs, |partition| Ok(self.stage.epoch(partition)))
            .and_then(|()| rules::well_formed(batch));
        if let Err(error) = checked {
            return drop(reply.send(Err(error)));
        }
        if batch.records.is_empty() {
            return drop(reply.send(Ok(())));
        }
        let bounds = batch.records.iter().map(|record| stage::bound(&record.into()));
        let bytes = bounds.clone().sum();
        if bytes > LARGEST {
            let index = bounds.enumerate().max_by_key(|(_, bound)| *bound).map_or(0, |(index, _)| index);
            return drop(reply.send(Err(too_large(index))));
        }
        let staged =
            self.room_for(bytes).map_err(Refusal::Failed).and_then(|()| self.stage.append(&self.shared, batch));
        match staged {
            Ok(()) => self.waiting.push(Answer::Done(reply)),
            Err(refusal) => {
                // What is remembered of this batch's streams is wrong now. Once everything before it is durable, they
                // can be read again.
                self.commit();
                self.stage.forget(&self.shared, batch);
                let error = match refusal {
                    Refusal::Failed(error) => error,
                    Refusal::Conflict => match self.shared.check() {
                        Ok(()) => stage::conflicts(&self.shared, batch),
                        Err(error) => error,
                    },
                };
                drop(reply.send(Err(error)));
            }
        }
    }

    /// Makes what was staged durable, and tells everybody.
    fn commit(&mut self) {
        let draft = &self.stage.draft;
        let checked = self.shared.check();
        // what failed once is never written again: whoever waits for it was told that its outcome is unknown
        let result = if checked.is_err() || draft.bytes().is_empty() {
            checked
        } else {
            let (start, end) = (draft.start(), draft.end());
            let written = self.file.write_at(draft.bytes(), start.offset()).and_then(|()| self.file.sync());
            match written {
                Ok(()) => {
                    self.stage.committed(&self.shared);
                    // it helps readers of other processes, and costs them nothing but time where it is late
                    let _ = publish_end(&*self.end, end);
                    Ok(())
                }
                Err(error) => Err(self.fail(&error)),
            }
        };
        for answer in self.waiting.drain(..) {
            answer.tell(result.clone());
        }
    }

    /// After a failed write or sync nobody knows what the disk has, whatever a later sync says.
    fn fail(&mut self, error: &std::io::Error) -> StoreError {
        let path = self.shared.segments.path_of(self.stage.draft.start().segment());
        let path = path.display();
        self.shared.break_for(StoreError::Unavailable(format!(
            "`{path}`: a write to the log has failed ({error}), so nothing more is written or read; check the disk's \
             health, then restart the service, which finds out what the disk has"
        )));
        tracing::error!(%error, file = %path, "a write to the log has failed; the store refuses everything from now on");
        StoreError::Unknown(format!("`{path}`: failed to write or sync: {error}; check the disk's health and restart"))
    }

    /// Makes sure that so many bytes fit behind what is staged. If there is no room, nothing has changed.
    fn room_for(&mut self, bytes: usize) -> Result<(), StoreError> {
        if bytes > LARGEST {
            return Err(too_large(0));
        }
        let needed = |at: Address| at.offset() + (bytes + super::frame::HEADER + 8) as u64;
        if needed(self.stage.draft.end()) <= self.reserved {
            return Ok(());
        }
        self.commit();
        self.shared.check()?;
        let end = self.stage.draft.end();
        if end.offset() == u64::from(FIRST) {
            // an empty segment is never left behind: a start would take it for the end
            return self.reserve(needed(end));
        }
        let number = end.segment() + 1;
        let prepared = self.next.take().and_then(|thread| thread.join().ok());
        let file = match prepared {
            Some(Ok(file)) => file,
            // there was no room for it then, perhaps there is now
            _ => self.shared.segments.make(self.shared.seed, number, self.segment_size)?,
        };
        // what was reserved of the old one and not used goes back to the disk; if not, it does no harm
        let _ = self.file.cut(end.offset());
        self.file = file;
        self.reserved = self.segment_size;
        self.look = true;
        self.stage.draft.restart(Address::new(number, FIRST));
        self.prepare_next();
        let needed = needed(self.stage.draft.end());
        if needed > self.reserved { self.reserve(needed) } else { Ok(()) }
    }

    /// Makes the segment that is written to so large.
    fn reserve(&mut self, size: u64) -> Result<(), StoreError> {
        let reserved = self.file.reserve(size).and_then(|()| self.file.sync());
        let path = self.shared.segments.path_of(self.stage.draft.start().segment());
        reserved.map_err(|e| failed(&path, format_args!("reserve {size} bytes"), &e))?;
        self.reserved = size;
        Ok(())
    }

    fn prepare_next(&mut self) {
        let (shared, size) = (Arc::clone(&self.shared), self.segment_size);
        let number = self.stage.draft.start().segment() + 1;
        let make = move || shared.segments.make(shared.seed, number, size);
        // without a thread it is made when it is needed
        self.next = std::thread::Builder::new().name("phoenix-segment".to_owned()).spawn(make).ok();
    }

    /// Moves the newest part of the index into a file, once it is as large as it should be.
    fn keep_index_small(&mut self) {
        if !self.shared.index().is_full(self.full_at) {
            return;
        }
        if let Some(thread) = self.flushing.take() {
            if !thread.is_finished() && !self.shared.index().is_full(self.full_at + 1) {
                self.flushing = Some(thread);
                return;
            }
            // at twice the size it is waited for; what could not be written stays in memory, and is tried again when as
            // much has come again, not after each commit
            self.full_at = if thread.join().unwrap_or(false) { 1 } else { self.full_at + 1 };
            if !self.shared.index().is_full(self.full_at) {
                return;
            }
        }
        let frozen = self.shared.index_mut().freeze();
        let (shared, merging) = (Arc::clone(&self.shared), self.merging.wanted());
        let write = move || {
            if let Some(Err(error)) = frozen.map(|frozen| flush(&shared, &frozen)) {
                tracing::warn!(%error, "the index of the log stays in memory: its file can't be written");
                return false;
            }
            // without a thread that merges a later start does it
            let _ = merging.send(());
            true
        };
        self.flushing = std::thread::Builder::new().name("phoenix-index".to_owned()).spawn(write).ok();
    }

    /// Lets somebody see whether segments should be written anew.
    fn let_look(&mut self) {
        if std::mem::take(&mut self.look)
            && let Some(compaction) = &self.compaction
        {
            // nobody is there any more when the store is closed
            let _ = compaction.send(Work::Look);
        }
    }

    /// Leaves a checkpoint, so that the next start need not read the log.
    fn close(mut self) {
        drop(self.compaction.take());
        let _ = self.next.take().map(JoinHandle::join);
        let _ = self.flushing.take().map(JoinHandle::join);
        if self.shared.check().is_ok() {
            self.save();
        }
        self.merging.end();
    }

    fn save(&self) {
        // one may still be frozen, because its file could not be written
        for _ in 0..2 {
            let frozen = {
                let mut index = self.shared.index_mut();
                if index.frozen.is_none() && index.is_empty() { None } else { index.freeze() }
            };
            if let Some(Err(error)) = frozen.map(|frozen| flush(&self.shared, &frozen)) {
                tracing::warn!(%error, "the index of the log is not saved, so the next start reads more of the log");
                return;
            }
        }
        let _ = self.merging.wanted().send(());
    }
}

/// The largest record of a frame that nobody could read again.
fn too_large(index: usize) -> StoreError {
    let reason = "with it more than 1 GiB would be written at once; events and snapshots should be small".to_owned();
    StoreError::Refused { index, reason }
}

fn refuse(job: Job, error: StoreError) {
    match job {
        Job::Append(_, reply) | Job::Snapshot(_, reply) | Job::Refill(_, reply) => drop(reply.send(Err(error))),
        Job::Partitions(_, reply) => drop(reply.send(Err(error))),
        Job::Acquire(_, reply) => drop(reply.send(Err(error))),
        Job::DropSnapshots(_, _, reply) | Job::Strip(_, _, _, reply) => drop(reply.send(Err(error))),
    }
}
