//! `phoenix-cli events`: lists the stream of one aggregate, also while a service writes the store.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

use phoenix_runtime::domain::codec::{Codec, Json};
use phoenix_runtime::domain::id::{AggregateId, InvalidId};
use phoenix_runtime::domain::outcome::{Outcome, OutcomeKind};
use phoenix_runtime::event_store::port::{CommandData, StoredEvent, StreamId};
use phoenix_runtime::event_store::{OpenError, StoreError};
use phoenix_runtime::node::History;
use serde_json::{Value, json};

use crate::place::{Place, PlaceError};

/// How many events are read at once.
const PAGE: usize = 1000;

/// Lists the events of one aggregate.
///
/// Reads only, and takes no lock: the service may run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// The aggregate's wire name, for example bank-account
    #[arg(value_name = "TYPE")]
    aggregate: String,
    /// Which one
    id: String,
    /// The first version to list
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// The most events to list [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Everything that is stored, a JSON object a line
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to list.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum EventsError {
    #[error(transparent)]
    Open(OpenError),
    #[error(transparent)]
    #[diagnostic(help(
        "the store is the one that the service's configuration names: `sqlite:<file>`, `log:<folder>`, `postgres://...` \
         or `mysql://...`"
    ))]
    NoFile(OpenError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Place(#[from] PlaceError),
    #[error("`{id}` is no id")]
    #[diagnostic(help("{source}"))]
    Id {
        id: String,
        #[source]
        source: InvalidId,
    },
    #[error("failed to read `{stream}`")]
    Read {
        stream: StreamId,
        #[source]
        source: StoreError,
    },
    #[error("there are no events of `{stream}`")]
    NoEvents {
        stream: StreamId,
        #[help]
        remedy: String,
    },
    #[error("`{stream}` has no version {from}")]
    #[diagnostic(help("its events end before: give a lower `--from`"))]
    NoVersion { stream: StreamId, from: u64 },
    #[error("failed to write the list")]
    Write(#[source] io::Error),
}

impl EventsError {
    fn open(source: OpenError) -> Self {
        match source {
            OpenError::File(_) => Self::NoFile(source),
            // it says by itself what to do
            _ => Self::Open(source),
        }
    }
}

/// Lists.
pub(crate) async fn run(options: Options) -> miette::Result<()> {
    match list(options).await {
        // whoever reads the list has seen enough
        Err(EventsError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

async fn list(options: Options) -> Result<(), EventsError> {
    let Options { place, aggregate, id, from, limit, json } = options;
    let id = AggregateId::new(&id).map_err(|source| EventsError::Id { id, source })?;
    let stream = StreamId { aggregate: aggregate.into(), id };
    let reader = History::open(&place.for_reading()?).await.map_err(EventsError::open)?;
    let failed = |source| EventsError::Read { stream: stream.clone(), source };

    let (mut next, mut left) = (from.max(1), limit.unwrap_or(usize::MAX));
    let mut out = io::stdout().lock();
    while left > 0 {
        let page = reader.read_stream(stream.clone(), next, left.min(PAGE)).await.map_err(failed)?;
        let Some(last) = page.last() else { break };
        left -= page.len();
        next = last.event.version + 1;
        for event in &page {
            let line = if json { object(event).to_string() } else { line(event) };
            writeln!(out, "{line}").map_err(EventsError::Write)?;
        }
    }
    if next > from.max(1) || limit == Some(0) {
        return out.flush().map_err(EventsError::Write);
    }
    if !reader.read_stream(stream.clone(), 1, 1).await.map_err(failed)?.is_empty() {
        return Err(EventsError::NoVersion { stream, from });
    }
    let ids = reader.ids(Arc::clone(&stream.aggregate), None, 5).await.map_err(failed)?;
    let remedy = match ids.as_slice() {
        [] => format!("the store has no aggregate of the type `{}`: see that it is its wire name", stream.aggregate),
        ids => format!(
            "the first ids of this type are: {}",
            ids.iter().map(AggregateId::as_str).collect::<Vec<_>>().join(", ")
        ),
    };
    Err(EventsError::NoEvents { stream, remedy })
}

/// An event for people: version, time, name, fields, and the command that led to it.
fn line(stored: &StoredEvent) -> String {
    let event = &stored.event;
    let because = stored.command.as_deref().map_or_else(String::new, |command| match &command.key {
        Some(key) => format!("  <- {} (key {key})", command.name),
        None => format!("  <- {}", command.name),
    });
    let fields = match event.codec {
        Json::ID => String::from_utf8_lossy(&event.payload).into_owned(),
        _ => hexadecimal(&event.payload),
    };
    format!("{:>6}  {}  {}  {fields}{because}", event.version, time(stored.time_micros), event.name)
}

/// An event for machines.
fn object(stored: &StoredEvent) -> Value {
    let event = &stored.event;
    json!({
        "version": event.version,
        "time": time(stored.time_micros),
        "event": &*event.name,
        "schema_version": event.schema_version,
        "payload": payload(event.codec, &event.payload),
        "codec": event.codec,
        "slice": stored.slice,
        "sequence": stored.sequence,
        "command": stored.command.as_deref().map(command),
    })
}

fn command(command: &CommandData) -> Value {
    let Outcome { kind, version, codec, body } = &command.outcome;
    let kind = match kind {
        OutcomeKind::Replied => "replied",
        OutcomeKind::Rejected => "rejected",
        OutcomeKind::NotFound => "not-found",
    };
    json!({
        "name": &*command.name,
        "id": command.id,
        "key": command.key,
        "correlation_id": command.correlation_id,
        "causation_id": command.causation_id,
        "outcome": { "kind": kind, "version": version, "body": payload(*codec, body) },
    })
}

/// What is readable as it is; bytes of a binary codec, which only the service can read, in hexadecimal digits.
fn payload(codec: u8, bytes: &[u8]) -> Value {
    let json = (codec == Json::ID).then(|| serde_json::from_slice(bytes).ok()).flatten();
    json.unwrap_or_else(|| hexadecimal(bytes).into())
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // writing to a String can't fail
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| format!("{time:.6}"))
}
