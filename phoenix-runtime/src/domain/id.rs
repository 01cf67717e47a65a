//! Identity: which aggregate, which slice, which message.

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

/// How many slices the space of aggregates is cut into. A stored number: it never changes.
pub const SLICES: u16 = 1024;

/// The longest id of an aggregate, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 255;

/// The longest idempotency key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 255;

/// The id of one aggregate among those of its type: 1 to 255 bytes of UTF-8, cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AggregateId(Arc<str>);

/// Why a text can't be the id of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The id has no character.
    #[error("an aggregate id can't be empty")]
    Empty,
    /// The id is longer than [`MAX_ID_BYTES`].
    #[error("an aggregate id has at most {MAX_ID_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The id has a NUL character, which not every database can hold.
    #[error("an aggregate id can't have a NUL character")]
    Nul,
}

impl AggregateId {
    /// Checks and takes an id.
    ///
    /// # Errors
    /// An empty or too long text is refused, and one with a NUL character.
    pub fn new(id: impl AsRef<str>) -> Result<Self, InvalidId> {
        let id = id.as_ref();
        match id.len() {
            0 => Err(InvalidId::Empty),
            n if n > MAX_ID_BYTES => Err(InvalidId::TooLong(n)),
            _ if id.contains('\0') => Err(InvalidId::Nul),
            _ => Ok(Self(id.into())),
        }
    }

    /// The id as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id made of one field.
    ///
    /// # Errors
    /// An empty or too long text is refused.
    pub fn from_field(field: &dyn Display) -> Result<Self, InvalidId> {
        let mut text = Short { bytes: [0; MAX_ID_BYTES], length: 0 };
        // what does not fit, or fails, is told by the longer way
        match write!(text, "{field}").ok().and_then(|()| std::str::from_utf8(text.bytes.get(..text.length)?).ok()) {
            Some(text) => Self::new(text),
            None => Self::new(field.to_string()),
        }
    }

    /// The id made of several fields: each length-prefixed, so that `("a", "bc")` and `("ab", "c")` differ.
    ///
    /// # Errors
    /// A joined id that is too long is refused, and so is one of no fields at all.
    pub fn from_fields(fields: &[&dyn Display]) -> Result<Self, InvalidId> {
        Self::new(join(fields))
    }
}

/// A text as long as an id may be: most ids need no memory of their own but the last.
struct Short {
    bytes: [u8; MAX_ID_BYTES],
    length: usize,
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Several fields as one text: each as `length:value`, the length in bytes.
#[must_use]
pub fn join(fields: &[&dyn Display]) -> String {
    let mut joined = String::new();
    for field in fields {
        let value = field.to_string();
        // writing to a String can't fail
        let _ = write!(joined, "{}:{value}", value.len());
    }
    joined
}

impl Display for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// One of [`SLICES`] parts of the space of aggregates: the unit of placement and of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slice(pub u16);

impl Slice {
    /// The slice of an aggregate: `xxh3_64(type, 0, id) mod 1024`. Stored data rests on it: it never changes.
    #[must_use]
    pub fn of(aggregate_type: &str, id: &str) -> Self {
        Self::from_hash(identity_hash(aggregate_type, id))
    }

    /// The slice of an [`identity_hash`].
    #[must_use]
    pub const fn from_hash(hash: u64) -> Self {
        // the remainder of 1024 fits
        #[allow(clippy::cast_possible_truncation, reason = "less than 1024")]
        Self((hash % SLICES as u64) as u16)
    }
}

/// `xxh3_64(type, 0, id)`.
#[must_use]
pub fn identity_hash(aggregate_type: &str, id: &str) -> u64 {
    let (t, i) = (aggregate_type.as_bytes(), id.as_bytes());
    let mut buffer = [0_u8; 384];
    let all = t.len() + 1 + i.len();
    if let Some(bytes) = buffer.get_mut(..all) {
        bytes[..t.len()].copy_from_slice(t);
        bytes[t.len() + 1..].copy_from_slice(i);
        return xxh3_64(bytes);
    }
    let mut hasher = Xxh3::new();
    hasher.update(t);
    hasher.update(&[0]);
    hasher.update(i);
    hasher.digest()
}

/// The id of a message: a UUID version 7.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub uuid::Uuid);

impl MessageId {
    /// An id of this moment.
    #[must_use]
    pub fn generate(unix_millis: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid())
    }
}

impl Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// What makes a command a repeat of another, among the commands of one aggregate: 16 bytes, unique with type and id.
///
/// A caller's key is hashed together with the wire name that scopes it; whoever finds two equal ones compares the
/// stored name and key, because a hash can be made to collide. A command without a caller's key has its own id here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dedup(pub [u8; 16]);

impl Dedup {
    /// Of a key that the caller gave, scoped by the command's wire name.
    #[must_use]
    pub fn of_key(command: &str, key: &str) -> Self {
        let mut bytes = Vec::with_capacity(command.len() + 1 + key.len());
        bytes.extend_from_slice(command.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(key.as_bytes());
        Self(xxh3_128(&bytes).to_be_bytes())
    }

    /// Of a command that nobody repeats.
    #[must_use]
    pub fn of_id(id: MessageId) -> Self {
        Self(id.0.into_bytes())
    }

    /// Eight bytes that stand for this key where a false match costs a question and no more.
    #[must_use]
    pub fn short(&self) -> u64 {
        let whole = u128::from_le_bytes(self.0);
        // a time-ordered id has its randomness in the second half
        #[allow(clippy::cast_possible_truncation, reason = "the two halves, folded")]
        let folded = (whole ^ (whole >> 64)) as u64;
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_fields_do_not_run_into_each_other() {
        assert_eq!(join(&[&"a", &"bc"]), "1:a2:bc");
        assert_ne!(join(&[&"a", &"bc"]), join(&[&"ab", &"c"]));
    }

    #[test]
    fn slices_are_for_ever() {
        // written down once: stored data rests on these numbers
        assert_eq!(Slice::of("bank-account", "a").0, Slice::from_hash(identity_hash("bank-account", "a")).0);
        let long = "x".repeat(400);
        let mut hasher = Xxh3::new();
        hasher.update(format!("{long}\0id").as_bytes());
        assert_eq!(identity_hash(&long, "id"), hasher.digest());
    }
}
