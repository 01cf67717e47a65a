//! An aggregate type with its Rust type hidden: what the engine needs to bring one into memory.

use std::collections::HashMap;

use crate::domain::aggregate::{Aggregate, CommandEntry, EventEntry, Options, QueryEntry, SnapshotOf, event_entry};
use crate::domain::codec::{Codec, CodecError};
use crate::domain::pending::AnyState;
use crate::domain::schema::{Schema, Type, fingerprint};
use crate::event_store::port::EventData;

/// An aggregate type.
pub trait Kind: Send + Sync {
    /// Its wire name.
    fn name(&self) -> &'static str;
    /// What `#[aggregate(...)]` says.
    fn options(&self) -> Options;
    /// The codec of what is written.
    fn codec(&self) -> u8;
    /// The layout and logic of the state.
    fn fingerprint(&self) -> u64;
    /// The state before any event.
    fn empty(&self) -> AnyState;
    /// Whether an event handler reads what is stored under this name.
    fn reads(&self, event: &str) -> bool;
    /// Applies a stored event.
    ///
    /// # Errors
    /// An event that no handler reads.
    fn apply(&self, state: &mut AnyState, event: &EventData) -> Result<(), CodecError>;
    /// The state's bytes, `None` where snapshots are off.
    ///
    /// # Errors
    /// A state that its serializer refuses.
    fn snapshot(&self, state: &AnyState) -> Result<Option<Vec<u8>>, CodecError>;
    /// The state from its bytes, `None` where snapshots are off.
    ///
    /// # Errors
    /// Bytes that are no state of this type.
    fn restore(&self, codec: u8, bytes: &[u8]) -> Result<Option<AnyState>, CodecError>;
    /// Its command handlers.
    fn commands(&self) -> Vec<&'static CommandEntry>;
    /// Its query handlers.
    fn queries(&self) -> Vec<&'static QueryEntry>;
    /// Names, versions and shapes of the events that it reads.
    fn events(&self) -> Vec<(&'static str, u32, fn() -> Type)>;
    /// The shape of its state.
    fn schema(&self) -> Type;
}

/// [`Kind`] of `A`.
pub(crate) struct Typed<A: Aggregate> {
    events: HashMap<&'static str, &'static EventEntry<A>, foldhash::fast::RandomState>,
    fingerprint: u64,
}

impl<A: Aggregate> Typed<A> {
    pub(crate) fn new() -> Self {
        let events = A::PARTS.iter().flatten().flat_map(|part| part.events).map(|e| (e.name, e)).collect();
        Self { events, fingerprint: fingerprint(&A::schema(), A::OPTIONS.logic_version) }
    }
}

fn wrong<A: Aggregate>() -> CodecError {
    CodecError::Decode { of: A::NAME, at: ".".to_owned(), reason: "the state is of another type".to_owned() }
}

impl<A: Aggregate> Kind for Typed<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn options(&self) -> Options {
        A::OPTIONS
    }

    fn codec(&self) -> u8 {
        A::Codec::ID
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn empty(&self) -> AnyState {
        Box::new(A::default())
    }

    fn reads(&self, event: &str) -> bool {
        self.events.contains_key(event) || event_entry::<A>(event).is_some()
    }

    fn apply(&self, state: &mut AnyState, event: &EventData) -> Result<(), CodecError> {
        let entry = match self.events.get(&*event.name) {
            Some(entry) => entry,
            None => event_entry::<A>(&event.name)
                .ok_or_else(|| CodecError::UnknownEvent { name: event.name.to_string(), aggregate: A::NAME })?,
        };
        let state = state.downcast_mut::<A>().ok_or_else(wrong::<A>)?;
        (entry.apply)(state, &event.name, event.schema_version, event.codec, &event.payload)
    }

    fn snapshot(&self, state: &AnyState) -> Result<Option<Vec<u8>>, CodecError> {
        <A::Snapshots as SnapshotOf<A>>::take(state.downcast_ref::<A>().ok_or_else(wrong::<A>)?)
    }

    fn restore(&self, codec: u8, bytes: &[u8]) -> Result<Option<AnyState>, CodecError> {
        let state = <A::Snapshots as SnapshotOf<A>>::restore(codec, bytes)?;
        Ok(state.map(|state| Box::new(state) as AnyState))
    }

    fn commands(&self) -> Vec<&'static CommandEntry> {
        A::PARTS.iter().flatten().flat_map(|part| part.commands).collect()
    }

    fn queries(&self) -> Vec<&'static QueryEntry> {
        A::PARTS.iter().flatten().flat_map(|part| part.queries).collect()
    }

    fn events(&self) -> Vec<(&'static str, u32, fn() -> Type)> {
        A::PARTS.iter().flatten().flat_map(|part| part.events).map(|e| (e.name, e.version, e.schema)).collect()
    }

    fn schema(&self) -> Type {
        <A as Schema>::schema()
    }
}
