//! One append: what it rests on is proved from memory or asked for, then everything is one statement.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::SqlStore;
use super::dialect::{Dialect, Failure, Held, Insert, Inserted, Row};
use super::known::{Known, Stream};
use super::turns::SliceSet;
use crate::domain::id::{Dedup, Slice};
use crate::event_store::port::{Batch, Epoch, StoreError, StreamId};
use crate::event_store::rules::{self, SEQUENCE_BITS, Stored, place, position};

/// How often an append is tried again whose grounds changed while it was made.
const TRIES: usize = 5;
/// How often it is tried again because a connection was made meanwhile: more than there are connections.
const MOST_SERVERS: usize = 1000;
/// The most bytes of one statement: what databases take is a little more.
const MOST_BYTES: usize = 900 << 20;

/// What the database said about streams and slices of a batch.
#[derive(Default)]
struct Asked<'a> {
    streams: HashMap<&'a StreamId, Stream, RandomState>,
    sequences: HashMap<Slice, u64, RandomState>,
    /// How many connections had been made before.
    connections: u64,
}

impl Asked<'_> {
    /// Adds later answers: what is remembered may have room for neither.
    fn add(&mut self, later: Self) {
        // what an earlier server said is dropped before the next use
        self.connections = self.connections.min(later.connections);
        self.streams.extend(later.streams);
        self.sequences.extend(later.sequences);
    }
}

/// What a batch needs before it can be inserted.
enum Prepared<'a> {
    Ready(Insert<'a>),
    /// These are not known.
    Ask(Vec<&'a StreamId>, Vec<Slice>),
    /// A row does not follow the one before it, as far as is known.
    Apart,
}

impl<D: Dialect> SqlStore<D> {
    /// Appends a batch whose turn has come.
    pub(super) async fn append_now(&self, batch: &Batch) -> Result<(), StoreError> {
        let refused = rules::well_formed(batch).and_then(|()| fits(batch));
        if batch.records.is_empty() || refused.is_err() {
            self.confirm(batch).await?;
            return refused;
        }
        let mut asked = Asked::default();
        let (mut tries, mut servers) = (0, 0);
        while tries < TRIES && servers < MOST_SERVERS {
            let prepared = {
                let mut known = self.known();
                if asked.connections != known.connections() {
                    asked = Asked { connections: known.connections(), ..Asked::default() };
                    servers += 1;
                }
                prepare(batch, &mut known, &asked)
            };
            let failed = match prepared {
                Prepared::Ready(insert) => match self.insert(&insert).await {
                    Ok(Inserted::Done) => return Ok(()),
                    // the epochs are current if this returns, so slices have come or gone
                    Ok(Inserted::NotHeld) => {
                        self.confirm(batch).await?;
                        tries += 1;
                        continue;
                    }
                    Ok(Inserted::OtherServer) => continue,
                    Err(failure) => failure,
                },
                Prepared::Ask(streams, slices) => {
                    asked.add(self.ask(streams, &slices).await?);
                    continue;
                }
                Prepared::Apart => Failure::Taken,
            };
            self.known().forget(batch);
            tries += 1;
            match failed {
                Failure::Store(error) => {
                    if matches!(error, StoreError::Unknown(_) | StoreError::Unavailable(_)) {
                        // perhaps another server answers next, and it may know less
                        self.known().forget_all();
                    }
                    return Err(error);
                }
                Failure::Taken => {
                    self.confirm(batch).await?;
                    asked = Asked::default();
                    if let Some(error) = self.conflicts(batch).await? {
                        // perhaps with its own rows, which its sender takes for stored then
                        self.dialect.flush().await?;
                        return Err(error);
                    }
                }
            }
        }
        Err(StoreError::Unavailable(format!(
            "`{}`: what the batch rests on changed {TRIES} times while it was appended; who else writes here?",
            self.dialect.place()
        )))
    }

    /// Inserts what was prepared, and remembers it.
    async fn insert(&self, insert: &Insert<'_>) -> Result<Inserted, Failure> {
        let inserted = self.dialect.insert(insert).await.map_err(|failure| match failure {
            // rows are not in the order of the batch
            Failure::Store(StoreError::Refused { index, reason }) => {
                let index = insert.rows.get(index).map_or(index, |row| row.index);
                Failure::Store(StoreError::Refused { index, reason })
            }
            other => other,
        })?;
        if inserted == Inserted::Done {
            self.learn(insert.connections, |known| note(known, insert));
            self.commit_records.record(u32::try_from(insert.rows.len()).unwrap_or(u32::MAX));
        }
        Ok(inserted)
    }

    /// Checks that the epochs are current, and that the slices are here.
    async fn confirm(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.epochs.is_empty() {
            return Ok(());
        }
        let partitions: Vec<_> = batch.epochs.iter().map(|(partition, _)| *partition).collect();
        let held = self.dialect.held(&partitions).await?;
        let current: BTreeMap<_, _> = held.iter().map(|held| (held.partition, held.epoch)).collect();
        rules::fence(&batch.epochs, |partition| Ok(current.get(&partition).copied().unwrap_or(Epoch(0))))?;
        let moved = |known: &Known| held.iter().any(|held| known.moves(held.partition) != held.moves);
        let stale = moved(&self.known());
        let known_away = |known: &Known| batch.records.iter().any(|record| known.away().contains(record.slice));
        if stale || known_away(&self.known()) {
            let away: SliceSet = self.away().await?.into_iter().collect();
            self.known().note_away(held.iter().map(|held| (held.partition, held.moves)), away);
        }
        let known = self.known();
        let mut moved: Vec<_> = batch.records.iter().map(|r| r.slice).filter(|s| known.away().contains(*s)).collect();
        drop(known);
        moved.sort_unstable();
        moved.dedup();
        if moved.is_empty() { Ok(()) } else { Err(StoreError::Moved(moved)) }
    }

    async fn ask<'a>(&self, streams: Vec<&'a StreamId>, slices: &[Slice]) -> Result<Asked<'a>, StoreError> {
        let mut asked = Asked { connections: self.dialect.connections(), ..Asked::default() };
        if !streams.is_empty() {
            for (index, found) in self.dialect.streams(&streams).await? {
                if let Some(stream) = streams.get(index) {
                    asked.streams.insert(stream, found);
                }
            }
            for stream in streams {
                asked.streams.entry(stream).or_insert(Stream { number: None, version: 0 });
            }
        }
        if !slices.is_empty() {
            asked.sequences = self.last(slices).await?.into_iter().collect();
        }
        self.learn(asked.connections, |known| {
            asked.streams.iter().for_each(|(stream, found)| known.note_stream(stream, *found));
            asked.sequences.iter().for_each(|(slice, sequence)| known.note_sequence(*slice, *sequence));
        });
        Ok(asked)
    }

    /// The last sequence numbers of these slices, 0 where there is none.
    pub(super) async fn last(&self, slices: &[Slice]) -> Result<BTreeMap<Slice, u64>, StoreError> {
        let mut last: BTreeMap<_, _> = slices.iter().map(|slice| (*slice, 0)).collect();
        for position in self.dialect.last_positions(slices).await? {
            let (slice, sequence) = place(position).ok_or_else(|| {
                super::row::damaged(self.dialect.place(), format_args!("{position} is no position of a record"))
            })?;
            last.insert(slice, sequence);
        }
        Ok(last)
    }

    /// Why the database can't take a batch; `None` if it can by now.
    async fn conflicts(&self, batch: &Batch) -> Result<Option<StoreError>, StoreError> {
        let streams: HashSet<&StreamId> = batch.records.iter().map(|record| &record.stream).collect();
        let slices: HashSet<Slice> = batch.records.iter().map(|record| record.slice).collect();
        let slices: Vec<_> = slices.into_iter().collect();
        let asked = self.ask(streams.into_iter().collect(), &slices).await?;
        let mut questions = Vec::new();
        for (index, record) in batch.records.iter().enumerate() {
            let number = asked.streams.get(&record.stream).and_then(|stream| stream.number);
            if let (Some(number), Some(command)) = (number, &record.command) {
                questions.push((index, (number, command.dedup.short().cast_signed())));
            }
        }
        let keys: Vec<_> = questions.iter().map(|(_, key)| *key).collect();
        let mut stored = Answers { asked, keys: HashSet::default() };
        let mut alike = Vec::new();
        if !keys.is_empty() {
            for (question, dedup) in self.dialect.keys(&keys).await? {
                let index = questions.get(question).map(|(index, _)| *index);
                let Some((index, record)) = index.and_then(|index| Some((index, batch.records.get(index)?))) else {
                    continue;
                };
                stored.keys.insert((&record.stream, dedup));
                if record.command.as_ref().is_some_and(|command| command.dedup != dedup) {
                    alike.push(index);
                }
            }
        }
        alike.extend(alike_in(batch));
        match rules::conflicts(batch, &mut stored) {
            Ok(conflicts) => Ok(Some(StoreError::Conflict(conflicts))),
            Err(_) => Ok(alike.into_iter().min().map(|index| StoreError::Refused {
                index,
                reason: "its idempotency key is another one than that of an earlier command of this aggregate, but \
                         has the same 64-bit hash; send it with another key"
                    .to_owned(),
            })),
        }
    }
}

/// A stream inside a batch.
struct Here<'a> {
    hash: u64,
    stream: &'a StreamId,
    number: i64,
    /// A version that it has, in the store or before this place in the batch.
    version: u64,
    /// Whether the batch has events of it before this place.
    written: bool,
    /// Whether the database has to be asked first, or was.
    ask: bool,
    asked: bool,
}

/// Finds what a batch needs, and puts together what it inserts.
fn prepare<'a>(batch: &'a Batch, known: &mut Known, asked: &Asked<'_>) -> Prepared<'a> {
    let mut streams: HashTable<Here<'a>> = HashTable::with_capacity(batch.records.len());
    let mut sequences: HashMap<Slice, u64, RandomState> = HashMap::default();
    let mut names: HashSet<(&str, &str), RandomState> = HashSet::default();
    let mut ask_slices = Vec::new();
    let mut insert =
        Insert { rows: Vec::with_capacity(batch.records.len()), connections: known.connections(), ..Insert::default() };
    for (index, record) in batch.records.iter().enumerate() {
        let Some(position) = position(record.slice, record.sequence).filter(|_| record.sequence > 0) else {
            return Prepared::Apart;
        };
        let last = record.sequence - 1;
        match sequences.insert(record.slice, record.sequence) {
            Some(before) if before != last => return Prepared::Apart,
            Some(_) => {}
            None if last <= known.sequence(record.slice) => {}
            None => match asked.sequences.get(&record.slice) {
                Some(found) if *found < last => return Prepared::Apart,
                Some(_) => {}
                None => ask_slices.push(record.slice),
            },
        }
        let hash = known.hash(&record.stream);
        let is_here = |here: &Here<'_>| here.hash == hash && *here.stream == record.stream;
        let here = streams.entry(hash, is_here, |here| here.hash).or_insert_with(|| {
            // most have none of it, and looking costs another hash
            let answer = if asked.streams.is_empty() { None } else { asked.streams.get(&record.stream).copied() };
            let found = answer.or_else(|| known.stream_at(hash, &record.stream));
            let number = found.and_then(|found| found.number);
            if found.is_some() && number.is_none() {
                insert.streams.push((position, &record.stream));
            }
            Here {
                hash,
                stream: &record.stream,
                number: number.unwrap_or(position),
                version: found.map_or(0, |found| found.version),
                written: false,
                ask: found.is_none(),
                asked: answer.is_some(),
            }
        });
        let here = here.into_mut();
        let mut version = None;
        if let Some(event) = &record.event {
            let Ok(signed) = i64::try_from(event.version) else { return Prepared::Apart };
            // lower versions are there as well, and the index says whether this one is
            if event.version - 1 > here.version {
                if here.written || here.asked {
                    return Prepared::Apart;
                }
                here.ask = true;
            }
            here.version = here.version.max(event.version);
            here.written = true;
            version = Some(signed);
            if !known.has_name(&record.stream.aggregate, &event.name) {
                names.insert((&record.stream.aggregate, &event.name));
            }
        }
        insert.rows.push(Row { position, stream: here.number, version, hash, index, record });
    }
    let ask_streams: Vec<_> = streams.iter().filter(|here| here.ask).map(|here| here.stream).collect();
    if !(ask_streams.is_empty() && ask_slices.is_empty()) {
        return Prepared::Ask(ask_streams, ask_slices);
    }
    // each index is gone through in its own order, so that neighbours find their pages in the processor's cache
    insert.rows.sort_unstable_by_key(|row| (row.stream, row.position));
    insert.names = names.into_iter().collect();
    // appends that add the same names wait for each other, and must not do so in a circle
    insert.names.sort_unstable();
    let epochs: BTreeMap<_, _> = batch.epochs.iter().copied().collect();
    let held = |(partition, epoch)| Held { partition, epoch, moves: known.moves(partition) };
    insert.fence = epochs.into_iter().map(held).collect();
    if batch.records.iter().any(|record| known.away().contains(record.slice)) {
        // never true: so the database is asked whether the slice has come back
        insert.fence.iter_mut().for_each(|held| held.moves = -1);
    }
    Prepared::Ready(insert)
}

/// Remembers what was inserted.
fn note(known: &mut Known, insert: &Insert<'_>) {
    for row in &insert.rows {
        let version = row.record.event.as_ref().map_or(0, |event| event.version);
        known.note_stream_at(row.hash, &row.record.stream, Stream { number: Some(row.stream), version });
        known.note_sequence(row.record.slice, row.record.sequence);
        known.note_durable(row.record.slice, row.record.sequence);
    }
    for (aggregate, name) in &insert.names {
        known.note_name(aggregate, name);
    }
}

/// Refuses what no database of this kind can hold.
fn fits(batch: &Batch) -> Result<(), StoreError> {
    let mut all = 0;
    for (index, record) in batch.records.iter().enumerate() {
        let refused = |reason: String| Err(StoreError::Refused { index, reason });
        if position(record.slice, record.sequence).is_none() && record.sequence >> SEQUENCE_BITS == 1 {
            return refused(format!("slice {} is full: it takes 2^{SEQUENCE_BITS} records", record.slice.0));
        }
        let command = record.command.as_deref();
        let texts = [
            command.and_then(|command| command.key.as_deref()),
            command.and_then(|command| command.correlation_id.as_deref()),
            command.and_then(|command| command.causation_id.as_deref()),
        ];
        if texts.iter().flatten().any(|text| text.contains('\0')) {
            return refused(
                "its key, correlation id or causation id has a NUL character, which no text can hold".to_owned(),
            );
        }
        let body = command.map_or(0, |command| command.outcome.body.len());
        all += record.event.as_ref().map_or(0, |event| event.payload.len()) + body;
        if all > MOST_BYTES {
            let reason = format!("with it the batch has {all} bytes, and the database takes {MOST_BYTES} at once");
            return refused(reason);
        }
    }
    Ok(())
}

/// Records of a batch whose key has the same short hash as another one before it.
fn alike_in(batch: &Batch) -> Vec<usize> {
    let mut first: HashMap<(&StreamId, u64), Dedup, RandomState> = HashMap::default();
    let mut alike = Vec::new();
    for (index, record) in batch.records.iter().enumerate() {
        let Some(command) = &record.command else { continue };
        if *first.entry((&record.stream, command.dedup.short())).or_insert(command.dedup) != command.dedup {
            alike.push(index);
        }
    }
    alike
}

/// What the database said about a batch that it did not take.
struct Answers<'a> {
    asked: Asked<'a>,
    keys: HashSet<(&'a StreamId, Dedup), RandomState>,
}

impl Stored for Answers<'_> {
    fn last_sequence(&mut self, slice: Slice) -> Result<u64, StoreError> {
        Ok(self.asked.sequences.get(&slice).copied().unwrap_or(0))
    }

    fn last_version(&mut self, stream: &StreamId) -> Result<u64, StoreError> {
        Ok(self.asked.streams.get(stream).map_or(0, |stream| stream.version))
    }

    fn has_key(&mut self, stream: &StreamId, dedup: Dedup) -> Result<bool, StoreError> {
        Ok(self.keys.contains(&(stream, dedup)))
    }
}
