//! How values become bytes and back.

use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

/// The largest buffer that a thread keeps to encode into, in bytes.
const MAX_SCRATCH: usize = 64 * 1024;

/// A value could not be encoded or decoded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CodecError {
    /// The value refuses to be serialized, for example a map whose keys are no strings.
    #[error("failed to encode `{of}`: {reason}")]
    Encode {
        /// The Rust type.
        of: &'static str,
        /// What the serializer said.
        reason: String,
    },
    /// The bytes are not a value of the type.
    #[error("failed to decode `{of}` at `{at}`: {reason}")]
    Decode {
        /// The Rust type.
        of: &'static str,
        /// The path inside the value, `.` for the whole.
        at: String,
        /// What the deserializer said.
        reason: String,
    },
    /// The stored row names a codec that nobody here knows.
    #[error("failed to decode `{of}`: codec {id} is not known here")]
    UnknownCodec {
        /// The Rust type.
        of: &'static str,
        /// The codec's number as it was stored.
        id: u8,
    },
    /// The stored version of an event is newer than the code, or older without a way up.
    #[error("failed to read event `{name}` in version {found}: this service knows version {known}; {remedy}")]
    UnknownVersion {
        /// The event's wire name.
        name: String,
        /// The stored version.
        found: u32,
        /// The version in the code.
        known: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// No event handler reads an event of this name.
    #[error("failed to read event `{name}`: no event handler of `{aggregate}` takes it; add one, or `upcast_from` it")]
    UnknownEvent {
        /// The event's wire name.
        name: String,
        /// The aggregate's wire name.
        aggregate: &'static str,
    },
}

/// Turns values into bytes. The number is stored beside every payload, so that an aggregate may change its codec.
pub trait Codec: Send + Sync + 'static {
    /// Stored with each payload; 1 to 127 belong to Phoenix, and 0 is nobody's: it marks what is in an archive.
    const ID: u8;

    /// Appends the value to `out`.
    ///
    /// # Errors
    /// A value that its serializer refuses.
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a value.
    ///
    /// # Errors
    /// Bytes that are not a `T`, with the place inside them.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError>;
}

/// JSON: readable, the default.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl Codec for Json {
    const ID: u8 = 1;

    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(out, value)
            .map_err(|e| CodecError::Encode { of: std::any::type_name::<T>(), reason: e.to_string() })
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        // the path costs time, so it is looked for only when there is an error to place
        serde_json::from_slice(bytes).map_err(|plain| {
            let mut reader = serde_json::Deserializer::from_slice(bytes);
            let (at, reason) = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
                // JSON that ends too early, or is none: the reason tells line and column
                Err(e) if e.path().iter().any(|segment| matches!(segment, Segment::Unknown)) => {
                    (".".to_owned(), e.inner().to_string())
                }
                Err(e) => (e.path().to_string(), e.inner().to_string()),
                Ok(_) => (".".to_owned(), plain.to_string()),
            };
            CodecError::Decode { of: std::any::type_name::<T>(), at, reason }
        })
    }
}

/// Postcard: compact binary, half the bytes of JSON, for types that keep their field order.
#[derive(Debug, Clone, Copy)]
pub struct Postcard;

impl Codec for Postcard {
    const ID: u8 = 2;

    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        postcard::to_io(value, out)
            .map(|_| ())
            .map_err(|e| CodecError::Encode { of: std::any::type_name::<T>(), reason: e.to_string() })
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        postcard::from_bytes(bytes).map_err(|e| CodecError::Decode {
            of: std::any::type_name::<T>(),
            at: ".".to_owned(),
            reason: e.to_string(),
        })
    }
}

/// Encodes into bytes of exactly the size that they need: they are kept, some of them for long, and a buffer that
/// grows is allocated several times.
///
/// # Errors
/// As [`Codec::encode`].
pub fn encode_exact<C: Codec, T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    const { assert!(C::ID != 0, "a codec's ID is 1 to 255: 0 marks what is in an archive") };
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    // a serializer that encodes something else meanwhile finds an empty one
    let mut scratch = SCRATCH.take();
    let bytes = C::encode(value, &mut scratch).map(|()| scratch.as_slice().to_vec());
    if scratch.capacity() <= MAX_SCRATCH {
        scratch.clear();
        SCRATCH.set(scratch);
    }
    bytes
}

/// Reads bytes that were stored under codec `id`, which need not be the one that `C` writes today.
///
/// # Errors
/// Bytes that are not a `T`, and a number that is neither built in nor `C`'s.
pub fn decode_stored<C: Codec, T: DeserializeOwned>(id: u8, bytes: &[u8]) -> Result<T, CodecError> {
    match id {
        _ if id == C::ID => C::decode(bytes),
        Json::ID => Json::decode(bytes),
        Postcard::ID => Postcard::decode(bytes),
        _ => Err(CodecError::UnknownCodec { of: std::any::type_name::<T>(), id }),
    }
}
