//! The one thread that writes: it takes all jobs that wait, and makes them durable with one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use tokio::sync::oneshot;

use super::append::{Failed, Known, append, conflicts};
use super::archive;
use super::error::{OpenError, commit_failed, write_failed};
use super::letters;
use super::options::SqliteOptions;
use super::retention;
use crate::event_store::archive::BlockInfo;
use crate::event_store::letters::Change;
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
    Strip(StreamId, u64, Reply<u64>),
    /// Of events that were found to be stripped, and the same.
    Refill(Vec<StoredEvent>, Reply<()>),
    PutBlock(StreamId, BlockInfo, Vec<u8>, Reply<()>),
    Change(Box<Change<Vec<u8>>>, Reply<u64>),
}

impl Job {
    fn records(&self) -> usize {
        match self {
            Self::Append(batch, _) => batch.records.len(),
            Self::Refill(events, _) => events.len(),
            _ => 1,
        }
    }

    /// Tells the answer, once everything of its transaction is durable.
    fn tell(self, answer: Answer) {
        match (self, answer) {
            (
                Self::Append(_, reply)
                | Self::Snapshot(_, reply)
                | Self::Refill(_, reply)
                | Self::PutBlock(_, _, _, reply),
                answer,
            ) => drop(reply.send(if let Answer::Failed(error) = answer { Err(error) } else { Ok(()) })),
            (Self::Partitions(_, reply), Answer::Partitions(count)) => drop(reply.send(Ok(count))),
            (Self::Partitions(_, reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
            (Self::Acquire(_, reply), Answer::Acquired(epochs)) => drop(reply.send(Ok(epochs))),
            (Self::Acquire(_, reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
            (
                Self::DropSnapshots(_, _, reply) | Self::Strip(_, _, reply) | Self::Change(_, reply),
                Answer::Counted(count),
            ) => drop(reply.send(Ok(count))),
            (
                Self::DropSnapshots(_, _, reply) | Self::Strip(_, _, reply) | Self::Change(_, reply),
                Answer::Failed(error),
            ) => drop(reply.send(Err(error))),
            // without an answer the asker learns that the outcome is unknown
            (
                Self::Partitions(..) | Self::Acquire(..) | Self::DropSnapshots(..) | Self::Strip(..) | Self::Change(..),
                _,
            ) => {}
        }
    }
}

/// The answer to a job.
enum Answer {
    Done,
    Failed(StoreError),
    Partitions(u16),
    Acquired(Vec<(Partition, Epoch)>),
    Counted(u64),
}

const RAISE_EPOCH: &str = "INSERT INTO partitions (partition, epoch) VALUES (?1, ?2) \
     ON CONFLICT (partition) DO UPDATE SET epoch = excluded.epoch";
const COUNT: &str = "SELECT count FROM partition_count";
const ANY_EPOCH: &str = "SELECT EXISTS (SELECT 1 FROM partitions)";
const FIX_COUNT: &str = "INSERT INTO partition_count (one, count) VALUES (1, ?1)";
const PUT_SNAPSHOT: &str = "INSERT OR REPLACE INTO snapshots \
     (aggregate, id, version, time_micros, fingerprint, codec, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

pub(super) struct Writer {
    db: Connection,
    path: Arc<Path>,
    known: Known,
    records_a_commit: usize,
}

impl Writer {
    /// Opens the connection that writes.
    pub(super) fn open(options: &SqliteOptions) -> Result<Self, OpenError> {
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let db = Connection::open_with_flags(&options.path, flags)?;
            db.busy_timeout(options.busy_timeout)?;
            db.pragma_update(None, "journal_mode", "wal")?;
            db.pragma_update(None, "synchronous", options.synchronous.to_string())?;
            db.pragma_update(None, "wal_autocheckpoint", options.wal_autocheckpoint_pages)?;
            db.pragma_update(None, "foreign_keys", false)?;
            // a negative number counts in KiB instead of pages
            let cache = i64::try_from(options.cache / 1024).unwrap_or(i64::MAX);
            db.pragma_update(None, "cache_size", -cache)?;
            Ok(db)
        };
        let db = open().map_err(|e: rusqlite::Error| OpenError::database(&options.path, &e))?;
        let records_a_commit = options.records_a_commit.max(1);
        Ok(Self { db, path: options.path.as_path().into(), known: Known::default(), records_a_commit })
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let commit_records = metrics::histogram!("phoenix_commit_records");
        let mut next = None;
        while let Some(first) = next.take().or_else(|| jobs.recv().ok()) {
            let mut records = first.records();
            let mut group = vec![first];
            while let Ok(job) = jobs.try_recv() {
                if records + job.records() > self.records_a_commit {
                    next = Some(job);
                    break;
                }
                records += job.records();
                group.push(job);
            }
            let answers = self.write(&group);
            commit_records.record(u32::try_from(records).unwrap_or(u32::MAX));
            group.into_iter().zip(answers).for_each(|(job, answer)| job.tell(answer));
        }
    }

    /// Writes a group of jobs with one commit.
    fn write(&mut self, group: &[Job]) -> Vec<Answer> {
        // Savepoints copy every page before it is changed. So a group is first tried without them, and done again
        // with one for each batch only if a batch of it can't be taken.
        let answers = match self.attempt(group, false) {
            Ok(None) => self.attempt(group, true),
            other => other,
        };
        let error = match answers {
            Ok(Some(answers)) => match self.execute("COMMIT") {
                Ok(()) => return answers,
                Err(error) => commit_failed(&self.path, &error, !self.db.is_autocommit()),
            },
            Ok(None) => StoreError::Unavailable(format!("`{}`: a savepoint was not kept", self.path.display())),
            Err(error) => write_failed(&self.path, &error),
        };
        self.roll_back();
        group.iter().map(|_| Answer::Failed(error.clone())).collect()
    }

    /// Does every job inside a transaction and leaves it open; `None` if that takes savepoints.
    fn attempt(&mut self, group: &[Job], savepoints: bool) -> rusqlite::Result<Option<Vec<Answer>>> {
        let writes = group.iter().any(|job| job.records() > 0);
        self.execute(if writes { "BEGIN IMMEDIATE" } else { "BEGIN" })?;
        self.known.check(&self.db)?;
        let mut answers = Vec::with_capacity(group.len());
        for job in group {
            answers.push(match job {
                Job::Append(batch, _) => match self.append(batch, savepoints)? {
                    Some(answer) => answer,
                    None => return Ok(None),
                },
                Job::Partitions(wanted, _) => match self.partitions(*wanted)? {
                    Ok(count) => Answer::Partitions(count),
                    Err(error) => Answer::Failed(error),
                },
                Job::Acquire(partitions, _) => match rules::acquired(partitions) {
                    Ok(once) => {
                        let epochs = self.acquire(&once)?;
                        let epoch = |p: &Partition| Some((*p, epochs.get(p).copied()?));
                        Answer::Acquired(partitions.iter().filter_map(epoch).collect())
                    }
                    Err(error) => Answer::Failed(error),
                },
                Job::Snapshot(snapshot, _) => {
                    self.put_snapshot(snapshot)?;
                    Answer::Done
                }
                Job::DropSnapshots(stream, below, _) => {
                    Answer::Counted(retention::drop_snapshots(&self.db, stream, *below)?)
                }
                Job::Strip(stream, up_to, _) => Answer::Counted(retention::strip(&self.db, stream, *up_to)?),
                Job::Refill(events, _) => {
                    retention::refill(&self.db, events)?;
                    Answer::Done
                }
                Job::PutBlock(stream, block, bytes, _) => {
                    archive::put_block(&self.db, stream, *block, bytes)?;
                    Answer::Done
                }
                Job::Change(change, _) => Answer::Counted(letters::change(&self.db, change)?),
            });
        }
        Ok(Some(answers))
    }

    /// Appends one batch; `None`, with everything rolled back, if only a savepoint would keep the rest of the group.
    fn append(&mut self, batch: &Batch, savepoint: bool) -> rusqlite::Result<Option<Answer>> {
        if savepoint {
            self.execute("SAVEPOINT batch")?;
        }
        let failed = match append(&self.db, &self.path, &mut self.known, batch) {
            Ok(()) => None,
            Err(Failed::Before(error)) => Some(Answer::Failed(error)),
            Err(Failed::Database(error)) => return Err(error),
            Err(_) if !savepoint => {
                self.roll_back();
                return Ok(None);
            }
            Err(failed) => {
                self.execute("ROLLBACK TO batch")?;
                self.known.forget();
                Some(Answer::Failed(match failed {
                    Failed::Refused(error) => error,
                    _ => conflicts(&self.db, &self.path, batch),
                }))
            }
        };
        if savepoint {
            self.execute("RELEASE batch")?;
        }
        Ok(Some(failed.unwrap_or(Answer::Done)))
    }

    fn partitions(&self, wanted: u16) -> rusqlite::Result<Result<u16, StoreError>> {
        let stored = self.db.query_row(COUNT, [], |row| row.get(0)).optional()?;
        let acquired = self.db.query_row(ANY_EPOCH, [], |row| row.get(0))?;
        let first = match rules::partitions(wanted, acquired) {
            Ok(first) => first,
            Err(error) => return Ok(Err(error)),
        };
        if stored.is_none() {
            self.db.execute(FIX_COUNT, params![first])?;
        }
        Ok(Ok(stored.unwrap_or(first)))
    }

    fn acquire(&mut self, partitions: &BTreeSet<Partition>) -> rusqlite::Result<BTreeMap<Partition, Epoch>> {
        let raise = |&partition: &Partition| {
            let Epoch(last) = self.known.epoch(&self.db, partition)?;
            let epoch = Epoch(last + 1);
            self.db.prepare_cached(RAISE_EPOCH)?.execute(params![partition.0, epoch.0.cast_signed()])?;
            self.known.set_epoch(partition, epoch);
            Ok((partition, epoch))
        };
        partitions.iter().map(raise).collect()
    }

    fn put_snapshot(&self, snapshot: &Snapshot) -> rusqlite::Result<()> {
        let mut put = self.db.prepare_cached(PUT_SNAPSHOT)?;
        put.execute(params![
            &*snapshot.stream.aggregate,
            snapshot.stream.id.as_str(),
            snapshot.version.cast_signed(),
            snapshot.time_micros,
            snapshot.fingerprint.cast_signed(),
            snapshot.codec,
            &snapshot.payload[..],
        ])?;
        Ok(())
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn roll_back(&mut self) {
        self.known.forget();
        if !self.db.is_autocommit() {
            // if this fails as well, the next BEGIN does, and says so
            let _ = self.execute("ROLLBACK");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests {
    use rusqlite::limits::Limit;
    use tempfile::TempDir;

    use super::super::migrate;
    use super::*;
    use crate::domain::id::{AggregateId, Slice};
    use crate::event_store::port::{ConflictKind, EventData, Record, StreamId};

    async fn writer(folder: &TempDir) -> Writer {
        let options = SqliteOptions::at(folder.path().join("events.db"));
        migrate(&options).await.unwrap();
        let mut writer = Writer::open(&options).unwrap();
        let (acquire, _) = job(|reply| Job::Acquire(vec![Partition(0)], reply));
        assert!(matches!(writer.write(&[acquire])[..], [Answer::Acquired(_)]));
        writer
    }

    fn job<T>(job: impl FnOnce(Reply<T>) -> Job) -> (Job, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (job(reply), answer)
    }

    /// The first record of slice `id`: an event of the aggregate `id`.
    fn event(id: u16, version: u64, payload: usize) -> Record {
        let stream = StreamId { aggregate: "a".into(), id: AggregateId::new(id.to_string()).unwrap() };
        let event = EventData { version, name: "e".into(), schema_version: 1, codec: 1, payload: vec![1; payload] };
        Record { stream, slice: Slice(id), sequence: 1, time_micros: 0, event: Some(event), command: None }
    }

    fn append_of(records: Vec<Record>) -> Job {
        let batch = Batch { epochs: vec![(Partition(0), Epoch(1))], records };
        job(|reply| Job::Append(Arc::new(batch), reply)).0
    }

    fn first_event(id: u16, version: u64, payload: usize) -> Job {
        append_of(vec![event(id, version, payload)])
    }

    /// A letter for each answer: done, unavailable, refused, conflict.
    fn told(answers: &[Answer]) -> String {
        let letter = |answer: &Answer| match answer {
            Answer::Done => 'd',
            Answer::Failed(StoreError::Unavailable(_)) => 'u',
            Answer::Failed(StoreError::Refused { index: 0, .. }) => 'r',
            Answer::Failed(StoreError::Conflict(all)) if all[0].kind == ConflictKind::Predecessor => 'c',
            Answer::Failed(other) => panic!("{other:?}"),
            Answer::Acquired(_) | Answer::Counted(_) | Answer::Partitions(_) => 'a',
        };
        answers.iter().map(letter).collect()
    }

    fn stored(writer: &Writer) -> i64 {
        writer.db.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn a_group_is_one_commit_and_each_batch_fails_alone() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder).await;
        let group = [first_event(1, 1, 9), first_event(2, 2, 9), first_event(3, 1, 9), first_event(4, 9, 9)];
        assert_eq!(told(&writer.write(&group)), "dcdc");
        assert_eq!(stored(&writer), 2);
        assert_eq!(told(&writer.write(&[first_event(2, 1, 9), first_event(5, 1, 9)])), "dd");
        assert_eq!(stored(&writer), 4);
        let begins_well = append_of(vec![event(6, 1, 9), event(7, 2, 9)]);
        assert_eq!(told(&writer.write(&[begins_well, first_event(6, 1, 9)])), "cd");
        assert_eq!(stored(&writer), 5);
    }

    #[tokio::test]
    async fn a_full_disk_stores_nothing_of_the_group_and_the_same_batches_go_through_later() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder).await;
        writer.db.pragma_update(None, "max_page_count", 50).unwrap();
        let group = || [first_event(1, 1, 9), first_event(2, 1, 1_000_000), first_event(3, 1, 9)];
        assert_eq!(told(&writer.write(&group())), "uuu");
        assert_eq!(stored(&writer), 0);
        writer.db.pragma_update(None, "max_page_count", 5_000).unwrap();
        assert_eq!(told(&writer.write(&group())), "ddd");
    }

    #[tokio::test]
    async fn a_commit_that_fails_undoes_the_whole_group() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder).await;
        let broken_promise = "PRAGMA foreign_keys = ON; CREATE TABLE p (x INTEGER PRIMARY KEY);
            CREATE TABLE c (x REFERENCES p DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER t AFTER INSERT ON events BEGIN INSERT INTO c VALUES (1); END";
        writer.db.execute_batch(broken_promise).unwrap();
        let group = || [first_event(1, 1, 9), first_event(2, 1, 9), first_event(3, 2, 9)];
        assert_eq!(told(&writer.write(&group())), "uuu");
        assert_eq!(stored(&writer), 0);
        writer.db.execute_batch("DROP TRIGGER t").unwrap();
        assert_eq!(told(&writer.write(&group())), "ddc");
    }

    #[tokio::test]
    async fn a_record_that_is_too_large_is_refused_alone() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder).await;
        writer.db.set_limit(Limit::SQLITE_LIMIT_LENGTH, 100_000).unwrap();
        let group = [first_event(1, 1, 9), first_event(2, 1, 100_001), first_event(3, 1, 99_990), first_event(4, 1, 9)];
        assert_eq!(told(&writer.write(&group)), "drrd");
        assert_eq!(stored(&writer), 2);
    }
}
