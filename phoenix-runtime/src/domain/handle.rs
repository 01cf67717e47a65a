//! The traits that handlers become, and the checks between a handler and its message.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use crate::domain::aggregate::{Aggregate, CommandEntry, CommandFacts, EventEntry, QueryEntry};
use crate::domain::codec::{Codec, Json};
use crate::domain::context::{Context, Needs};
use crate::domain::emit::{Emits, NoRejection, NoReply, RejectsWith, Reply, Sink};
use crate::domain::message::{Command, Event, Query};
use crate::domain::names::hash;
use crate::domain::pending::{read_command, read_query};
use crate::domain::schema::Schema;

/// An event handler: how an event changes the state. As with every handler, neither the aggregate nor the message is
/// bounded here: that one of them is none is told once, where a handler's impl asks it for a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` emits `{E}`, but has no event handler for it",
    label = "`{E}` would be stored and never applied",
    note = "add to an `#[event_sourced] impl {Self}`: `#[event_handler] fn ...(&mut self, event: &{E}) {{ ... }}`"
)]
pub trait HasOneEventHandler<E>: Sized + 'static {
    /// The aggregate's codec.
    type Codec: Codec;
    /// The event's Rust name as it stands in the handler.
    const RUST: &'static str;
    /// The version of the event's fields.
    const VERSION: u32;
    /// Applies the event.
    fn evolve(&mut self, event: &E);
}

/// The handler's word on a command: `Ok(None)` where the reply is computed from the state after the events.
pub type Settled<Reply, Rejection> = Result<Option<Reply>, Rejection>;

/// The second half of an `async` handler: its events, once it is clear that they count.
pub type Finish<A, Reply, Rejection> = Box<dyn FnOnce(&mut Sink<'_, A>) -> Settled<Reply, Rejection> + Send>;

/// An `async` handler at work: it owns the state and gives it back.
pub type Working<A, Reply, Rejection> = Pin<Box<dyn Future<Output = (Box<A>, Finish<A, Reply, Rejection>)> + Send>>;

/// The code of a command handler.
pub enum Decider<A, C, Reply, Rejection> {
    /// Decides at once.
    Sync(fn(&mut Sink<'_, A>, C, &Context) -> Settled<Reply, Rejection>),
    /// Waits for something first.
    Async(fn(Box<A>, C, Context) -> Working<A, Reply, Rejection>),
}

/// A command handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle the command `{C}`",
    label = "no `#[command_handler]` of `{Self}` takes `{C}`"
)]
pub trait HasOneCommandHandler<C>: Sized + 'static {
    /// The reply that the command declares.
    type Reply;
    /// The rejection that the command declares.
    type Rejection;
    /// The command's Rust name as it stands in the handler.
    const RUST: &'static str;
    /// Whether it may create an aggregate.
    const CREATES: bool = true;
    /// The resources that it uses.
    const NEEDS: &'static [Needs] = &[];
    /// Whether its handler is `async`.
    const IS_ASYNC: bool = false;
    /// Its code.
    fn decider() -> Decider<Self, C, Self::Reply, Self::Rejection>;

    /// The reply from the state after the events, where the handler says `reply = ...`.
    fn reply_after(&self) -> Option<Self::Reply> {
        None
    }
}

/// A query handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not answer the query `{Q}`",
    label = "no `#[query_handler]` of `{Self}` takes `{Q}`"
)]
pub trait HasOneQueryHandler<Q>: Sized + 'static {
    /// The reply that the query declares.
    type Reply;
    /// The query's Rust name as it stands in the handler.
    const RUST: &'static str;
    /// Reads the state.
    fn answer(&self, query: Q) -> Self::Reply;
}

/// The row of a handler in its block's table. Its constants exist only where the message is what the handler takes it
/// for; elsewhere, where that is told already, [`Unknown`] has their namesakes.
#[derive(Debug)]
pub struct Row<A, M>(PhantomData<(A, M)>);

/// What stands for that which a mistake leaves out, so that the mistake is told once.
pub trait Unknown<A: 'static> {
    /// No command.
    const COMMAND: CommandEntry = CommandEntry::UNKNOWN;
    /// No event.
    const EVENT: EventEntry<A> = EventEntry::UNKNOWN;
    /// No query.
    const QUERY: QueryEntry = QueryEntry::UNKNOWN;
}
impl<A: 'static, M> Unknown<A> for Row<A, M> {}

impl<A: Aggregate + HasOneEventHandler<E>, E: Event> Row<A, E> {
    /// The row of an event handler.
    pub const EVENT: EventEntry<A> = EventEntry {
        name: E::NAME,
        hash: hash(E::NAME),
        version: <A as HasOneEventHandler<E>>::VERSION,
        previous: E::PREVIOUS,
        rust: <A as HasOneEventHandler<E>>::RUST,
        apply: |state, name, version, codec, bytes| {
            state.evolve(&E::read::<<A as Aggregate>::Codec>(name, version, codec, bytes)?);
            Ok(())
        },
        upcast: |name, version, codec, bytes| {
            let mut json = Vec::new();
            Json::encode(&E::read::<<A as Aggregate>::Codec>(name, version, codec, bytes)?, &mut json)?;
            Ok(json)
        },
        schema: <E as Schema>::schema,
    };
}

impl<A: Aggregate + HasOneCommandHandler<C, Reply = C::Reply, Rejection = C::Rejection>, C: Command> Row<A, C> {
    /// The row of a command handler.
    pub const COMMAND: CommandEntry = CommandEntry {
        facts: CommandFacts {
            name: C::NAME,
            hash: hash(C::NAME),
            declared: C::AGGREGATE,
            of: A::NAME,
            rust: <A as HasOneCommandHandler<C>>::RUST,
            creates: A::CREATES,
            asynchronous: A::IS_ASYNC,
            needs: A::NEEDS,
        },
        read: read_command::<A, C>,
        schema: <C as Schema>::schema,
        reply: <C::Reply as Schema>::schema,
        rejection: <C::Rejection as Schema>::schema,
    };
}

impl<A: Aggregate + HasOneQueryHandler<Q, Reply = Q::Reply>, Q: Query> Row<A, Q> {
    /// The row of a query handler.
    pub const QUERY: QueryEntry = QueryEntry {
        name: Q::NAME,
        hash: hash(Q::NAME),
        declared: Q::AGGREGATE,
        of: A::NAME,
        rust: <A as HasOneQueryHandler<Q>>::RUST,
        read: read_query::<A, Q>,
        schema: <Q as Schema>::schema,
        reply: <Q::Reply as Schema>::schema,
    };
}

/// `A: HasOneCommandHandler<Self>`, asked of the message: with the aggregate as `Self` rustc would guess the command from a lone
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
    fn decider() -> Decider<A, Self, Self::Reply, Self::Rejection>;
    /// The reply from the state after the events.
    fn reply_after(state: &A) -> Option<Self::Reply>;
}
#[diagnostic::do_not_recommend]
impl<A: Aggregate + HasOneCommandHandler<C, Reply = C::Reply, Rejection = C::Rejection>, C: Command> HandledBy<A>
    for C
{
    const FACTS: &'static CommandFacts = &Row::<A, C>::COMMAND.facts;
    fn decider() -> Decider<A, C, C::Reply, C::Rejection> {
        <A as HasOneCommandHandler<C>>::decider()
    }
    fn reply_after(state: &A) -> Option<C::Reply> {
        state.reply_after()
    }
}

/// `A: HasOneQueryHandler<Self>`, asked of the message.
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
impl<A: Aggregate + HasOneQueryHandler<Q, Reply = Q::Reply>, Q: Query> AnsweredBy<A> for Q {
    fn answer(self, state: &A) -> Q::Reply {
        state.answer(self)
    }
}

/// Gives the events of what a handler returned to `out`. A mistake is told at the handler's return type.
///
/// # Errors
/// The handler's rejection.
pub fn a_command_handler_returns<A, C, Reply, Rejection, How, Returned>(
    returned: Returned,
    out: &mut Sink<'_, A>,
) -> Settled<Reply, Rejection>
where
    Returned: Emits<A, Reply: IsTheReplyTo<C, Reply, How>, Rejection: IsTheRejectionOf<C, Rejection>>,
{
    match returned.emit(out) {
        Ok(reply) => Ok(IsTheReplyTo::<C, Reply, How>::fit(reply)),
        Err(rejection) => Err(IsTheRejectionOf::<C, Rejection>::fit(rejection)),
    }
}

/// The reply comes with the decision, or the message has none.
#[derive(Debug)]
pub struct WithTheEvents;
/// The reply is computed from the state after the events.
#[derive(Debug)]
pub struct FromTheState;

/// Fits what the handler says about its reply to what the message declares.
#[diagnostic::on_unimplemented(
    message = "`{C}` declares the reply `{Declared}`, but its handler has `{Self}`",
    label = "the handler of `{C}` must reply with `{Declared}`",
    note = "compute it from the state after the events: `#[command_handler(reply = <expression on self>)]`, or return it with them: `(events, Reply(value))`, not both"
)]
pub trait IsTheReplyTo<C, Declared, How> {
    /// The declared reply, `None` where it is computed later.
    fn fit(self) -> Option<Declared>;
}
#[diagnostic::do_not_recommend]
impl<C> IsTheReplyTo<C, (), WithTheEvents> for NoReply {
    fn fit(self) -> Option<()> {
        Some(())
    }
}
#[diagnostic::do_not_recommend]
impl<C, R> IsTheReplyTo<C, R, WithTheEvents> for Reply<R> {
    fn fit(self) -> Option<R> {
        Some(self.0)
    }
}
#[diagnostic::do_not_recommend]
impl<C, R> IsTheReplyTo<C, R, FromTheState> for NoReply {
    fn fit(self) -> Option<R> {
        None
    }
}

/// Fits how the handler refuses to what the message declares.
#[diagnostic::on_unimplemented(
    message = "`{C}` declares the rejection `{Declared}`, but its handler `{Self}`",
    label = "must reject with `{Declared}`",
    note = "change the handler's `Result<_, {Declared}>`, or the message: `#[command(rejection = ...)]`"
)]
pub trait IsTheRejectionOf<C, Declared> {
    /// The declared rejection.
    fn fit(self) -> Declared;
}
#[diagnostic::do_not_recommend]
impl<C, R> IsTheRejectionOf<C, R> for NoRejection {
    fn fit(self) -> R {
        match self {}
    }
}
#[diagnostic::do_not_recommend]
impl<C, R> IsTheRejectionOf<C, R> for RejectsWith<R> {
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
pub trait IsTheAnswerTo<Q, Declared> {
    /// The declared reply.
    fn fit(self) -> Declared;
}
#[diagnostic::do_not_recommend]
impl<Q, R> IsTheAnswerTo<Q, R> for R {
    fn fit(self) -> R {
        self
    }
}
