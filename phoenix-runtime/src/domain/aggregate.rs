//! The aggregate, its options, and the table of its handlers by name.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::codec::{Codec, CodecError, Json, decode_stored};
use crate::domain::context::Needs;
use crate::domain::message::Lineage;
use crate::domain::pending::{ByName, ByNameQuery, Pending, PendingQuestion};
use crate::domain::schema::{Schema, Type};

/// How many `#[event_sourced]` blocks an aggregate may have.
pub const MAX_PARTS: usize = 16;

/// The state of one business object, and how it decides. Implemented by `#[aggregate]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an aggregate",
    label = "not an aggregate",
    note = "put `#[aggregate(name = \"...\")]` on the struct `{Self}`"
)]
pub trait Aggregate: Default + Schema + Send + Sync + 'static {
    /// Its wire name: stored with every event, it never changes.
    const NAME: &'static str;
    /// What `#[aggregate(...)]` says.
    const OPTIONS: Options;
    /// How events, replies and snapshots are encoded.
    type Codec: Codec;
    /// Whether and how snapshots are taken.
    type Snapshots: SnapshotOf<Self>;
    /// One entry for each block number.
    const PARTS: &'static [Option<&'static Part<Self>>];
}

/// The options of `#[aggregate]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A snapshot every so many events; `None` for never.
    pub snapshot_every: Option<u64>,
    /// A snapshot also after so many bytes of events; `None` for however many. Nothing where snapshots are off.
    pub snapshot_bytes: Option<u64>,
    /// How many of the newest snapshots stay, at least 1.
    pub snapshots_kept: u32,
    /// Whether events below the oldest snapshot that stays move to the node's archive.
    pub archive: bool,
    /// How many idempotency keys an aggregate remembers in memory. The store remembers all.
    pub idempotency_window: u32,
    /// After how long without a message it leaves memory; `None` for never.
    pub passivate_after: Option<Duration>,
    /// How many aggregates of this type a node keeps in memory; `None` for no limit.
    pub max_resident: Option<u32>,
    /// Raised by hand when handlers compute another state from the same events: older snapshots are then ignored.
    pub logic_version: u32,
}

impl Options {
    /// What holds where nothing is said.
    pub const DEFAULT: Self = Self {
        snapshot_every: Some(1000),
        snapshot_bytes: None,
        snapshots_kept: 2,
        archive: false,
        idempotency_window: 100,
        passivate_after: None,
        max_resident: None,
        logic_version: 1,
    };
}

/// What one `#[event_sourced]` block contributes.
pub struct Part<A: 'static> {
    /// Source file and line.
    pub place: &'static str,
    /// Its command handlers.
    pub commands: &'static [CommandEntry],
    /// Its event handlers.
    pub events: &'static [EventEntry<A>],
    /// Its query handlers.
    pub queries: &'static [QueryEntry],
}

/// What a command handler is, besides its code.
#[derive(Debug)]
pub struct CommandFacts {
    /// The command's wire name.
    pub name: &'static str,
    /// Hash of `name`.
    pub hash: u64,
    /// The aggregate that the message names.
    pub declared: Option<&'static str>,
    /// The aggregate of the handler.
    pub of: &'static str,
    /// The message's Rust name as it stands in the handler.
    pub rust: &'static str,
    /// Whether it may create an aggregate.
    pub creates: bool,
    /// Whether the handler is `async`.
    pub asynchronous: bool,
    /// The resources that it uses.
    pub needs: &'static [Needs],
}

/// A command handler by name.
pub struct CommandEntry {
    /// What it is.
    pub facts: CommandFacts,
    /// Reads a command from JSON.
    pub read: fn(&[u8], ByName) -> Result<Box<dyn Pending>, (CodecError, ByName)>,
    /// The command's fields.
    pub schema: fn() -> Type,
    /// The reply's fields.
    pub reply: fn() -> Type,
    /// The rejection's fields.
    pub rejection: fn() -> Type,
}

/// An event handler by name.
pub struct EventEntry<A> {
    /// The event's wire name.
    pub name: &'static str,
    /// Hash of `name`.
    pub hash: u64,
    /// The version of its fields.
    pub version: u32,
    /// Earlier names and versions.
    pub previous: Option<&'static Lineage>,
    /// The event's Rust name as it stands in the handler.
    pub rust: &'static str,
    /// Reads a stored event (name, version, codec, bytes) and applies it.
    pub apply: fn(&mut A, &str, u32, u8, &[u8]) -> Result<(), CodecError>,
    /// Reads a stored event and writes it again in today's form, as JSON.
    pub upcast: fn(&str, u32, u8, &[u8]) -> Result<Vec<u8>, CodecError>,
    /// The event's fields.
    pub schema: fn() -> Type,
}

/// A query handler by name.
pub struct QueryEntry {
    /// The query's wire name.
    pub name: &'static str,
    /// Hash of `name`.
    pub hash: u64,
    /// The aggregate that the message names.
    pub declared: Option<&'static str>,
    /// The aggregate of the handler.
    pub of: &'static str,
    /// The message's Rust name as it stands in the handler.
    pub rust: &'static str,
    /// Reads a query from JSON.
    pub read: fn(&[u8], ByNameQuery) -> Result<Box<dyn PendingQuestion>, (CodecError, ByNameQuery)>,
    /// The query's fields.
    pub schema: fn() -> Type,
    /// The reply's fields.
    pub reply: fn() -> Type,
}

const NOTHING: CodecError = CodecError::UnknownCodec { of: "", id: 0 };

impl CommandEntry {
    /// For a message that is no command.
    pub const UNKNOWN: Self = Self {
        facts: CommandFacts {
            name: "",
            hash: 0,
            declared: None,
            of: "",
            rust: "",
            creates: false,
            asynchronous: false,
            needs: &[],
        },
        read: |_, caller| Err((NOTHING, caller)),
        schema: || Type::Never,
        reply: || Type::Never,
        rejection: || Type::Never,
    };
}

impl<A> EventEntry<A> {
    /// For a message that is no event.
    pub const UNKNOWN: Self = Self {
        name: "",
        hash: 0,
        version: 0,
        previous: None,
        rust: "",
        apply: |_, _, _, _, _| Err(NOTHING),
        upcast: |_, _, _, _| Err(NOTHING),
        schema: || Type::Never,
    };
}

impl QueryEntry {
    /// For a message that is no query.
    pub const UNKNOWN: Self = Self {
        name: "",
        hash: 0,
        declared: None,
        of: "",
        rust: "",
        read: |_, caller| Err((NOTHING, caller)),
        schema: || Type::Never,
        reply: || Type::Never,
    };
}

/// A block's claim of one number.
pub trait GiveEachBlockItsOwnPart<const NUMBER: usize>: Sized + 'static {
    /// The aggregate's codec.
    type Codec;
    /// What the block contributes.
    const PART: &'static Part<Self>;
}

/// Finds out at compile time whether `A` has a block of this number: the inherent constant, which exists only if it
/// has, goes before the trait's.
#[derive(Debug)]
pub struct Probe<A, const NUMBER: usize>(PhantomData<A>);

/// What [`Probe`] finds where there is no block.
pub trait NoPart<A: 'static> {
    /// Nothing.
    const FOUND: Option<&'static Part<A>> = None;
}
impl<A: 'static, const NUMBER: usize> NoPart<A> for Probe<A, NUMBER> {}
impl<A: GiveEachBlockItsOwnPart<NUMBER>, const NUMBER: usize> Probe<A, NUMBER> {
    /// The block.
    pub const FOUND: Option<&'static Part<A>> = Some(A::PART);
}

/// The blocks of an aggregate, and its name.
pub struct Table<A: 'static> {
    /// Its wire name.
    pub name: &'static str,
    /// One entry for each block number; none where there is no aggregate.
    pub parts: &'static [Option<&'static Part<A>>],
}

/// The [`Table`] of `A`: the inherent constant, which exists only if `A` is an aggregate, goes before the trait's.
#[derive(Debug)]
pub struct TableOf<A>(PhantomData<A>);

/// What [`TableOf`] finds where there is no aggregate.
pub trait NoTable<A: 'static> {
    /// Nothing.
    const TABLE: &'static Table<A> = &Table { name: "", parts: &[] };
}
impl<A: 'static> NoTable<A> for TableOf<A> {}
impl<A: Aggregate> TableOf<A> {
    /// The blocks.
    pub const TABLE: &'static Table<A> = &Table { name: A::NAME, parts: A::PARTS };
}

/// How the state of `A` becomes a snapshot.
#[diagnostic::on_unimplemented(
    message = "snapshots of `{A}` are on, but its state can't be serialized",
    label = "add `Serialize, Deserialize` to the derives of `{A}`",
    note = "or turn snapshots off: `#[aggregate(snapshot_every = never)]`"
)]
pub trait SnapshotOf<A: Aggregate> {
    /// The state's bytes, `None` where snapshots are off.
    ///
    /// # Errors
    /// A state that its serializer refuses.
    fn take(state: &A) -> Result<Option<Vec<u8>>, CodecError>;

    /// The state as JSON, for people, `None` where snapshots are off.
    ///
    /// # Errors
    /// A state that its serializer refuses.
    fn show(state: &A) -> Result<Option<Vec<u8>>, CodecError>;

    /// The state from its bytes, `None` where snapshots are off.
    ///
    /// # Errors
    /// Bytes that are no state of this type.
    fn restore(codec: u8, bytes: &[u8]) -> Result<Option<A>, CodecError>;
}

/// Snapshots are taken.
#[derive(Debug)]
pub struct On;
/// Snapshots are never taken.
#[derive(Debug)]
pub struct Off;

impl<A: Aggregate> SnapshotOf<A> for Off {
    fn take(_: &A) -> Result<Option<Vec<u8>>, CodecError> {
        Ok(None)
    }
    fn show(_: &A) -> Result<Option<Vec<u8>>, CodecError> {
        Ok(None)
    }
    fn restore(_: u8, _: &[u8]) -> Result<Option<A>, CodecError> {
        Ok(None)
    }
}

#[diagnostic::do_not_recommend]
impl<A: Aggregate + Serialize + DeserializeOwned> SnapshotOf<A> for On {
    fn take(state: &A) -> Result<Option<Vec<u8>>, CodecError> {
        let mut bytes = Vec::with_capacity(256);
        A::Codec::encode(state, &mut bytes)?;
        Ok(Some(bytes))
    }
    fn show(state: &A) -> Result<Option<Vec<u8>>, CodecError> {
        let mut json = Vec::with_capacity(256);
        Json::encode(state, &mut json)?;
        Ok(Some(json))
    }
    fn restore(codec: u8, bytes: &[u8]) -> Result<Option<A>, CodecError> {
        decode_stored::<A::Codec, A>(codec, bytes).map(Some)
    }
}

/// The event handler that reads events stored under `name`.
#[must_use]
pub fn event_entry<A: Aggregate>(name: &str) -> Option<&'static EventEntry<A>> {
    let all = || A::PARTS.iter().flatten().flat_map(|part| part.events);
    all().find(|e| e.name == name).or_else(|| {
        all()
            .find(|e| std::iter::successors(e.previous, |earlier| earlier.previous).any(|earlier| earlier.name == name))
    })
}
