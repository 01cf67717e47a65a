//! What a command handler may return, and how it becomes events.

use crate::domain::codec::{Codec, CodecError, Json, decode_stored, encode_exact};
use crate::domain::handle::HasOneEventHandler;
use crate::domain::message::Event;

/// One event of a decision, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The event's name in the store.
    pub name: &'static str,
    /// The version of its fields.
    pub schema_version: u32,
    /// The event, in the aggregate's codec.
    pub payload: Vec<u8>,
}

/// Takes the events of one decision in order: each is encoded, then applied to the state.
#[derive(Debug)]
pub struct Sink<'a, A> {
    state: &'a mut A,
    records: &'a mut Vec<Recorded>,
    failure: Option<CodecError>,
}

impl<'a, A> Sink<'a, A> {
    /// Events go to `records`, and change `state`.
    pub fn new(state: &'a mut A, records: &'a mut Vec<Recorded>) -> Self {
        Self { state, records, failure: None }
    }

    /// The state after the events so far.
    #[must_use]
    pub fn state(&self) -> &A {
        self.state
    }

    /// Encodes and applies an event. After a failure nothing more is taken.
    pub fn push<E: Event>(&mut self, event: &E)
    where
        A: HasOneEventHandler<E>,
    {
        if self.failure.is_some() {
            return;
        }
        let encoded = encode_exact::<<A as HasOneEventHandler<E>>::Codec, E>(event)
            .and_then(|payload| readable::<<A as HasOneEventHandler<E>>::Codec, E>(&payload).map(|()| payload));
        let payload = match encoded {
            Ok(payload) => payload,
            Err(error) => {
                self.failure = Some(error);
                return;
            }
        };
        // recorded before it is applied: whoever catches a panic of the event handler sees that the state is spoilt
        self.records.push(Recorded { name: E::NAME, schema_version: E::VERSION, payload });
        self.state.evolve(event);
    }

    /// The first failure.
    pub(crate) fn into_failure(self) -> Option<CodecError> {
        self.failure
    }
}

/// Refuses an event that could never be read again. JSON writes a float that is no number as `null`; where there is a
/// `null` the event is read back, which is cheaper than an aggregate that is parked for good.
fn readable<C: Codec, E: Event>(payload: &[u8]) -> Result<(), CodecError> {
    if C::ID == Json::ID && memchr::memmem::find(payload, b"null").is_some() {
        decode_stored::<C, E>(C::ID, payload).map_err(|error| CodecError::Encode {
            of: std::any::type_name::<E>(),
            reason: format!("it could not be read again: {error}"),
        })?;
    }
    Ok(())
}

/// Nothing said about the reply.
#[derive(Debug)]
pub struct NoReply;

/// The handler can't refuse.
#[derive(Debug)]
pub enum NoRejection {}

/// No reply: a collection of events has none, nor has a member of a tuple but the last.
#[diagnostic::on_unimplemented(
    message = "a reply is the last member of the tuple that a handler returns",
    label = "a reply stands inside, or before the end",
    note = "return it once and last: `(events, Reply(value))`"
)]
pub trait WithoutReply {
    /// `Last`, which is unknown where a reply stands before it, so that nothing more is said about it.
    type Then<Last>;
    /// Gives `last` back.
    fn then<Last>(self, last: Last) -> Self::Then<Last>;
}
impl WithoutReply for NoReply {
    type Then<Last> = Last;
    fn then<Last>(self, last: Last) -> Last {
        last
    }
}

/// No rejection: what stands inside of what a handler returns can't refuse.
#[diagnostic::on_unimplemented(
    message = "a handler refuses as a whole: its `Result` stands around everything that it returns",
    label = "a `Result` stands inside",
    note = "return `Result<events, Rejection>`, for example `Result<Vec<Event>, Rejection>`"
)]
pub trait WithoutRejection {
    /// Never called: nothing of the type exists.
    fn never(self) -> NoRejection;
}
impl WithoutRejection for NoRejection {
    fn never(self) -> NoRejection {
        self
    }
}

/// The handler refuses with `R`.
#[derive(Debug)]
pub struct RejectsWith<R>(pub R);

/// A reply that is fixed while deciding: the last member of the tuple that a handler returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<R>(pub R);

/// What a command handler of `A` may return: events in any of their shapes.
#[diagnostic::on_unimplemented(
    message = "a command handler of `{A}` can't return `{Self}`",
    label = "neither an event nor made of events",
    note = "return an event, `()`, `Option`, `Vec` or a tuple of events, a `#[derive(Events)]` enum, `Reply(..)` last in a tuple, or a `Result` of one of these"
)]
pub trait Emits<A> {
    /// What is said about the reply.
    type Reply;
    /// What is said about refusing.
    type Rejection;
    /// Gives the events to `out`, in order.
    ///
    /// # Errors
    /// The handler's rejection; then nothing was given to `out`.
    fn emit(self, out: &mut Sink<'_, A>) -> Result<Self::Reply, Self::Rejection>;
}

impl<A> Emits<A> for () {
    type Reply = NoReply;
    type Rejection = NoRejection;
    fn emit(self, _: &mut Sink<'_, A>) -> Result<NoReply, NoRejection> {
        Ok(NoReply)
    }
}

impl<A, R> Emits<A> for Reply<R> {
    type Reply = Self;
    type Rejection = NoRejection;
    fn emit(self, _: &mut Sink<'_, A>) -> Result<Self, NoRejection> {
        Ok(self)
    }
}

impl<A, T: Emits<A, Reply: WithoutReply, Rejection: WithoutRejection>> Emits<A> for Option<T> {
    type Reply = NoReply;
    type Rejection = NoRejection;
    fn emit(self, out: &mut Sink<'_, A>) -> Result<NoReply, NoRejection> {
        self.map_or(Ok(NoReply), |events| events.emit(out).map(|_| NoReply).map_err(WithoutRejection::never))
    }
}

impl<A, T: Emits<A, Reply: WithoutReply, Rejection: WithoutRejection>> Emits<A> for Vec<T> {
    type Reply = NoReply;
    type Rejection = NoRejection;
    fn emit(self, out: &mut Sink<'_, A>) -> Result<NoReply, NoRejection> {
        for events in self {
            events.emit(out).map_err(WithoutRejection::never)?;
        }
        Ok(NoReply)
    }
}

impl<A, T: Emits<A, Rejection: WithoutRejection>, R> Emits<A> for Result<T, R> {
    type Reply = T::Reply;
    type Rejection = RejectsWith<R>;
    fn emit(self, out: &mut Sink<'_, A>) -> Result<T::Reply, RejectsWith<R>> {
        match self {
            Ok(events) => events.emit(out).map_err(|never| match never.never() {}),
            Err(rejection) => Err(RejectsWith(rejection)),
        }
    }
}

/// The reply of a tuple's last member, where those before it have none.
macro_rules! last_reply {
    ($last:ident) => { $last::Reply };
    ($first:ident $($member:ident)+) => { <$first::Reply as WithoutReply>::Then<last_reply!($($member)+)> };
}

macro_rules! tuples {
    ($(($($member:ident)*; $last:ident))*) => {$(
        impl<A, $($member: Emits<A, Reply: WithoutReply, Rejection: WithoutRejection>,)* $last: Emits<A, Rejection: WithoutRejection>>
            Emits<A> for ($($member,)* $last,)
        {
            type Reply = last_reply!($($member)* $last);
            type Rejection = NoRejection;
            #[allow(non_snake_case, reason = "a variable a type parameter")]
            fn emit(self, out: &mut Sink<'_, A>) -> Result<Self::Reply, NoRejection> {
                let ($($member,)* $last,) = self;
                $(let $member = $member.emit(out).map_err(WithoutRejection::never)?;)*
                let reply = $last.emit(out).map_err(WithoutRejection::never)?;
                Ok(then!(reply $($member)*))
            }
        }
    )*};
}

/// The value of [`last_reply`].
macro_rules! then {
    ($reply:ident) => { $reply };
    ($reply:ident $first:ident $($member:ident)*) => { $first.then(then!($reply $($member)*)) };
}
tuples! { (; L) (T1; L) (T1 T2; L) (T1 T2 T3; L) (T1 T2 T3 T4; L) (T1 T2 T3 T4 T5; L) (T1 T2 T3 T4 T5 T6; L) (T1 T2 T3 T4 T5 T6 T7; L) }
