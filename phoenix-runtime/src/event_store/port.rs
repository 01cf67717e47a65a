//! What an event store promises.
//!
//! - A [`Batch`] is appended whole or not at all, and is durable when [`EventStore::append`] returns `Ok`.
//! - How many partitions there are is fixed once, for all owners.
//! - Every batch names the epoch of each partition that it touches; an epoch that is not the current one refuses it.
//! - (type, id, version) is unique; (type, id, dedup) is unique over events and outcomes together; (slice, sequence)
//!   is unique and each slice's sequence has no gap.
//! - The first version of a stream in a batch is the stream's last version plus one: v6 is refused on v4.
//! - What is appended never changes. Its bytes may move to the archive and back; its keys, versions and numbers stay.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::ready;
use std::sync::Arc;

use crate::domain::id::{AggregateId, Dedup, MessageId, Slice};
use crate::domain::outcome::Outcome;
use crate::domain::ports::BoxFuture;
use crate::event_store::letters::Letters;
use crate::event_store::rules::Room;

/// A group of slices that is owned as one: slice modulo the number of partitions, which is 1 to 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u16);

impl Partition {
    /// The partition of a slice, where there are so many: for everybody the same, for ever.
    #[must_use]
    pub const fn of(slice: Slice, count: u16) -> Self {
        // none is no number of partitions: then there is one
        Self(if count == 0 { 0 } else { slice.0 % count })
    }
}

/// How many partitions a store has that was made before it kept their number.
pub const EARLIER_PARTITIONS: u16 = 16;

/// Who owns a partition: raised by each new owner before its first read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// Slices that one batch may hold together: those of one database, where several share the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u16);

/// The codec of bytes that were moved to the archive; where they were is nothing then. No [`Codec`] has it.
///
/// [`Codec`]: crate::domain::codec::Codec
pub const ARCHIVED: u8 = 0;

/// How many bytes of events an answer holds before it ends, whatever was asked for: one more event may go beyond, and
/// so may snapshots, which are counted on their own, and the answer of a second database. A node that brings many aggregates into memory at once holds no
/// more than this many bytes for each question, however large they are.
pub const PAGE_BYTES: usize = 8 << 20;

/// What an event counts besides its own bytes and those of its command's outcome.
const ROW_BYTES: usize = 256;

/// More events than this are in no answer.
pub(crate) const MOST_ROWS: usize = PAGE_BYTES / ROW_BYTES;

/// The name of an aggregate in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The aggregate's wire name.
    pub aggregate: Arc<str>,
    /// Which one.
    pub id: AggregateId,
}

impl StreamId {
    /// Its slice.
    #[must_use]
    pub fn slice(&self) -> Slice {
        Slice::of(&self.aggregate, self.id.as_str())
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate, self.id)
    }
}

/// What is appended at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The partitions that the batch touches, each with the epoch under which its owner decided. A batch without
    /// records asks whether these epochs are still current.
    pub epochs: Vec<(Partition, Epoch)>,
    /// In the order in which they were decided.
    pub records: Vec<Record>,
}

impl Record {
    /// What it counts in an answer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        counted(self.event.as_ref(), self.command.as_deref())
    }
}

fn counted(event: Option<&EventData>, command: Option<&CommandData>) -> usize {
    row_bytes(event.map_or(0, |event| event.payload.len()), command.map_or(0, |command| command.outcome.body.len()))
}

/// What a row counts in an answer.
pub(crate) const fn row_bytes(payload: usize, outcome: usize) -> usize {
    ROW_BYTES + payload + outcome
}

/// One row: an event, or the outcome of a command without events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub stream: StreamId,
    /// Its slice.
    pub slice: Slice,
    /// Its number within the slice: the last one plus one, given by the owner.
    pub sequence: u64,
    /// When it was decided, in microseconds since the Unix epoch.
    pub time_micros: i64,
    /// The event; `None` for the outcome of a command without events.
    pub event: Option<EventData>,
    /// The command, on the first record of each.
    pub command: Option<Box<CommandData>>,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventData {
    /// The stream's version with this event; 1 for the first.
    pub version: u64,
    /// The event's wire name.
    pub name: Arc<str>,
    /// The version of its fields.
    pub schema_version: u32,
    /// The codec of `payload`.
    pub codec: u8,
    /// The event.
    pub payload: Vec<u8>,
}

/// A command as it is stored with its first event, or with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandData {
    /// The message's own id.
    pub id: MessageId,
    /// What makes another command a repeat of it.
    pub dedup: Dedup,
    /// The command's wire name.
    pub name: Arc<str>,
    /// The caller's key, if there was one.
    pub key: Option<String>,
    /// `xxh3_64` of the command's canonical bytes.
    pub payload_hash: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Names the conversation, where its caller did.
    pub correlation_id: Option<String>,
    /// What caused it, where its caller said so.
    pub causation_id: Option<String>,
}

/// Why a store did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A partition has another owner. Nothing was stored.
    #[error("partition {} is owned under epoch {}, this owner has {}", partition.0, current.0, given.0)]
    Fenced {
        /// Which partition.
        partition: Partition,
        /// The epoch in the store.
        current: Epoch,
        /// The epoch that was given.
        given: Epoch,
    },
    /// Rows that are there already, or a stream that is not where the batch thinks. Nothing was stored.
    #[error("{} of the batch's rows are in conflict with the store, the first: {}", .0.len(), DisplayFirst(.0))]
    Conflict(Vec<Conflict>),
    /// These slices are in another lane now: ask for their lanes again. Nothing was stored.
    #[error("{} of the batch's slices have moved to another database, the first: {}", .0.len(), .0.first().map_or(0, |slice| slice.0))]
    Moved(Vec<Slice>),
    /// The store can't take this one record, ever. Nothing was stored.
    #[error("the store refuses record {index} of the batch: {reason}")]
    Refused {
        /// Its place in the batch.
        index: usize,
        /// Why.
        reason: String,
    },
    /// Certainly not done; may work later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Perhaps done, perhaps not: the answer was lost.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// What is stored is not what Phoenix wrote: needs a person.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

struct DisplayFirst<'a>(&'a [Conflict]);
impl fmt::Display for DisplayFirst<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.first() {
            Some(conflict) => write!(f, "record {}, {:?}", conflict.index, conflict.kind),
            None => f.write_str("none named"),
        }
    }
}

/// One row of a batch that the store can't take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// Its place in the batch.
    pub index: usize,
    /// What is wrong.
    pub kind: ConflictKind,
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConflictKind {
    /// The stream has this version already.
    Version,
    /// The stream's last version is not this one minus one.
    Predecessor,
    /// A record of this stream has the same [`Dedup`].
    Key,
    /// The slice has this sequence number already, or not the one before it.
    Sequence,
}

/// A stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Whose it is.
    pub stream: StreamId,
    /// Its slice.
    pub slice: Slice,
    /// Its number within the slice.
    pub sequence: u64,
    /// When it was decided, in microseconds since the Unix epoch.
    pub time_micros: i64,
    /// The event itself.
    pub event: EventData,
    /// The command, on the first event of each.
    pub command: Option<Box<CommandData>>,
}

impl StoredEvent {
    /// Whether its bytes, and those of its command's outcome, are in an archive.
    #[must_use]
    pub const fn is_archived(&self) -> bool {
        self.event.codec == ARCHIVED
    }

    /// What it counts in an answer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        counted(Some(&self.event), self.command.as_deref())
    }
}

/// Whether these events of one stream fill an answer: then there may be more, although they are fewer than were asked for.
#[must_use]
pub fn fills_page(events: &[StoredEvent]) -> bool {
    events.iter().map(StoredEvent::bytes).sum::<usize>() >= PAGE_BYTES
}

/// A stored outcome, as a repeat finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOutcome {
    /// The command, its outcome included.
    pub command: CommandData,
    /// The version of its first event; `None` where it had no events.
    pub first_version: Option<u64>,
    /// The slice's sequence number of its first record.
    pub sequence: u64,
}

impl StoredOutcome {
    /// Whether its reply is in an archive, with the event of its first version.
    #[must_use]
    pub const fn is_archived(&self) -> bool {
        self.first_version.is_some() && self.command.outcome.codec == ARCHIVED
    }
}

/// A stored snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose it is.
    pub stream: StreamId,
    /// The version that it holds.
    pub version: u64,
    /// The time of the event that made this version, in microseconds since the Unix epoch.
    pub time_micros: i64,
    /// The state's layout and logic when it was taken.
    pub fingerprint: u64,
    /// The codec of `payload`.
    pub codec: u8,
    /// The state.
    pub payload: Vec<u8>,
}

impl Snapshot {
    /// What is known of it without its state.
    #[must_use]
    pub const fn info(&self) -> SnapshotInfo {
        let Self { version, time_micros, fingerprint, .. } = *self;
        SnapshotInfo { version, time_micros, fingerprint, bytes: self.payload.len() as u64 }
    }
}

/// A stored snapshot without its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The version that it holds.
    pub version: u64,
    /// The time of the event that made this version, in microseconds since the Unix epoch.
    pub time_micros: i64,
    /// The state's layout and logic when it was taken.
    pub fingerprint: u64,
    /// The size of the state, in bytes.
    pub bytes: u64,
}

/// What is asked for to bring an aggregate into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Which one.
    pub stream: StreamId,
    /// The layout and logic that a snapshot must have to be of use; `None` to do without.
    pub fingerprint: Option<u64>,
    /// The most keys, as for [`EventStore::known_keys`]. Where a snapshot is found none are looked up.
    pub keys: usize,
    /// The most events.
    pub events: usize,
}

/// An aggregate as the store has it, as far as one answer takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The newest snapshot with the fingerprint that was asked for.
    pub snapshot: Option<Snapshot>,
    /// From the snapshot's own event on, or from version 1; [`EventStore::read_stream`] goes on where they end.
    pub events: Vec<StoredEvent>,
    /// Its keys. None of them, and not complete, where there is a snapshot: whoever takes a snapshot has more keys than
    /// are remembered sooner or later, and looking them up costs more than everything else of an activation.
    pub keys: KnownKeys,
    /// Whether the answer had no room for all events that were asked for. Where there are some, the others are behind
    /// them; where there are none, nothing of it was read, and it is to be loaded again.
    pub cut: bool,
}

impl Loaded {
    /// An aggregate for which an answer had no room.
    #[must_use]
    pub fn left_out() -> Self {
        Self { snapshot: None, events: Vec::new(), keys: KnownKeys::default(), cut: true }
    }

    /// Whether nothing of it was read.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        self.cut && self.events.is_empty()
    }

    /// What it counts in an answer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let snapshot = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.payload.len());
        snapshot + self.events.iter().map(StoredEvent::bytes).sum::<usize>()
    }
}

/// What is known of an aggregate's idempotency keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownKeys {
    /// [`Dedup::short`] of stored keys, oldest first as far as the store knows.
    pub keys: Vec<u64>,
    /// Whether these are all: then a key that is not among them is new.
    pub complete: bool,
}

/// How far a reader of all events has come, a number a slice. Opaque to users: keep it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position(pub BTreeMap<Slice, u64>);

/// An event store: see the module's promises.
///
/// # Cancel safety
/// Dropping the future of [`EventStore::append`] leaves its outcome unknown; dropping any other has no effect.
pub trait EventStore: Send + Sync + fmt::Debug + 'static {
    /// A name for logs, with the durability that it gives, for example `sqlite (wal, synchronous=full)`.
    fn name(&self) -> String;

    /// Whether what was acknowledged survives the process and the machine's power.
    fn is_durable(&self) -> bool;

    /// How many partitions there are: the first caller fixes it, durably, and all others are told what it is. Two numbers
    /// would let two nodes own one aggregate. A store whose partitions were acquired before anybody fixed it has
    /// [`EARLIER_PARTITIONS`], as earlier releases did. A number that is not 1 to 1024 is refused.
    fn partitions(&self, wanted: u16) -> BoxFuture<'_, Result<u16, StoreError>>;

    /// Takes ownership of the partitions: raises each epoch by one, durably, and returns the new ones.
    /// Whoever had them before can append no more.
    fn acquire(&self, partitions: Vec<Partition>) -> BoxFuture<'_, Result<Vec<(Partition, Epoch)>, StoreError>>;

    /// Appends a batch whole or not at all. All conflicts of a batch are told at once.
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Appends a batch of one lane. Its records name their slices; a batch without records has none, and asks this lane
    /// whether its epochs are still current. A store of one lane has nothing to add to [`EventStore::append`].
    fn append_in(&self, _lane: Lane, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.append(batch)
    }

    /// How many lanes there are; a number that never changes while the store is open.
    fn lanes(&self) -> u16 {
        1
    }

    /// The lane of a slice, below [`EventStore::lanes`]. It changes when the slice moves to another database: then an
    /// append of it in the old lane is refused as [`StoreError::Moved`].
    fn lane(&self, _slice: Slice) -> Lane {
        Lane(0)
    }

    /// The last sequence number of each of these slices; 0 where there is none.
    fn last_sequences(&self, slices: Vec<Slice>) -> BoxFuture<'_, Result<BTreeMap<Slice, u64>, StoreError>>;

    /// At most `limit` events of a stream, from version `from` on, in order. They are fewer only at the end of the stream,
    /// or where they fill an answer: see [`fills_page`].
    fn read_stream(
        &self,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>>;

    /// At most `limit` events that come after `position`, in the order of each slice, and the position behind them. An
    /// answer has [`PAGE_BYTES`] at most, and one event more; there is none only where there are no more events.
    /// Never skips one that commits late. Outcomes without events are passed over. A position ahead of the end of a
    /// slice is [`StoreError::Damaged`]: the store has lost what its reader has read.
    fn read_all(
        &self,
        position: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<(Vec<StoredEvent>, Position), StoreError>>;

    /// The stored outcomes of these commands, in their order; `None` where there is none.
    fn outcomes(
        &self,
        commands: Vec<(StreamId, Dedup)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredOutcome>>, StoreError>>;

    /// All keys of a stream if they are at most `limit`; otherwise some of them, and `complete` is false.
    fn known_keys(&self, stream: StreamId, limit: usize) -> BoxFuture<'_, Result<KnownKeys, StoreError>>;

    /// Keeps a snapshot; one of the same version is replaced. Its version must be durable in the stream.
    fn put_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The newest snapshot at or below `at_most`.
    fn snapshot(&self, stream: StreamId, at_most: u64) -> BoxFuture<'_, Result<Option<Snapshot>, StoreError>>;

    /// Reads what aggregates need to come into memory, many at once, in the order of the questions. An answer has
    /// [`PAGE_BYTES`] of events and as many of snapshots, and one more of each; those for which there is no room are
    /// [`Loaded::cut`], but never all of them.
    fn load(&self, loads: Vec<Load>) -> BoxFuture<'_, Result<Vec<Loaded>, StoreError>> {
        Box::pin(one_by_one(self, loads))
    }

    /// The snapshots of a stream, newest first.
    fn snapshots(&self, stream: StreamId) -> BoxFuture<'_, Result<Vec<SnapshotInfo>, StoreError>>;

    /// Removes the snapshots of a stream below a version, and says how many there were.
    fn drop_snapshots(&self, stream: StreamId, below: u64) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Forgets the bytes of a stream's events up to a version, and of their commands' outcomes: they have [`ARCHIVED`]
    /// for a codec from then on. Everything else of them stays. Says how many events it were; one that is stripped
    /// already is not counted. Whoever asks for this has them in an archive.
    ///
    /// What is stripped of a stream is its beginning: a store need not look below the newest stripped event.
    fn strip(&self, stream: StreamId, up_to: u64) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Gives stripped events of one stream their bytes back. An event that is not stripped stays as it is; one that is
    /// not there, or is another one, or has no bytes itself, refuses all of them as [`StoreError::Damaged`]. Whoever
    /// gives a stream back in several calls begins with the newest events, so that a beginning stays stripped.
    fn refill(&self, events: Vec<StoredEvent>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Says that a stream's events below version `from` are not needed to bring it into memory: from the oldest snapshot
    /// that stays on, events are at hand. Does nothing, unless there is an archive, which then takes what is below.
    /// Safe to ask again, and to be cut short.
    fn retain(&self, _stream: StreamId, _from: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }

    /// The names under which events of a type are stored: what its event handlers must be able to read.
    fn event_names(&self, aggregate: Arc<str>) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>>;

    /// Ids of aggregates of a type in their order, after `after`, at most `limit`.
    fn ids(
        &self,
        aggregate: Arc<str>,
        after: Option<AggregateId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AggregateId>, StoreError>>;

    /// The inbox and the dead letters beside the events; `None` for a store that keeps nothing.
    fn letters(&self) -> Option<&dyn Letters>;
}

/// Answers a load by the single questions that it stands for.
pub(crate) async fn one_by_one<S: EventStore + ?Sized>(store: &S, loads: Vec<Load>) -> Result<Vec<Loaded>, StoreError> {
    let mut all = Vec::with_capacity(loads.len());
    let mut room = Room::default();
    for Load { stream, fingerprint, keys, events } in loads {
        if room.is_full() {
            all.push(Loaded::left_out());
            continue;
        }
        let mut snapshot = None;
        if let Some(wanted) = fingerprint {
            let mut at_most = u64::MAX;
            while let Some(found) = store.snapshot(stream.clone(), at_most).await? {
                if found.fingerprint == wanted {
                    snapshot = Some(found);
                    break;
                }
                let Some(below) = found.version.checked_sub(1) else { break };
                at_most = below;
            }
        }
        let keys = match snapshot {
            Some(_) => KnownKeys::default(),
            None => store.known_keys(stream.clone(), keys).await?,
        };
        let from = snapshot.as_ref().map_or(1, |snapshot| snapshot.version.max(1));
        let events = store.read_stream(stream, from, events).await?;
        let loaded = Loaded { cut: fills_page(&events), snapshot, events, keys };
        room.takes(loaded.bytes());
        all.push(loaded);
    }
    Ok(all)
}
