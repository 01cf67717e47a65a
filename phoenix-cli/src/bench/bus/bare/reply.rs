//! Replies with the bytes that Phoenix would send.

use phoenix_runtime::bus::Traits;
use phoenix_runtime::bus::envelope::{Message, Replied, ReplyOutcome};
use phoenix_runtime::domain::aggregate::Aggregate as _;
use phoenix_runtime::domain::id::MessageId;
use phoenix_runtime::domain::message::Command as _;
use phoenix_runtime::domain::metadata::Metadata;

use super::Taken;
use crate::bench::workload::{Account, Deposit};

/// Stands for the command's id, and of the reply as well: both have as many bytes.
const ID: &str = "01920000-0000-7000-8000-000000000001";
/// Stands for the aggregate's.
const SUBJECT: &str = "account-0000000";

fn example() -> Message {
    let id = MessageId(ID.parse().unwrap_or_default());
    Message::Reply(Replied {
        id,
        to: id,
        aggregate: Account::NAME.to_owned(),
        subject: SUBJECT.to_owned(),
        name: Deposit::NAME.to_owned(),
        metadata: Metadata { causation_id: Some(ID.to_owned()), ..Metadata::default() },
        outcome: ReplyOutcome::Replied,
        version: Some(20),
        replayed: false,
        durable: true,
        payload: b"2060".to_vec(),
    })
}

/// A part of a reply.
enum Part {
    Id,
    Subject,
    Fixed(Vec<u8>),
}

impl Part {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            bytes if bytes == ID.as_bytes() => Self::Id,
            bytes if bytes == SUBJECT.as_bytes() => Self::Subject,
            bytes => Self::Fixed(bytes.to_vec()),
        }
    }

    fn of_command<'a>(&'a self, command: &'a Taken) -> &'a [u8] {
        match self {
            Self::Id => command.id.as_bytes(),
            Self::Subject => command.subject.as_bytes(),
            Self::Fixed(bytes) => bytes,
        }
    }
}

/// A reply in headers and a value.
pub(super) struct Binary {
    headers: Vec<(String, Part)>,
    pub(super) value: Vec<u8>,
}

impl Binary {
    pub(super) fn new() -> Self {
        let record = example().into_record(None, traits(true));
        let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), Part::of(value))).collect();
        Self { headers, value: record.value }
    }

    /// The headers of the reply to a command.
    pub(super) fn headers<'a>(&'a self, command: &'a Taken) -> impl ExactSizeIterator<Item = (&'a str, &'a [u8])> {
        self.headers.iter().map(|(name, part)| (name.as_str(), part.of_command(command)))
    }
}

/// A reply as one text.
pub(super) struct Structured(Vec<Part>);

impl Structured {
    pub(super) fn new() -> Self {
        let text = String::from_utf8(example().into_record(None, traits(false)).value).unwrap_or_default();
        let mut parts = Vec::new();
        for (at, piece) in text.split(ID).enumerate() {
            if at > 0 {
                parts.push(Part::Id);
            }
            for (at, piece) in piece.split(SUBJECT).enumerate() {
                if at > 0 {
                    parts.push(Part::Subject);
                }
                parts.push(Part::Fixed(piece.as_bytes().to_vec()));
            }
        }
        Self(parts)
    }

    /// The value of the reply to a command.
    pub(super) fn value(&self, command: &Taken) -> Vec<u8> {
        let mut value = Vec::with_capacity(512);
        self.0.iter().for_each(|part| value.extend_from_slice(part.of_command(command)));
        value
    }
}

const fn traits(headers: bool) -> Traits {
    Traits { headers, rebalances: false, max_record_bytes: usize::MAX }
}
