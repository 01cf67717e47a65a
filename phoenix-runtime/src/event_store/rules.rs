//! What every store checks in the same way: fences, records that nobody can take, and which rows are in conflict.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::id::{Dedup, SLICES, Slice};
use crate::domain::outcome::Outcome;
use crate::event_store::port::{
    ARCHIVED, Batch, CommandData, Conflict, ConflictKind, EARLIER_PARTITIONS, Epoch, EventData, PAGE_BYTES, Partition,
    Position, StoreError, StoredEvent, StreamId,
};

/// Refuses a batch that was decided under another epoch than the current one.
pub(crate) fn fence(
    epochs: &[(Partition, Epoch)],
    mut current: impl FnMut(Partition) -> Result<Epoch, StoreError>,
) -> Result<(), StoreError> {
    for &(partition, given) in epochs {
        let current = current(partition)?;
        // epoch 0 is that of a partition that nobody ever acquired
        if current != given || given == Epoch(0) {
            return Err(StoreError::Fenced { partition, current, given });
        }
    }
    Ok(())
}

/// The partitions that are to be acquired, each once; refuses one that does not exist.
pub(crate) fn acquired(partitions: &[Partition]) -> Result<BTreeSet<Partition>, StoreError> {
    match partitions.iter().position(|partition| partition.0 >= SLICES) {
        Some(index) => Err(StoreError::Refused { index, reason: "there are 1024 partitions at most".to_owned() }),
        None => Ok(partitions.iter().copied().collect()),
    }
}

/// How many partitions there are, as far as it is not known: as many as are wanted, unless they were acquired before
/// anybody fixed their number.
pub(crate) fn partitions(wanted: u16, acquired: bool) -> Result<u16, StoreError> {
    match wanted {
        1..=SLICES => Ok(if acquired { EARLIER_PARTITIONS } else { wanted }),
        _ => Err(StoreError::Refused { index: 0, reason: format!("{wanted} partitions; there are 1 to {SLICES}") }),
    }
}

/// Refuses records that no store can take, and a batch that hides under whose epoch it was decided.
pub(crate) fn well_formed(batch: &Batch) -> Result<(), StoreError> {
    let refused = |index, reason: &str| Err(StoreError::Refused { index, reason: reason.to_owned() });
    if batch.epochs.is_empty() && !batch.records.is_empty() {
        return refused(0, "its batch names no epoch, so nobody can tell whether its owner still owns it");
    }
    let partitions: HashSet<_> = batch.epochs.iter().map(|(partition, _)| partition).collect();
    if partitions.len() != batch.epochs.len() {
        return refused(0, "its batch names a partition twice, perhaps with two epochs");
    }
    for (index, record) in batch.records.iter().enumerate() {
        if record.slice.0 >= SLICES {
            return refused(index, "its slice does not exist; slices go from 0 to 1023");
        }
        match &record.event {
            Some(event) if event.version == 0 => return refused(index, "its version is 0; the first one is 1"),
            None if record.command.is_none() => return refused(index, "it is neither an event nor an outcome"),
            _ => {}
        }
    }
    Ok(())
}

/// Forgets the bytes of an event and of its command's outcome, and nothing else.
pub(crate) fn strip(event: &mut EventData, command: Option<&mut CommandData>) {
    event.codec = ARCHIVED;
    event.payload = Vec::new();
    if let Some(command) = command {
        command.outcome.codec = ARCHIVED;
        command.outcome.body = Vec::new();
    }
}

/// Whether a stored event has to take its bytes back from `given`; an event that has its bytes need not. Refuses what
/// is not the same event.
pub(crate) fn takes_back(stored: &StoredEvent, given: &StoredEvent) -> Result<bool, StoreError> {
    let damaged = |what: &str| {
        let (stream, version) = (&given.stream, given.event.version);
        Err(StoreError::Damaged(format!("version {version} of {stream} from the archive {what}; nothing was changed")))
    };
    if given.is_archived() {
        return damaged("has no bytes");
    }
    if !stored.is_archived() {
        return if stored == given { Ok(false) } else { damaged("is another event than the stored one") };
    }
    if is_same(stored, given) { Ok(true) } else { damaged("is another event than the stored one") }
}

/// Whether two events are equal but for the bytes that stripping takes.
fn is_same(stored: &StoredEvent, given: &StoredEvent) -> bool {
    fn event(StoredEvent { stream, slice, sequence, time_micros, event, command: _ }: &StoredEvent) -> impl PartialEq {
        let EventData { version, name, schema_version, codec: _, payload: _ } = event;
        (stream, slice, sequence, time_micros, version, name, schema_version)
    }
    fn command(data: &CommandData) -> impl PartialEq {
        let CommandData { id, dedup, name, key, payload_hash, outcome, correlation_id, causation_id } = data;
        let Outcome { kind, version, codec: _, body: _ } = outcome;
        (id, dedup, name, key, payload_hash, kind, version, correlation_id, causation_id)
    }
    let commands = (stored.command.as_deref().map(command), given.command.as_deref().map(command));
    event(stored) == event(given) && commands.0 == commands.1
}

/// Refuses to give bytes back to an event that is not stored.
pub(crate) fn not_there(given: &StoredEvent) -> StoreError {
    let (stream, version) = (&given.stream, given.event.version);
    StoreError::Damaged(format!("version {version} of {stream} is in the archive, but not stored; nothing was changed"))
}

/// What a store has, as far as conflicts depend on it.
pub(crate) trait Stored {
    /// The last sequence number of a slice.
    fn last_sequence(&mut self, slice: Slice) -> Result<u64, StoreError>;
    /// The last version of a stream.
    fn last_version(&mut self, stream: &StreamId) -> Result<u64, StoreError>;
    /// Whether a record of the stream has this key.
    fn has_key(&mut self, stream: &StreamId, dedup: Dedup) -> Result<bool, StoreError>;
}

/// Names every conflict of a batch, by row and kind. Each record is judged against the store and the records before
/// it in the batch, whether those are in conflict or not; so what merely follows a wrong row is not named as well.
pub(crate) fn conflicts(batch: &Batch, stored: &mut impl Stored) -> Result<Vec<Conflict>, StoreError> {
    let mut found = Vec::new();
    let mut slices = HashMap::new();
    let mut streams = HashMap::new();
    let mut keys = HashSet::new();
    for (index, record) in batch.records.iter().enumerate() {
        let mut name = |kind| found.push(Conflict { index, kind });
        if let Some(event) = &record.event {
            let known = match streams.entry(&record.stream) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Numbers::up_to(stored.last_version(&record.stream)?)),
            };
            match known.add(event.version) {
                Place::Taken => name(ConflictKind::Version),
                Place::Apart => name(ConflictKind::Predecessor),
                Place::Next => {}
            }
        }
        if let Some(command) = &record.command
            && (!keys.insert((&record.stream, command.dedup)) || stored.has_key(&record.stream, command.dedup)?)
        {
            name(ConflictKind::Key);
        }
        let known = match slices.entry(record.slice) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Numbers::up_to(stored.last_sequence(record.slice)?)),
        };
        if known.add(record.sequence) != Place::Next {
            name(ConflictKind::Sequence);
        }
    }
    if found.is_empty() {
        return Err(StoreError::Damaged("a batch was refused, and none of its rows is in conflict".to_owned()));
    }
    Ok(found)
}

/// Numbers that are there: 1 to the last stored one, and those of the batch.
struct Numbers {
    last: u64,
    added: HashSet<u64>,
}

#[derive(PartialEq)]
enum Place {
    Taken,
    Next,
    Apart,
}

impl Numbers {
    fn up_to(last: u64) -> Self {
        Self { last, added: HashSet::new() }
    }

    fn has(&self, number: u64) -> bool {
        number <= self.last || self.added.contains(&number)
    }

    fn add(&mut self, number: u64) -> Place {
        let place = match number {
            _ if self.has(number) => Place::Taken,
            _ if self.has(number - 1) => Place::Next,
            _ => Place::Apart,
        };
        self.added.insert(number);
        place
    }
}

/// Refuses a reader that has come further in a slice than its last record: it would never see those that are yet to
/// take the numbers which it passed.
pub(crate) fn reached(slice: Slice, behind: u64, last: u64) -> Result<(), StoreError> {
    if behind <= last {
        return Ok(());
    }
    Err(StoreError::Damaged(format!(
        "a reader has come to number {behind} of slice {}, which ends at {last}: the store has lost records, as an older \
         backup has, or a standby that lagged; bring them back, or let the reader begin anew",
        slice.0
    )))
}

/// How much an answer has taken of what it may hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room(usize);

impl Room {
    pub(crate) const fn is_full(self) -> bool {
        self.0 >= PAGE_BYTES
    }

    /// Takes so many bytes, unless it is full: the last ones may go beyond.
    pub(crate) const fn takes(&mut self, bytes: usize) -> bool {
        let takes = !self.is_full();
        if takes {
            self.0 += bytes;
        }
        takes
    }
}

/// How many bits of a position are the sequence number.
pub(crate) const SEQUENCE_BITS: u32 = 44;

/// A record's place among all: slice * 2^44 + sequence; `None` for a sequence number that is out of reach.
pub(crate) fn position(slice: Slice, sequence: u64) -> Option<i64> {
    let sequence = i64::try_from(sequence).ok().filter(|sequence| sequence >> SEQUENCE_BITS == 0)?;
    Some((i64::from(slice.0) << SEQUENCE_BITS) + sequence)
}

/// The slice and the sequence number of a position; `None` for one that Phoenix never writes.
pub(crate) fn place(position: i64) -> Option<(Slice, u64)> {
    let slice = u16::try_from(position >> SEQUENCE_BITS).ok().filter(|slice| *slice < SLICES)?;
    let sequence = u64::try_from(position & ((1 << SEQUENCE_BITS) - 1)).ok()?;
    Some((Slice(slice), sequence))
}

/// All slices with the number behind which a reader goes on, in the order in which it should take them. The first one
/// differs from position to position, so that a busy slice that fills every page starves no other; equal positions
/// have equal orders, so that a page can be read again.
pub(crate) fn reading_order(position: &Position) -> impl Iterator<Item = (Slice, u64)> {
    let Position(behind) = position;
    let sum = behind.values().fold(0_u64, |sum, n| sum.wrapping_add(*n));
    let Slice(first) = Slice::from_hash(xxh3_64(&sum.to_le_bytes()));
    (0..SLICES).map(move |i| {
        let slice = Slice((first + i) % SLICES);
        (slice, behind.get(&slice).copied().unwrap_or(0))
    })
}
