//! State and schemas of the aggregates of a node, read without an engine.

use serde::Serialize;

use crate::domain::aggregate::{Aggregate, SnapshotOf, event_entry};
use crate::domain::codec::CodecError;
use crate::domain::id::AggregateId;
use crate::domain::ports::BoxFuture;
use crate::domain::schema::Document;
use crate::event_store::StoreError;
use crate::event_store::port::{StreamId, fills_page};
use crate::node::stores::History;

/// How many events are read at once.
const PAGE: usize = 1000;

/// Up to where a stream is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To its end.
    End,
    /// To this version.
    Version(u64),
    /// To the last event at or before this time, in microseconds since the Unix epoch.
    Time(i64),
}

/// Why a state can't be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is nothing to replay.
    #[error("{0} has no events{1}")]
    NoEvents(StreamId, &'static str),
    /// The stream is shorter.
    #[error("{stream} has {last} events, there is no version {wanted}")]
    NoVersion {
        /// Which stream.
        stream: StreamId,
        /// Its last version.
        last: u64,
        /// The version that was asked for.
        wanted: u64,
    },
    /// A version is missing.
    #[error("{stream} is damaged: version {found} follows version {last}")]
    Gap {
        /// Which stream.
        stream: StreamId,
        /// The last version before the gap.
        last: u64,
        /// The first version behind it.
        found: u64,
    },
    /// A stored event, or the state, can't be read or written.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An aggregate's state at one version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateView {
    /// Its wire name.
    #[serde(rename = "type")]
    pub aggregate: String,
    /// Which one.
    pub id: String,
    /// The version.
    pub version: u64,
    /// When the event that made this version was decided, as RFC 3339.
    pub time: String,
    /// The state; null where its snapshots are off, for then it can't be written.
    pub state: serde_json::Value,
}

/// What can be shown of one aggregate type.
#[derive(Debug, Clone, Copy)]
pub struct Inspector {
    state: fn(History, AggregateId, Until) -> BoxFuture<'static, Result<StateView, InspectError>>,
    schema: fn() -> AggregateSchema,
}

impl Inspector {
    /// Of an aggregate type.
    #[must_use]
    pub fn of<A: Aggregate>() -> Self {
        Self { state: |store, id, until| Box::pin(replay::<A>(store, id, until)), schema: schema::<A> }
    }

    /// Replays an aggregate.
    ///
    /// # Errors
    /// A stream that is empty, too short, damaged or not readable.
    pub async fn state(&self, store: History, id: AggregateId, until: Until) -> Result<StateView, InspectError> {
        (self.state)(store, id, until).await
    }

    /// Its messages and what they consist of.
    #[must_use]
    pub fn schema(&self) -> AggregateSchema {
        (self.schema)()
    }
}

async fn replay<A: Aggregate>(store: History, id: AggregateId, until: Until) -> Result<StateView, InspectError> {
    let stream = StreamId { aggregate: A::NAME.into(), id };
    let (mut state, mut version, mut time) = (A::default(), 0, 0);
    'pages: loop {
        let page = store.read_stream(stream.clone(), version + 1, PAGE).await?;
        let more = page.len() == PAGE || fills_page(&page);
        for stored in page {
            match until {
                Until::Version(last) if stored.event.version > last => break 'pages,
                Until::Time(last) if stored.time_micros > last => break 'pages,
                _ => {}
            }
            if stored.event.version != version + 1 {
                return Err(InspectError::Gap { stream, last: version, found: stored.event.version });
            }
            let event = &stored.event;
            let entry = event_entry::<A>(&event.name)
                .ok_or_else(|| CodecError::UnknownEvent { name: event.name.to_string(), aggregate: A::NAME })?;
            (entry.apply)(&mut state, &event.name, event.schema_version, event.codec, &event.payload)?;
            (version, time) = (event.version, stored.time_micros);
        }
        if !more {
            break;
        }
    }
    match until {
        Until::Version(wanted) if version > 0 && version < wanted => {
            return Err(InspectError::NoVersion { stream, last: version, wanted });
        }
        Until::Time(_) if version == 0 => return Err(InspectError::NoEvents(stream, " at or before that time")),
        _ if version == 0 => return Err(InspectError::NoEvents(stream, "")),
        _ => {}
    }
    let shown = A::Snapshots::show(&state)?;
    Ok(StateView {
        aggregate: A::NAME.to_owned(),
        id: stream.id.to_string(),
        version,
        time: jiff::Timestamp::from_microsecond(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string(),
        state: shown.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default(),
    })
}

/// The messages of an aggregate type, and what they consist of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AggregateSchema {
    /// Its wire name.
    pub name: &'static str,
    /// What its state consists of.
    pub state: Document,
    /// Its commands.
    pub commands: Vec<CommandSchema>,
    /// Its events.
    pub events: Vec<EventSchema>,
    /// Its queries.
    pub queries: Vec<QuerySchema>,
}

/// A command and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandSchema {
    /// Its wire name.
    pub name: &'static str,
    /// Whether it may create an aggregate.
    pub creates: bool,
    /// The command.
    pub fields: Document,
    /// Its reply.
    pub reply: Document,
    /// Its rejection.
    pub rejection: Document,
}

/// An event and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventSchema {
    /// Its wire name.
    pub name: &'static str,
    /// The version of its fields.
    pub version: u32,
    /// The event.
    pub fields: Document,
}

/// A query and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuerySchema {
    /// Its wire name.
    pub name: &'static str,
    /// The query.
    pub fields: Document,
    /// Its reply.
    pub reply: Document,
}

fn schema<A: Aggregate>() -> AggregateSchema {
    let parts = || A::PARTS.iter().flatten();
    let commands = parts().flat_map(|part| part.commands).map(|entry| CommandSchema {
        name: entry.facts.name,
        creates: entry.facts.creates,
        fields: Document::of((entry.schema)()),
        reply: Document::of((entry.reply)()),
        rejection: Document::of((entry.rejection)()),
    });
    let events = parts().flat_map(|part| part.events).map(|entry| EventSchema {
        name: entry.name,
        version: entry.version,
        fields: Document::of((entry.schema)()),
    });
    let queries = parts().flat_map(|part| part.queries).map(|entry| QuerySchema {
        name: entry.name,
        fields: Document::of((entry.schema)()),
        reply: Document::of((entry.reply)()),
    });
    AggregateSchema {
        name: A::NAME,
        state: Document::of(A::schema()),
        commands: commands.collect(),
        events: events.collect(),
        queries: queries.collect(),
    }
}
