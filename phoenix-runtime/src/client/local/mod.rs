//! Calls to an engine of this process.
//!
//! # Layout
//! - [`Client`], [`Of`]: where calls begin
//! - [`ask`]: commands; [`query`]: queries; [`named`]: both by name
//! - [`snapshot`]: snapshots by hand
//! - [`deliver`]: how a call reaches the shard that owns its aggregate

pub mod ask;
pub(crate) mod deliver;
pub mod named;
pub mod query;
pub mod snapshot;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::ask::{Ask, Call, Tell};
use self::query::Question;
use crate::client::by_message::{AskByMessage, QueryByMessage, TellByMessage};
use crate::client::door::Receipt;
use crate::domain::aggregate::Aggregate;
use crate::domain::context::{CallChain, Cause, Context};
use crate::domain::error::{AskError, Fault};
use crate::domain::handle::{AnsweredBy, HandledBy};
use crate::domain::id::{AggregateId, MessageId};
use crate::domain::message::{Addressed, Command, Query};
use crate::domain::metadata::Envelope;
use crate::domain::pending::{Answer, PendingCommand, PendingQuery};
use crate::engine::Engine;
use crate::engine::catalog::Catalog;
use crate::engine::router::Router;

/// The way to the aggregates of an engine, used from many threads. A clone for each task is better than one that all
/// share: their calls would fight over its count of references.
pub struct Client(Arc<Way>);

/// What a client and its calls share.
#[derive(Clone)]
struct Way {
    router: Arc<Router>,
    /// The aggregates that wait for what this client asks.
    chain: CallChain,
    /// The command whose handler asks.
    cause: Option<Arc<Cause>>,
    /// Whether what this node does not own is refused, also where it could be forwarded.
    stays: bool,
}

impl Engine {
    /// The way to its aggregates.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(Way { router: Arc::clone(&self.router), chain: CallChain::default(), cause: None, stays: false })
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::new(Way::clone(&self.0))
    }
}

impl Client {
    fn new(way: Way) -> Self {
        Self(Arc::new(way))
    }

    /// For a call: the same count of references.
    fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn router(&self) -> &Router {
        &self.0.router
    }

    /// The way to the aggregates of one type. Only messages that `A` handles compile.
    #[must_use]
    pub fn of<A: Aggregate>(&self) -> Of<A> {
        Of { client: self.share(), aggregate: PhantomData }
    }

    /// Asks with the message alone, which names its aggregate (`aggregate = "..."`).
    #[allow(clippy::needless_pass_by_value, reason = "as the typed ask takes it")]
    pub fn ask<C: Command + Addressed>(&self, command: C) -> AskByMessage<C> {
        AskByMessage::new(Arc::new(self.share()), C::AGGREGATE.unwrap_or_default(), &command)
    }

    /// Tells with the message alone, which names its aggregate.
    #[allow(clippy::needless_pass_by_value, reason = "as the typed tell takes it")]
    pub fn tell<C: Command + Addressed>(&self, command: C) -> TellByMessage<C> {
        TellByMessage::new(Arc::new(self.share()), C::AGGREGATE.unwrap_or_default(), &command)
    }

    /// Queries with the message alone, which names its aggregate.
    #[allow(clippy::needless_pass_by_value, reason = "as the typed query takes it")]
    pub fn query<Q: Query + Addressed>(&self, query: Q) -> QueryByMessage<Q> {
        QueryByMessage::new(Arc::new(self.share()), Q::AGGREGATE.unwrap_or_default(), &query)
    }

    /// The way to what this node owns: anything else is refused as `ownership-lost` instead of going to its owner. For
    /// whoever brings messages from other nodes.
    #[must_use]
    pub fn here(&self) -> Self {
        Self::new(Way { stays: true, ..Way::clone(&self.0) })
    }

    /// Sends a command by name.
    pub fn send(&self, envelope: Envelope) -> named::Sent {
        named::send(self, envelope, None)
    }

    /// Sends a query by name, its fields as JSON.
    pub fn query_named(&self, aggregate: &str, name: &str, json: &[u8], timeout: Duration) -> named::Asked {
        named::query(self, aggregate, name, json, timeout)
    }

    /// Takes a snapshot of an aggregate now, beside those that its policy asks for. Waits, unless `timeout` is given, for
    /// as long as an ask does. The answer is the version that the snapshot holds, once it is durable.
    pub fn snapshot(&self, aggregate: &str, id: &str, timeout: Option<Duration>) -> snapshot::Snapshotting {
        snapshot::snapshot(self, aggregate, AggregateId::new(id), timeout)
    }

    /// Whether what this engine tells survives its process: not with the stores `memory` and `none`.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.router().durable
    }

    /// An answer with the durability of what it rests on, which who gave it does not know.
    fn mark<T, E>(&self, answer: Result<Answer<T>, E>) -> Result<Answer<T>, E> {
        answer.map(|answer| Answer { durable: self.router().durable, ..answer })
    }

    /// The names that the engine knows.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.router().catalog
    }

    /// A new message id.
    #[must_use]
    pub fn next_message_id(&self) -> MessageId {
        self.router().next_message_id()
    }
}

impl Receipt {
    /// Of any outcome; a fault is none.
    fn of<T, R>(answer: Result<Answer<T>, AskError<R>>) -> Result<Self, Fault> {
        let version = match answer {
            Ok(Answer { version, .. }) | Err(AskError::Rejected { version, .. }) => Some(version),
            Err(AskError::NotFound { .. }) => None,
            Err(AskError::Fault(fault)) => return Err(fault),
        };
        Ok(Self { version, posted: None })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.router().catalog)
    }
}

/// The way to the aggregates of type `A`.
pub struct Of<A> {
    client: Client,
    aggregate: PhantomData<fn() -> A>,
}

impl<A> Clone for Of<A> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), aggregate: PhantomData }
    }
}

impl<A> fmt::Debug for Of<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

impl<A: Aggregate> Of<A> {
    /// Sends a command and waits for its reply, which is durable when it comes.
    pub fn ask<C: HandledBy<A>>(&self, command: C) -> Ask<C> {
        Ask(self.call(command))
    }

    /// Sends a command and waits until its outcome is durable, whichever it is.
    pub fn tell<C: HandledBy<A>>(&self, command: C) -> Tell<C> {
        Tell(self.call(command))
    }

    /// Reads the state of an aggregate; what the answer rests on is durable.
    pub fn query<Q: AnsweredBy<A>>(&self, query: Q) -> Question<Q> {
        let (sender, receiver) = oneshot::channel();
        let pending = Box::new(PendingQuery::<A, Q, _>::new(query, query::ToCaller(sender)));
        Question::new(self.client.share(), self.client.catalog().index_of::<A>(), A::NAME, pending, receiver)
    }

    fn call<C: HandledBy<A>>(&self, command: C) -> Call<C> {
        let (sender, receiver) = oneshot::channel();
        let pending = Box::new(PendingCommand::<A, C, _>::new(command, ask::ToCaller(sender)));
        Call::new(self.client.share(), self.client.catalog().index_of::<A>(), A::NAME, pending, receiver)
    }
}

/// What a handler's context gives to those who have an engine.
pub trait ContextClient {
    /// The way to other aggregates from inside an `async` handler. An ask to an aggregate that waits for this very
    /// handler is refused at once. `None` outside an engine, as in a fixture.
    ///
    /// A handler may run again: when its batch fails, and when its caller sends the command again after a crash. So a
    /// command without a key gets one here, made of the handler's own command and the number of the ask: asked again
    /// in the same order, it is done once. Another payload under it is told `key-reused`.
    fn client(&self) -> Option<Client>;
}

impl ContextClient for Context {
    fn client(&self) -> Option<Client> {
        let router = self.resource::<Arc<Router>>()?;
        let (chain, cause) = (self.chain().clone(), self.cause().cloned());
        Some(Client::new(Way { router: Arc::clone(&router), chain, cause, stays: false }))
    }
}
