//! A message that waits for its aggregate, with its types hidden: what the engine moves about.

use std::any::Any;
use std::marker::PhantomData;

use crate::domain::aggregate::{Aggregate, CommandFacts};
use crate::domain::codec::{Codec, CodecError, Json, decode_stored, encode_exact};
use crate::domain::context::Context;
use crate::domain::emit::{Recorded, Sink};
use crate::domain::error::{AskError, Code, Fault, QueryError};
use crate::domain::handle::{AnsweredBy, Decider, Finish, HandledBy, Settled};
use crate::domain::id::{AggregateId, InvalidId};
use crate::domain::message::{Command, Query};
use crate::domain::outcome::{Outcome, OutcomeKind};
use crate::domain::ports::BoxFuture;

/// A state whose type only its aggregate knows.
pub type AnyState = Box<dyn Any + Send + Sync>;

/// What a caller gets, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The reply.
    pub reply: T,
    /// The aggregate's version after the command.
    pub version: u64,
    /// Whether this is the stored answer to an earlier attempt.
    pub replayed: bool,
    /// Whether what it rests on survives the node's process: not with the stores `memory` and `none`.
    pub durable: bool,
}

/// Where the answer to a command goes.
pub trait Respond<C: Command>: Send + 'static {
    /// Takes the answer.
    fn respond(self, answer: Result<Answer<C::Reply>, AskError<C::Rejection>>);
}

/// The answer to a command by name, as JSON.
pub type NamedAnswer = Result<Answer<Vec<u8>>, AskError<Vec<u8>>>;

/// Where the answer to a command by name goes.
pub struct ByName(pub Box<dyn FnOnce(NamedAnswer) + Send>);

impl<C: Command> Respond<C> for ByName {
    fn respond(self, answer: Result<Answer<C::Reply>, AskError<C::Rejection>>) {
        let json = |value: Result<Vec<u8>, CodecError>| {
            value.map_err(|e| Fault::new(Code::OutcomeUnknown, format!("done, but its answer is no JSON: {e}")))
        };
        (self.0)(match answer {
            Ok(Answer { reply, version, replayed, durable }) => match json(to_json(&reply)) {
                Ok(reply) => Ok(Answer { reply, version, replayed, durable }),
                Err(fault) => Err(fault.into()),
            },
            Err(AskError::Rejected { rejection, version, replayed }) => match json(to_json(&rejection)) {
                Ok(rejection) => Err(AskError::Rejected { rejection, version, replayed }),
                Err(fault) => Err(fault.into()),
            },
            Err(AskError::NotFound { replayed }) => Err(AskError::NotFound { replayed }),
            Err(AskError::Fault(fault)) => Err(AskError::Fault(fault)),
        });
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut json = Vec::new();
    Json::encode(value, &mut json)?;
    Ok(json)
}

/// The end of a decision, encoded for the store.
#[derive(Debug)]
pub struct Verdict {
    /// Reply or rejection.
    pub kind: OutcomeKind,
    /// In the aggregate's codec.
    pub body: Vec<u8>,
}

/// What an `async` handler gives back.
pub struct Worked {
    /// The state, unchanged.
    pub state: AnyState,
    /// For [`Pending::finish`].
    pub finish: Box<dyn Any + Send>,
}

/// How the engine tells a command's caller.
#[derive(Debug)]
pub enum Told<'a> {
    /// What [`Pending::decide`] or [`Pending::finish`] found, now durable.
    Decided {
        /// The aggregate's version after the command.
        version: u64,
    },
    /// There is no aggregate, and the handler creates none.
    NotFound,
    /// The stored outcome of an earlier attempt.
    Stored(&'a Outcome),
    /// What the aggregate's owner on another node answered.
    Elsewhere(NamedAnswer),
    /// No outcome.
    Fault(Fault),
}

/// A command that waits for its aggregate.
pub trait Pending: Send {
    /// What its handler is.
    fn facts(&self) -> &'static CommandFacts;

    /// Which aggregate it is for.
    ///
    /// # Errors
    /// Fields that make no id.
    fn aggregate_id(&self) -> Result<AggregateId, InvalidId>;

    /// The key that it carries in its own fields.
    fn business_key(&self) -> Option<String>;

    /// The command as canonical JSON. Once this was called, the command can be decided anew.
    ///
    /// # Errors
    /// A command that its serializer refuses.
    fn encode(&mut self) -> Result<&[u8], CodecError>;

    /// Decides and applies: encoded events go to `records`, the state changes with them.
    ///
    /// # Errors
    /// A fault. If `records` has grown, the state is spoilt.
    fn decide(
        &mut self,
        state: &mut (dyn Any + Send + Sync),
        context: &Context,
        records: &mut Vec<Recorded>,
    ) -> Result<Verdict, Fault>;

    /// Starts an `async` handler, which owns the state until it is done.
    ///
    /// # Errors
    /// A fault; the state is gone with it.
    fn begin(&mut self, state: AnyState, context: Context) -> Result<BoxFuture<'static, Worked>, Fault>;

    /// Applies what an `async` handler decided.
    ///
    /// # Errors
    /// As [`Pending::decide`].
    fn finish(
        &mut self,
        state: &mut (dyn Any + Send + Sync),
        finish: Box<dyn Any + Send>,
        records: &mut Vec<Recorded>,
    ) -> Result<Verdict, Fault>;

    /// Tells the caller, who may be gone.
    fn tell(self: Box<Self>, told: Told<'_>);
}

/// [`Pending`] for the command `C` of the aggregate `A`.
pub struct PendingCommand<A, C: Command, R> {
    command: Option<C>,
    json: Vec<u8>,
    decided: Option<Result<C::Reply, C::Rejection>>,
    respond: R,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate, C: HandledBy<A>, R: Respond<C>> PendingCommand<A, C, R> {
    /// A command and where its answer goes.
    pub fn new(command: C, respond: R) -> Self {
        Self { command: Some(command), json: Vec::new(), decided: None, respond, aggregate: PhantomData }
    }

    fn take(&mut self) -> Result<C, Fault> {
        match self.command.take() {
            Some(command) => Ok(command),
            None => Json::decode(&self.json).map_err(|e| {
                Fault::new(Code::InvalidMessage, format!("`{}` does not survive its own encoding: {e}", C::NAME))
            }),
        }
    }

    fn settle(
        &mut self,
        state: &mut A,
        records: &mut Vec<Recorded>,
        run: impl FnOnce(&mut Sink<'_, A>) -> Settled<C::Reply, C::Rejection>,
    ) -> Result<Verdict, Fault> {
        let mut sink = Sink::new(state, records);
        let settled = run(&mut sink);
        let unencodable = |e: CodecError| Fault::new(Code::InvalidMessage, e.to_string());
        let decided = match settled {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Ok(C::reply_after(sink.state()).ok_or_else(|| {
                Fault::new(Code::InvalidMessage, format!("the handler of `{}` gives no reply", C::NAME))
            })?),
            Err(rejection) => Err(rejection),
        };
        if let Some(failure) = sink.into_failure() {
            return Err(unencodable(failure));
        }
        let (kind, body) = match &decided {
            Ok(reply) => (OutcomeKind::Replied, encode_exact::<A::Codec, C::Reply>(reply)),
            Err(rejection) => (OutcomeKind::Rejected, encode_exact::<A::Codec, C::Rejection>(rejection)),
        };
        let body = body.map_err(unencodable)?;
        self.decided = Some(decided);
        Ok(Verdict { kind, body })
    }
}

fn state_of<A: Aggregate>(state: &mut (dyn Any + Send + Sync)) -> Result<&mut A, Fault> {
    state.downcast_mut::<A>().ok_or_else(|| wrong_state(A::NAME))
}

fn wrong_state(aggregate: &str) -> Fault {
    Fault::new(Code::UnknownName, format!("two aggregates of this node are named `{aggregate}`"))
}

impl<A: Aggregate, C: HandledBy<A>, R: Respond<C>> Pending for PendingCommand<A, C, R> {
    fn facts(&self) -> &'static CommandFacts {
        <C as HandledBy<A>>::FACTS
    }

    fn aggregate_id(&self) -> Result<AggregateId, InvalidId> {
        self.command.as_ref().map_or(Err(InvalidId::Empty), C::aggregate_id)
    }

    fn business_key(&self) -> Option<String> {
        self.command.as_ref().and_then(C::business_key)
    }

    fn encode(&mut self) -> Result<&[u8], CodecError> {
        if let (true, Some(command)) = (self.json.is_empty(), &self.command) {
            self.json = encode_exact::<Json, C>(command)?;
        }
        Ok(&self.json)
    }

    fn decide(
        &mut self,
        state: &mut (dyn Any + Send + Sync),
        context: &Context,
        records: &mut Vec<Recorded>,
    ) -> Result<Verdict, Fault> {
        let Decider::Sync(run) = C::decider() else {
            return Err(Fault::new(Code::InvalidMessage, "an async handler can't be run at once"));
        };
        let command = self.take()?;
        self.settle(state_of::<A>(state)?, records, |sink| run(sink, command, context))
    }

    fn begin(&mut self, state: AnyState, context: Context) -> Result<BoxFuture<'static, Worked>, Fault> {
        let Decider::Async(run) = C::decider() else {
            return Err(Fault::new(Code::InvalidMessage, "this handler is not async"));
        };
        let command = self.take()?;
        let state = (state as Box<dyn Any>).downcast::<A>().map_err(|_| wrong_state(A::NAME))?;
        Ok(Box::pin(async move {
            let (state, finish) = run(state, command, context).await;
            Worked { state, finish: Box::new(finish) }
        }))
    }

    fn finish(
        &mut self,
        state: &mut (dyn Any + Send + Sync),
        finish: Box<dyn Any + Send>,
        records: &mut Vec<Recorded>,
    ) -> Result<Verdict, Fault> {
        let finish = (finish as Box<dyn Any>)
            .downcast::<Finish<A, C::Reply, C::Rejection>>()
            .map_err(|_| wrong_state(A::NAME))?;
        self.settle(state_of::<A>(state)?, records, |sink| (*finish)(sink))
    }

    fn tell(self: Box<Self>, told: Told<'_>) {
        let Self { decided, respond, .. } = *self;
        respond.respond(match told {
            Told::Decided { version } => match decided {
                Some(Ok(reply)) => Ok(Answer { reply, version, replayed: false, durable: true }),
                Some(Err(rejection)) => Err(AskError::Rejected { rejection, version, replayed: false }),
                None => Err(Fault::new(Code::StoreFailed, "told before it was decided").into()),
            },
            Told::NotFound => Err(AskError::NotFound { replayed: false }),
            Told::Stored(outcome) => stored::<A, C>(outcome),
            Told::Elsewhere(answer) => from_json::<C>(answer),
            Told::Fault(fault) => Err(fault.into()),
        });
    }
}

/// An answer that came as JSON.
pub(crate) fn from_json<C: Command>(answer: NamedAnswer) -> Result<Answer<C::Reply>, AskError<C::Rejection>> {
    let unreadable = |e: CodecError| {
        let text =
            format!("done, but its answer can't be read here: {e}; is the message's type the same on both sides?");
        Fault::new(Code::InvalidMessage, text)
    };
    match answer {
        Ok(Answer { reply, version, replayed, durable }) => {
            Ok(Answer { reply: Json::decode(&reply).map_err(unreadable)?, version, replayed, durable })
        }
        Err(AskError::Rejected { rejection, version, replayed }) => {
            Err(AskError::Rejected { rejection: Json::decode(&rejection).map_err(unreadable)?, version, replayed })
        }
        Err(AskError::NotFound { replayed }) => Err(AskError::NotFound { replayed }),
        Err(AskError::Fault(fault)) => Err(fault.into()),
    }
}

fn stored<A: Aggregate, C: Command>(outcome: &Outcome) -> Result<Answer<C::Reply>, AskError<C::Rejection>> {
    let unreadable = |e: CodecError| {
        Fault::new(Code::StoreFailed, format!("the stored outcome of `{}` can't be read any more: {e}", C::NAME))
    };
    let Outcome { kind, version, codec, body } = outcome;
    match kind {
        OutcomeKind::Replied => {
            let reply = decode_stored::<A::Codec, C::Reply>(*codec, body).map_err(unreadable)?;
            Ok(Answer { reply, version: *version, replayed: true, durable: true })
        }
        OutcomeKind::Rejected => {
            let rejection = decode_stored::<A::Codec, C::Rejection>(*codec, body).map_err(unreadable)?;
            Err(AskError::Rejected { rejection, version: *version, replayed: true })
        }
        OutcomeKind::NotFound => Err(AskError::NotFound { replayed: true }),
    }
}

/// Reads a command by name.
///
/// # Errors
/// JSON that is not the command, with the place inside it.
pub fn read_command<A: Aggregate, C: HandledBy<A>>(
    json: &[u8],
    respond: ByName,
) -> Result<Box<dyn Pending>, (CodecError, ByName)> {
    match Json::decode::<C>(json) {
        Ok(command) => Ok(Box::new(PendingCommand::<A, C, ByName>::new(command, respond))),
        Err(e) => Err((e, respond)),
    }
}

/// Where the answer to a query goes.
pub trait RespondQuery<Q: Query>: Send + 'static {
    /// Takes the answer.
    fn respond(self, answer: Result<Answer<Q::Reply>, QueryError>);
}

/// Where the answer to a query by name goes, as JSON.
pub struct ByNameQuery(pub Box<dyn FnOnce(Result<Answer<Vec<u8>>, QueryError>) + Send>);

impl<Q: Query> RespondQuery<Q> for ByNameQuery {
    fn respond(self, answer: Result<Answer<Q::Reply>, QueryError>) {
        (self.0)(answer.and_then(|Answer { reply, version, replayed, durable }| {
            let reply = to_json(&reply).map_err(|e| Fault::new(Code::InvalidMessage, e.to_string()))?;
            Ok(Answer { reply, version, replayed, durable })
        }));
    }
}

/// A query that waits for its aggregate.
pub trait PendingQuestion: Send {
    /// Which aggregate it is for.
    ///
    /// # Errors
    /// Fields that make no id.
    fn aggregate_id(&self) -> Result<AggregateId, InvalidId>;

    /// Reads the state and keeps the answer. May be called again, when the state turned out not to be durable.
    ///
    /// # Errors
    /// A fault.
    fn answer(&mut self, state: &mut (dyn Any + Send + Sync)) -> Result<(), Fault>;

    /// The query's wire name.
    fn name(&self) -> &'static str;

    /// The query as canonical JSON.
    ///
    /// # Errors
    /// A query that its serializer refuses.
    fn encode(&mut self) -> Result<&[u8], CodecError>;

    /// Tells the caller what [`PendingQuestion::answer`] found, with the version that it rests on.
    fn tell(self: Box<Self>, told: Result<u64, QueryError>);

    /// Tells the caller what the aggregate's owner on another node answered.
    fn tell_elsewhere(self: Box<Self>, answer: Result<Answer<Vec<u8>>, QueryError>);
}

/// [`PendingQuestion`] for the query `Q` of the aggregate `A`.
pub struct PendingQuery<A, Q: Query, R> {
    query: Option<Q>,
    json: Vec<u8>,
    answer: Option<Q::Reply>,
    respond: R,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate, Q: AnsweredBy<A>, R: RespondQuery<Q>> PendingQuery<A, Q, R> {
    /// A query and where its answer goes.
    pub fn new(query: Q, respond: R) -> Self {
        Self { query: Some(query), json: Vec::new(), answer: None, respond, aggregate: PhantomData }
    }
}

impl<A: Aggregate, Q: AnsweredBy<A>, R: RespondQuery<Q>> PendingQuestion for PendingQuery<A, Q, R> {
    fn aggregate_id(&self) -> Result<AggregateId, InvalidId> {
        self.query.as_ref().map_or(Err(InvalidId::Empty), Q::aggregate_id)
    }

    fn answer(&mut self, state: &mut (dyn Any + Send + Sync)) -> Result<(), Fault> {
        let invalid = |e: CodecError| Fault::new(Code::InvalidMessage, e.to_string());
        let query = match self.query.take() {
            Some(query) => {
                if self.json.is_empty() {
                    Json::encode(&query, &mut self.json).map_err(invalid)?;
                }
                query
            }
            None => Json::decode(&self.json).map_err(invalid)?,
        };
        self.answer = Some(query.answer(state_of::<A>(state)?));
        Ok(())
    }

    fn name(&self) -> &'static str {
        Q::NAME
    }

    fn encode(&mut self) -> Result<&[u8], CodecError> {
        if let (true, Some(query)) = (self.json.is_empty(), &self.query) {
            self.json = encode_exact::<Json, Q>(query)?;
        }
        Ok(&self.json)
    }

    fn tell_elsewhere(self: Box<Self>, answer: Result<Answer<Vec<u8>>, QueryError>) {
        self.respond.respond(answer.and_then(|Answer { reply, version, replayed, durable }| {
            let unreadable = |e: CodecError| {
                Fault::new(Code::InvalidMessage, format!("the answer of another node can't be read here: {e}"))
            };
            Ok(Answer { reply: Json::decode(&reply).map_err(unreadable)?, version, replayed, durable })
        }));
    }

    fn tell(self: Box<Self>, told: Result<u64, QueryError>) {
        let Self { answer, respond, .. } = *self;
        respond.respond(told.and_then(|version| match answer {
            Some(reply) => Ok(Answer { reply, version, replayed: false, durable: true }),
            None => Err(Fault::new(Code::StoreFailed, "told before it was answered").into()),
        }));
    }
}

/// Reads a query by name.
///
/// # Errors
/// JSON that is not the query, with the place inside it.
pub fn read_query<A: Aggregate, Q: AnsweredBy<A>>(
    json: &[u8],
    respond: ByNameQuery,
) -> Result<Box<dyn PendingQuestion>, (CodecError, ByNameQuery)> {
    match Json::decode::<Q>(json) {
        Ok(query) => Ok(Box::new(PendingQuery::<A, Q, ByNameQuery>::new(query, respond))),
        Err(e) => Err((e, respond)),
    }
}
