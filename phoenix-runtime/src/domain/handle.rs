//! The traits that handlers become, and the checks between a handler and its message.

use std::future::Future;
use std::pin::Pin;

use crate::domain::aggregate::{Aggregate, CommandEntry, CommandFacts, EventEntry, Part, QueryEntry};
use crate::domain::context::{Context, Needs};
use crate::domain::emit::{Emits, NoRejection, NoReply, RejectsWith, Reply, Sink};
use crate::domain::message::{Command, Event, Query};
use crate::domain::names::hash;
use crate::domain::pending::{read_command, read_query};
use crate::domain::schema::Schema;

/// An event handler: how an event changes the state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` emits `{E}`, but has no event handler for it",
    label = "`{E}` would be stored and never applied",
    note = "add to an `#[event_sourced] impl {Self}`: `#[event_handler] fn ...(&mut self, event: &{E}) {{ ... }}`"
)]
pub trait Evolves<E: Event>: Aggregate {
    /// The event's Rust name as it stands in the handler.
    const RUST: &'static str;
    /// All blocks of the aggregate.
    const ALL: &'static [Option<&'static Part<Self>>] = Self::PARTS;
    /// Its row in the block's table.
    const ENTRY: EventEntry<Self> = EventEntry {
        name: E::NAME,
        hash: hash(E::NAME),
        version: E::VERSION,
        previous: E::PREVIOUS,
        rust: Self::RUST,
        apply: |state, name, version, codec, bytes| {
            state.evolve(&E::read::<Self::Codec>(name, version, codec, bytes)?);
            Ok(())
        },
        upcast: |name, version, codec, bytes| {
            use crate::domain::codec::{Codec, Json};
            let mut json = Vec::new();
            Json::encode(&E::read::<Self::Codec>(name, version, codec, bytes)?, &mut json)?;
            Ok(json)
        },
        schema: <E as Schema>::schema,
    };
    /// Applies the event.
    fn evolve(&mut self, event: &E);
}

/// The handler's word on a command: `Ok(None)` where the reply is computed from the state after the events.
pub type Settled<C> = Result<Option<<C as Command>::Reply>, <C as Command>::Rejection>;

/// The second half of an `async` handler: its events, once it is clear that they count.
pub type Finish<A, C> = Box<dyn FnOnce(&mut Sink<'_, A>) -> Settled<C> + Send>;

/// An `async` handler at work: it owns the state and gives it back.
pub type Working<A, C> = Pin<Box<dyn Future<Output = (Box<A>, Finish<A, C>)> + Send>>;

/// The code of a command handler.
pub enum Decider<A: Aggregate, C: Command> {
    /// Decides at once.
    Sync(fn(&mut Sink<'_, A>, C, &Context) -> Settled<C>),
    /// Waits for something first.
    Async(fn(Box<A>, C, Context) -> Working<A, C>),
}

/// A command handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle the command `{C}`",
    label = "no `#[command_handler]` of `{Self}` takes `{C}`"
)]
pub trait Decides<C: Command>: Aggregate {
    /// The command's Rust name as it stands in the handler.
    const RUST: &'static str;
    /// Whether it may create an aggregate.
    const CREATES: bool = true;
    /// The resources that it uses.
    const NEEDS: &'static [Needs] = &[];
    /// Its code.
    const DECIDER: Decider<Self, C>;
    /// All blocks of the aggregate.
    const ALL: &'static [Option<&'static Part<Self>>] = Self::PARTS;
    /// Its row in the block's table.
    const ENTRY: CommandEntry = CommandEntry {
        facts: CommandFacts {
            name: C::NAME,
            hash: hash(C::NAME),
            declared: C::AGGREGATE,
            of: Self::NAME,
            rust: Self::RUST,
            creates: Self::CREATES,
            asynchronous: matches!(Self::DECIDER, Decider::Async(_)),
            needs: Self::NEEDS,
        },
        read: read_command::<Self, C>,
        schema: <C as Schema>::schema,
        reply: <C::Reply as Schema>::schema,
        rejection: <C::Rejection as Schema>::schema,
    };
    /// [`Self::ENTRY`]'s facts, in one place of memory.
    const FACTS: &'static CommandFacts = &Self::ENTRY.facts;

    /// The reply from the state after the events, where the handler says `reply = ...`.
    fn reply_after(&self) -> Option<C::Reply> {
        None
    }
}

/// A query handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not answer the query `{Q}`",
    label = "no `#[query_handler]` of `{Self}` takes `{Q}`"
)]
pub trait Answers<Q: Query>: Aggregate {
    /// The query's Rust name as it stands in the handler.
    const RUST: &'static str;
    /// All blocks of the aggregate.
    const ALL: &'static [Option<&'static Part<Self>>] = Self::PARTS;
    /// Its row in the block's table.
    const ENTRY: QueryEntry = QueryEntry {
        name: Q::NAME,
        hash: hash(Q::NAME),
        declared: Q::AGGREGATE,
        of: Self::NAME,
        rust: Self::RUST,
        read: read_query::<Self, Q>,
        schema: <Q as Schema>::schema,
        reply: <Q::Reply as Schema>::schema,
    };
    /// Reads the state.
    fn answer(&self, query: Q) -> Q::Reply;
}

/// `A: Decides<Self>`, asked of the message: with the aggregate as `Self` rustc would guess the command from a lone
/// impl and report mismatched types instead.
#[diagnostic::on_unimplemented(
    message = "`{A}` does not handle the command `{Self}`",
    label = "no `#[command_handler]` of `{A}` takes `{Self}`",
    note = "send it to the aggregate that handles it, or add a handler to an `#[event_sourced] impl {A}`"
)]
pub trait HandledBy<A: Aggregate>: Command {
    /// What the handler is.
    const FACTS: &'static CommandFacts;
    /// The handler's code.
    const DECIDER: Decider<A, Self>;
    /// The reply from the state after the events.
    fn reply_after(state: &A) -> Option<Self::Reply>;
}
#[diagnostic::do_not_recommend]
impl<A: Decides<C>, C: Command> HandledBy<A> for C {
    const FACTS: &'static CommandFacts = <A as Decides<C>>::FACTS;
    const DECIDER: Decider<A, C> = <A as Decides<C>>::DECIDER;
    fn reply_after(state: &A) -> Option<C::Reply> {
        state.reply_after()
    }
}

/// `A: Answers<Self>`, asked of the message.
#[diagnostic::on_unimplemented(
    message = "`{A}` does not answer the query `{Self}`",
    label = "no `#[query_handler]` of `{A}` takes `{Self}`",
    note = "send it to the aggregate that answers it, or add a handler to an `#[event_sourced] impl {A}`"
)]
pub trait AnsweredBy<A: Aggregate>: Query {
    /// Reads the state.
    fn answer(self, state: &A) -> Self::Reply;
}
#[diagnostic::do_not_recommend]
impl<A: Answers<Q>, Q: Query> AnsweredBy<A> for Q {
    fn answer(self, state: &A) -> Q::Reply {
        state.answer(self)
    }
}

/// What one handler returns. Implemented for a hidden type beside the handler, so that a private event of a public
/// aggregate does not leak, and its bounds are checked at the user's return type.
pub trait Returns<A: Aggregate, C: Command> {
    /// [`Fixed`] or [`Computed`].
    type How;
    /// The handler's return type.
    type Returned: Emits<A, Reply: ReplyFits<C, C::Reply, Self::How>, Rejection: RejectionFits<C, C::Rejection>>;

    /// Gives the events to `out`.
    ///
    /// # Errors
    /// The handler's rejection.
    fn settle(returned: Self::Returned, out: &mut Sink<'_, A>) -> Settled<C> {
        match returned.emit(out) {
            Ok(reply) => Ok(ReplyFits::<C, C::Reply, Self::How>::fit(reply)),
            Err(rejection) => Err(RejectionFits::<C, C::Rejection>::fit(rejection)),
        }
    }
}

/// The reply comes with the decision, or the message has none.
#[derive(Debug)]
pub struct Fixed;
/// The reply is computed from the state after the events.
#[derive(Debug)]
pub struct Computed;

/// Fits what the handler says about its reply to what the message declares.
#[diagnostic::on_unimplemented(
    message = "`{C}` declares the reply `{Declared}`, but its handler has `{Self}`",
    label = "the handler of `{C}` must reply with `{Declared}`",
    note = "compute it from the state after the events: `#[command_handler(reply = <expression on self>)]`, or return it with them: `(events, Reply(value))`, not both"
)]
pub trait ReplyFits<C, Declared, How> {
    /// The declared reply, `None` where it is computed later.
    fn fit(self) -> Option<Declared>;
}
#[diagnostic::do_not_recommend]
impl<C> ReplyFits<C, (), Fixed> for NoReply {
    fn fit(self) -> Option<()> {
        Some(())
    }
}
#[diagnostic::do_not_recommend]
impl<C, R> ReplyFits<C, R, Fixed> for Reply<R> {
    fn fit(self) -> Option<R> {
        Some(self.0)
    }
}
#[diagnostic::do_not_recommend]
impl<C, R> ReplyFits<C, R, Computed> for NoReply {
    fn fit(self) -> Option<R> {
        None
    }
}

/// Fits how the handler refuses to what the message declares.
#[diagnostic::on_unimplemented(
    message = "`{C}` declares the rejection `{Declared}`, but its handler has `{Self}`",
    label = "must reject with `{Declared}`",
    note = "change the handler's `Result<_, {Declared}>`, or the message: `#[command(rejection = ...)]`"
)]
pub trait RejectionFits<C, Declared> {
    /// The declared rejection.
    fn fit(self) -> Declared;
}
#[diagnostic::do_not_recommend]
impl<C, R> RejectionFits<C, R> for NoRejection {
    fn fit(self) -> R {
        match self {}
    }
}
#[diagnostic::do_not_recommend]
impl<C, R> RejectionFits<C, R> for RejectsWith<R> {
    fn fit(self) -> R {
        self.0
    }
}

/// Fits what a query handler returns to what the query declares.
#[diagnostic::on_unimplemented(
    message = "`{Q}` declares the reply `{Declared}`, but this handler answers `{Self}`",
    label = "must be `{Declared}`",
    note = "change what the handler returns, or the message: `#[query(reply = ...)]`"
)]
pub trait AnswerFits<Q, Declared> {
    /// The declared reply.
    fn fit(self) -> Declared;
}
#[diagnostic::do_not_recommend]
impl<Q, R> AnswerFits<Q, R> for R {
    fn fit(self) -> R {
        self
    }
}
