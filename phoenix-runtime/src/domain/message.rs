//! Commands, queries, events: what is sent and what is stored.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::codec::{Codec, CodecError, decode_stored};
use crate::domain::id::{AggregateId, InvalidId};
use crate::domain::schema::{Schema, Type};

/// Something that an aggregate is asked to do. Derived: `#[derive(Command)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    label = "not a command",
    note = "derive it: `#[derive(Command, Serialize, Deserialize)] #[command(id = <field>)]`"
)]
pub trait Command: Serialize + DeserializeOwned + Schema + Send + 'static {
    /// Its name on the wire.
    const NAME: &'static str;
    /// The wire name of its aggregate, where the message says it.
    const AGGREGATE: Option<&'static str>;
    /// What its caller gets.
    type Reply: Data;
    /// How it is refused.
    type Rejection: Rejection;

    /// Which aggregate it is for.
    ///
    /// # Errors
    /// Fields that make no id: empty, or too long.
    fn aggregate_id(&self) -> Result<AggregateId, InvalidId>;

    /// The key that the command carries in its own fields (`idempotent_by`).
    fn business_key(&self) -> Option<String> {
        None
    }
}

/// Something that an aggregate is asked to tell. Derived: `#[derive(Query)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a query",
    label = "not a query",
    note = "derive it: `#[derive(Query, Serialize, Deserialize)] #[query(id = <field>, reply = <type>)]`"
)]
pub trait Query: Serialize + DeserializeOwned + Schema + Send + 'static {
    /// Its name on the wire.
    const NAME: &'static str;
    /// The wire name of its aggregate, where the message says it.
    const AGGREGATE: Option<&'static str>;
    /// What its caller gets.
    type Reply: Data;

    /// Which aggregate it is for.
    ///
    /// # Errors
    /// Fields that make no id: empty, or too long.
    fn aggregate_id(&self) -> Result<AggregateId, InvalidId>;
}

/// A message that says to which aggregate it goes (`aggregate = "..."` in its derive options).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which aggregate it is for",
    label = "add `aggregate = \"...\"` to its derive options, or name the aggregate here: `client.of::<A>()`"
)]
pub trait Addressed {}

/// Something that happened to an aggregate. Derived: `#[derive(Event)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "derive it: `#[derive(Event, Serialize, Deserialize)] #[event(name = \"...\")]`"
)]
pub trait Event: Serialize + DeserializeOwned + Schema + Send + 'static {
    /// Its name in the store.
    const NAME: &'static str;
    /// The version of its fields.
    const VERSION: u32;
    /// The names and versions that it was stored under before (`upcast_from`).
    const PREVIOUS: Option<&'static Lineage> = None;

    /// Reads what was stored under `name` in `version`, upcasting where it must.
    ///
    /// # Errors
    /// Bytes that do not fit, and a version from the future or without a way up.
    fn read<C: Codec>(name: &str, version: u32, codec: u8, bytes: &[u8]) -> Result<Self, CodecError> {
        if version == Self::VERSION && name == Self::NAME {
            decode_stored::<C, Self>(codec, bytes)
        } else {
            Err(unknown_version::<Self>(name, version))
        }
    }
}

/// The error of a version that an event type can't read.
#[must_use]
pub fn unknown_version<E: Event>(name: &str, found: u32) -> CodecError {
    let remedy = if found > E::VERSION {
        "a newer service wrote it: deploy that version here as well"
    } else {
        "give the event `upcast_from = <the older type>`"
    };
    CodecError::UnknownVersion { name: name.to_owned(), found, known: E::VERSION, remedy }
}

/// [`Event::read`] of an event that is upcast from `Old`: its own form is decoded, an older one is read by `Old`.
///
/// # Errors
/// As [`Event::read`].
pub fn read_upcast<E: Event, Old: Upcast<E>, C: Codec>(
    name: &str,
    version: u32,
    codec: u8,
    bytes: &[u8],
) -> Result<E, CodecError> {
    if version == E::VERSION && name == E::NAME {
        return decode_stored::<C, E>(codec, bytes);
    }
    let is_older = version <= Old::VERSION && name == Old::NAME
        || std::iter::successors(Old::PREVIOUS, |earlier| earlier.previous)
            .any(|earlier| version <= earlier.version && name == earlier.name);
    if !is_older {
        return Err(unknown_version::<E>(name, version));
    }
    match Old::read::<C>(name, version, codec, bytes) {
        Ok(old) => Ok(old.into()),
        // said about the form that the caller asked for
        Err(CodecError::UnknownVersion { .. }) => Err(unknown_version::<E>(name, version)),
        Err(error) => Err(error),
    }
}

/// An older form of the event `E`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be upcast to `{E}`",
    label = "no older form of `{E}`",
    note = "it is an event, `#[derive(Event)]`, that `{E}` is made from: `impl From<{Self}> for {E}`"
)]
pub trait Upcast<E>: Event + Into<E> {}
#[diagnostic::do_not_recommend]
impl<E, Old: Event + Into<E>> Upcast<E> for Old {}

/// An earlier form of an event.
#[derive(Debug, Clone, Copy)]
pub struct Lineage {
    /// Its name in the store.
    pub name: &'static str,
    /// The version of its fields.
    pub version: u32,
    /// The form before that.
    pub previous: Option<&'static Lineage>,
}

/// A reply, or anything else that is sent and stored.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be sent or stored",
    label = "needs `Serialize`, `Deserialize` and `Schema`",
    note = "derive them: `#[derive(Serialize, Deserialize, Schema)]`"
)]
pub trait Data: Serialize + DeserializeOwned + Schema + Send + 'static {}
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Schema + Send + 'static> Data for T {}

/// How commands are refused: a business "no", typed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a rejection",
    label = "needs `Debug`, `Serialize`, `Deserialize` and `Schema`",
    note = "derive them: `#[derive(Debug, Serialize, Deserialize, Schema)]`"
)]
pub trait Rejection: Data + Debug {}
#[diagnostic::do_not_recommend]
impl<T: Data + Debug> Rejection for T {}

/// The rejection of a command that is never refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum Never {}

impl Schema for Never {
    fn schema() -> Type {
        Type::Never
    }
}
