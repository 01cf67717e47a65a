//! The one that writes: it takes all jobs that wait, and makes them durable with one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::error::{commit_failed, failed};
use super::marks::{Mark, Marks};
use super::options::EmbeddedOptions;
use super::schema::place;
use super::shared::{Behind, Shared};
use super::trim::{self, Limits};
use crate::bus::headers::Headers;
use crate::bus::port::{BusError, Keep, Record, TopicPartition};
use crate::domain::ports::Clock;

/// Where the answer to a job goes. Who does not wait any more is not told.
pub(super) type Reply<T> = oneshot::Sender<Result<T, BusError>>;

/// The answer to each record of a call.
pub(super) type Produced = Vec<Result<u64, BusError>>;

/// Something to write.
pub(super) enum Job {
    Create(Arc<str>, u16, Keep, Reply<()>),
    /// Records for partitions by number.
    Produce(Vec<(u32, Record)>, Reply<Produced>),
    /// The next offsets of a group.
    Commit(Arc<str>, Vec<(u32, u64)>, Reply<()>),
    /// The offsets of a group are not kept any more. Tells whether there were any.
    Forget(Arc<str>, Reply<bool>),
}

impl Job {
    fn records(&self) -> usize {
        if let Self::Produce(records, _) = self { records.len() } else { 1 }
    }

    fn tell(self, answer: Result<Answer, BusError>) {
        match (self, answer) {
            (Self::Create(_, _, _, reply) | Self::Commit(_, _, reply), answer) => {
                drop(
                    reply.send(
                        answer.and_then(|answer| if let Answer::No(error) = answer { Err(error) } else { Ok(()) }),
                    ),
                );
            }
            (Self::Produce(_, reply), Ok(Answer::Produced(produced))) => drop(reply.send(Ok(produced))),
            (Self::Produce(_, reply), Err(error)) => drop(reply.send(Err(error))),
            (Self::Forget(_, reply), Ok(answer)) => drop(reply.send(Ok(matches!(answer, Answer::Changed)))),
            (Self::Forget(_, reply), Err(error)) => drop(reply.send(Err(error))),
            // without an answer the asker learns that the outcome is unknown
            (Self::Produce(..), Ok(_)) => {}
        }
    }
}

/// The answer to a job that counts once the commit is done.
enum Answer {
    Changed,
    Nothing,
    No(BusError),
    Produced(Produced),
}

/// How many records are removed at once.
const TRIM_STEP: usize = 1_000;

/// Which part of a full partition is given up at once, where it keeps the newest.
const GIVEN_UP: u64 = 64;

/// What a record takes besides its bytes.
pub(super) const OVERHEAD: u64 = 64;

const PUT_TOPIC: &str = "INSERT INTO topics (name, partitions, newest) VALUES (?1, ?2, ?3)";
const KEEP: &str = "UPDATE topics SET newest = ?2 WHERE name = ?1";
const PUT_PARTITION: &str =
    "INSERT INTO partitions (number, topic, partition, earliest, next, bytes) VALUES (?1, ?2, ?3, 0, 0, 0)";
const PUT_RECORD: &str = "INSERT INTO records (place, time_micros, key, headers, value) VALUES (?1, ?2, ?3, ?4, ?5)";
const MOVE_PARTITION: &str = "UPDATE partitions SET earliest = ?2, next = ?3, bytes = ?4 WHERE number = ?1";
const COMMIT_OFFSET: &str = "INSERT INTO committed (consumer_group, partition, next) VALUES (?1, ?2, ?3) \
     ON CONFLICT (consumer_group, partition) DO UPDATE SET next = excluded.next";
const FORGET: &str = "DELETE FROM committed WHERE consumer_group = ?1";

pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) options: Arc<EmbeddedOptions>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    /// What is shared may not be what is in the database, after a commit of unknown outcome.
    stale: bool,
    /// Partitions that perhaps have more to remove.
    to_trim: BTreeSet<u32>,
}

/// What a transaction changes, for those who look at it once it is committed.
#[derive(Default)]
struct Draft {
    topics: BTreeMap<Arc<str>, Vec<u32>>,
    /// Topics that were made, or are to keep other records from now on.
    keep: BTreeMap<Arc<str>, Keep>,
    partitions: BTreeMap<u32, Mark>,
    committed: BTreeMap<(Arc<str>, u32), u64>,
    forgotten: BTreeSet<Arc<str>>,
    to_trim: BTreeSet<u32>,
}

impl Writer {
    pub(super) fn new(
        db: Connection,
        options: Arc<EmbeddedOptions>,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
    ) -> rusqlite::Result<Self> {
        let marks = Marks::load(&db)?;
        let to_trim = marks.partitions.keys().copied().collect();
        shared.lock().marks = marks;
        Ok(Self { db, options, clock, shared, stale: false, to_trim })
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut next = None;
        loop {
            let first = match next.take().map_or_else(|| jobs.try_recv(), Ok) {
                Ok(job) => Some(job),
                // what is to be removed is removed while there is nothing else to do
                Err(TryRecvError::Empty) if !self.to_trim.is_empty() => None,
                Err(TryRecvError::Empty) => match jobs.recv() {
                    Ok(job) => Some(job),
                    Err(_) => return,
                },
                Err(TryRecvError::Disconnected) => return,
            };
            let mut records = first.as_ref().map_or(0, Job::records);
            let mut group = Vec::from_iter(first);
            while !group.is_empty() && records < self.options.records_a_commit {
                let Ok(job) = jobs.try_recv() else { break };
                if records + job.records() > self.options.records_a_commit {
                    next = Some(job);
                    break;
                }
                records += job.records();
                group.push(job);
            }
            self.write(group);
        }
    }

    /// Does jobs with one commit, and tells their answers.
    pub(super) fn write(&mut self, group: Vec<Job>) {
        match self.commit(&group) {
            Ok(answers) => group.into_iter().zip(answers).for_each(|(job, answer)| job.tell(Ok(answer))),
            Err(error) => {
                if group.is_empty() {
                    tracing::warn!(%error, "records that were read could not be removed; tried again with the next call");
                    self.to_trim.clear();
                }
                for job in group {
                    job.tell(Err(error.clone()));
                }
            }
        }
    }

    fn commit(&mut self, group: &[Job]) -> Result<Vec<Answer>, BusError> {
        if self.stale {
            self.look_again()?;
        }
        let mut draft = Draft::default();
        let answers = match self.attempt(group, &mut draft) {
            Ok(answers) => answers,
            Err(error) => {
                self.roll_back();
                return Err(failed(&self.options.path, "write", &error));
            }
        };
        if let Err(error) = self.execute("COMMIT") {
            let error = commit_failed(&self.options.path, &error, !self.db.is_autocommit());
            self.roll_back();
            self.stale = true;
            // what is there after all is to be read as well; if it can't be seen now, the next call looks first
            let _ = self.look_again();
            return Err(error);
        }
        self.publish(draft);
        Ok(answers)
    }

    /// Does every job inside a transaction, and leaves it open.
    fn attempt(&mut self, group: &[Job], draft: &mut Draft) -> rusqlite::Result<Vec<Answer>> {
        self.execute("BEGIN IMMEDIATE")?;
        let now = self.clock.wall_micros();
        let mut answers = Vec::with_capacity(group.len());
        for job in group {
            answers.push(match job {
                Job::Create(topic, partitions, keep, _) => self.create(draft, topic, *partitions, *keep)?,
                Job::Produce(records, _) => Answer::Produced(self.produce(draft, records, now)?),
                Job::Commit(group, offsets, _) => {
                    let mut commit = self.db.prepare_cached(COMMIT_OFFSET)?;
                    for (number, offset) in offsets {
                        commit.execute(params![&**group, number, offset.cast_signed()])?;
                        draft.committed.insert((Arc::clone(group), *number), *offset);
                        draft.to_trim.insert(*number);
                    }
                    Answer::Changed
                }
                Job::Forget(group, _) => {
                    let removed = self.db.prepare_cached(FORGET)?.execute([&**group])?;
                    draft.committed.retain(|(of, _), _| of != group);
                    draft.forgotten.insert(Arc::clone(group));
                    if removed > 0 { Answer::Changed } else { Answer::Nothing }
                }
            });
        }
        for number in self.to_trim.clone() {
            self.trim(draft, number, now, TRIM_STEP)?;
        }
        let mut moved = self.db.prepare_cached(MOVE_PARTITION)?;
        for (number, mark) in self.moved(draft) {
            let marks = [mark.earliest, mark.end, mark.bytes].map(u64::cast_signed);
            moved.execute(params![number, marks[0], marks[1], marks[2]])?;
        }
        Ok(answers)
    }

    /// The partitions that were not only looked at.
    fn moved<'a>(&self, draft: &'a Draft) -> Vec<(u32, &'a Mark)> {
        let state = self.shared.lock();
        let is_same = |number: &u32, mark: &Mark| {
            state.marks.partitions.get(number).is_some_and(|old| (old.end, old.bytes) == (mark.end, mark.bytes))
        };
        draft.partitions.iter().filter(|(number, mark)| !is_same(number, mark)).map(|(n, mark)| (*n, mark)).collect()
    }

    fn create(&self, draft: &mut Draft, topic: &Arc<str>, wanted: u16, keep: Keep) -> rusqlite::Result<Answer> {
        let newest = keep == Keep::Newest;
        let state = self.shared.lock();
        if let Some(numbers) = state.marks.topics.get(topic).or_else(|| draft.topics.get(topic)) {
            let found = u16::try_from(numbers.len()).unwrap_or(u16::MAX);
            let other = BusError::Partitions { topic: Arc::clone(topic), found, wanted };
            if found != wanted {
                return Ok(Answer::No(other));
            }
            drop(state);
            if self.keep(draft, topic) == keep {
                return Ok(Answer::Nothing);
            }
            self.db.prepare_cached(KEEP)?.execute(params![&**topic, newest])?;
            draft.keep.insert(Arc::clone(topic), keep);
            return Ok(Answer::Changed);
        }
        let last = state.marks.partitions.keys().chain(draft.partitions.keys()).max().copied().unwrap_or(0);
        drop(state);
        self.db.prepare_cached(PUT_TOPIC)?.execute(params![&**topic, wanted, newest])?;
        let mut put = self.db.prepare_cached(PUT_PARTITION)?;
        let mut numbers = Vec::with_capacity(usize::from(wanted));
        for (partition, number) in (0..wanted).zip(last + 1..) {
            put.execute(params![number, &**topic, partition])?;
            let of = TopicPartition::new(Arc::clone(topic), partition);
            draft.partitions.insert(number, Mark { of, earliest: 0, end: 0, bytes: 0 });
            numbers.push(number);
        }
        draft.topics.insert(Arc::clone(topic), numbers);
        draft.keep.insert(Arc::clone(topic), keep);
        Ok(Answer::Changed)
    }

    /// Which records of a topic stay, as this transaction has it so far.
    fn keep(&self, draft: &Draft, topic: &Arc<str>) -> Keep {
        let newest = || self.shared.lock().marks.newest.contains(topic);
        let known = || if newest() { Keep::Newest } else { Keep::UntilRead };
        draft.keep.get(topic).copied().unwrap_or_else(known)
    }

    fn produce(&self, draft: &mut Draft, records: &[(u32, Record)], now: i64) -> rusqlite::Result<Produced> {
        let mut put = self.db.prepare_cached(PUT_RECORD)?;
        let mut produced = Vec::with_capacity(records.len());
        // once a record of a call has no room, the later ones of its partition have none: they keep their order
        let mut full: BTreeMap<u32, BusError> = BTreeMap::new();
        for (number, record) in records {
            if let Some(error) = full.get(number) {
                produced.push(Err(error.clone()));
                continue;
            }
            let headers = match encode(&record.headers) {
                Ok(headers) => headers,
                Err(error) => {
                    produced.push(Err(BusError::Refused(format!("its headers can't be encoded: {error}"))));
                    continue;
                }
            };
            let cost = cost(record.key.as_deref(), headers.as_deref(), &record.value);
            let Some(mut end) = self.mark(draft, *number).map(|mark| mark.end) else {
                produced.push(Err(BusError::Unavailable("the topic was not found; ask again".to_owned())));
                continue;
            };
            let room = self.room(draft, *number, cost, now)?;
            let (true, Some(place)) = (room, place(*number, end)) else {
                let error = self.is_full(draft, *number);
                full.insert(*number, error.clone());
                produced.push(Err(error));
                continue;
            };
            put.execute(params![place, now, record.key, headers, record.value])?;
            produced.push(Ok(end));
            end += 1;
            if let Some(mark) = self.mark(draft, *number) {
                mark.end = end;
                mark.bytes += cost;
            }
            draft.to_trim.insert(*number);
        }
        Ok(produced)
    }

    /// Whether a partition has room for so many bytes, after what may go has gone.
    fn room(&self, draft: &mut Draft, number: u32, cost: u64, now: i64) -> rusqlite::Result<bool> {
        let most = self.options.partition_bytes as u64;
        loop {
            let Some(mark) = self.mark(draft, number) else { return Ok(false) };
            if mark.bytes + cost <= most {
                return Ok(true);
            }
            let topic = Arc::clone(&mark.of.topic);
            if self.trim(draft, number, now, TRIM_STEP)? > 0 {
                continue;
            }
            if cost > most || self.keep(draft, &topic) == Keep::UntilRead {
                return Ok(false);
            }
            // some more than this one needs, so that the next ones need not look for theirs
            let limits = Limits {
                unread: u64::MAX,
                before: i64::MIN,
                bytes: u64::MAX,
                most: (most - cost).saturating_sub(most / GIVEN_UP),
                step: TRIM_STEP,
            };
            if self.remove(draft, number, &limits)? == 0 {
                return Ok(false);
            }
        }
    }

    fn is_full(&self, draft: &Draft, number: u32) -> BusError {
        let state = self.shared.lock();
        let mark = draft.partitions.get(&number).or_else(|| state.marks.partitions.get(&number));
        let of = mark.map(|mark| mark.of.to_string()).unwrap_or_default();
        let waits_for = match state.unread_from(number) {
            Some((offset, Behind::Group(group))) => {
                format!("the group `{group}` has read up to {offset}: see that it goes on, or forget it")
            }
            Some((offset, Behind::Follower)) => format!("who follows it has read up to {offset}: see that it goes on"),
            None => "no group reads it".to_owned(),
        };
        let bound = crate::domain::units::format_size(self.options.partition_bytes);
        BusError::Unavailable(format!("{of} is full ({bound}), and {waits_for}; or raise `partition_bytes`"))
    }

    /// Removes some of what may go, and tells how many records.
    fn trim(&self, draft: &mut Draft, number: u32, now: i64, step: usize) -> rusqlite::Result<usize> {
        let Some(unread) = self.shared.lock().unread_from(number).map(|(offset, _)| offset) else { return Ok(0) };
        let limits = Limits {
            unread,
            before: now.saturating_sub(i64::try_from(self.options.retention.as_micros()).unwrap_or(i64::MAX)),
            bytes: self.options.retention_bytes as u64,
            most: u64::MAX,
            step,
        };
        let removed = self.remove(draft, number, &limits)?;
        if removed >= step {
            draft.to_trim.insert(number);
        }
        Ok(removed)
    }

    fn remove(&self, draft: &mut Draft, number: u32, limits: &Limits) -> rusqlite::Result<usize> {
        let Some(mark) = self.mark(draft, number) else { return Ok(0) };
        let removed = trim::step(&self.db, number, mark, limits)?;
        if removed > 0 {
            // before it is committed: whoever reads meanwhile learns that it is gone, and not that it is missing
            let earliest = mark.earliest;
            if let Some(mark) = self.shared.lock().marks.partitions.get_mut(&number) {
                // what is not committed yet nobody reads
                mark.earliest = earliest.min(mark.end);
            }
        }
        Ok(removed)
    }

    /// A partition as this transaction has it so far.
    fn mark<'a>(&self, draft: &'a mut Draft, number: u32) -> Option<&'a mut Mark> {
        match draft.partitions.entry(number) {
            std::collections::btree_map::Entry::Occupied(entry) => Some(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                Some(entry.insert(self.shared.lock().marks.partitions.get(&number)?.clone()))
            }
        }
    }

    /// Shows everybody what is committed now.
    fn publish(&mut self, draft: Draft) {
        let mut state = self.shared.lock();
        for group in draft.forgotten {
            state.marks.committed.remove(&group);
        }
        for ((group, number), offset) in draft.committed {
            state.marks.committed.entry(group).or_default().insert(number, offset);
        }
        state.marks.topics.extend(draft.topics);
        for (topic, keep) in draft.keep {
            match keep {
                Keep::Newest => drop(state.marks.newest.insert(topic)),
                Keep::UntilRead => drop(state.marks.newest.remove(&topic)),
            }
        }
        for (number, mark) in draft.partitions {
            let grown = state.marks.partitions.get(&number).is_none_or(|before| before.end < mark.end);
            if grown {
                state.wake_readers(number, &mark.of);
            }
            state.marks.partitions.insert(number, mark);
        }
        drop(state);
        self.to_trim = draft.to_trim;
    }

    /// Reads anew what is committed.
    fn look_again(&mut self) -> Result<(), BusError> {
        let marks = Marks::load(&self.db).map_err(|e| failed(&self.options.path, "read", &e))?;
        let mut state = self.shared.lock();
        for (number, mark) in &marks.partitions {
            state.wake_readers(*number, &mark.of);
        }
        state.marks = marks;
        self.stale = false;
        Ok(())
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn roll_back(&mut self) {
        if !self.db.is_autocommit() {
            // if this fails as well, the next BEGIN does, and says so
            let _ = self.execute("ROLLBACK");
        }
        // an earliest offset may have been shown already
        self.stale = true;
    }
}

fn encode(headers: &Headers) -> Result<Option<Vec<u8>>, postcard::Error> {
    if headers.is_empty() { Ok(None) } else { postcard::to_stdvec(headers).map(Some) }
}

/// What a record counts against the bound of its partition.
fn cost(key: Option<&[u8]>, headers: Option<&[u8]>, value: &[u8]) -> u64 {
    let bytes = key.map_or(0, <[u8]>::len) + headers.map_or(0, <[u8]>::len) + value.len();
    bytes as u64 + OVERHEAD
}
