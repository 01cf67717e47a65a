//! Calls typed by the message alone, which names its aggregate: they go by name, so that the caller needs the message's
//! crate only. That the aggregate handles it is found out when it arrives.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use crate::bus::envelope::ReplyTo;
use crate::client::door::{Door, Receipt, Request};
use crate::domain::codec::{Codec, CodecError, Json};
use crate::domain::error::{AskError, Code, Fault, QueryError};
use crate::domain::id::{AggregateId, InvalidId};
use crate::domain::message::{Command, Query};
use crate::domain::metadata::{Envelope, Metadata, Priority};
use crate::domain::pending::{Answer, NamedAnswer, from_json};
use crate::domain::ports::BoxFuture;

/// A message on its way by name; sent when it is first polled.
struct Call<T> {
    door: Arc<dyn Door>,
    request: Result<Option<Request>, Fault>,
    sent: Option<BoxFuture<'static, T>>,
}

impl<T> Call<T> {
    fn new<M: serde::Serialize>(
        door: Arc<dyn Door>,
        (aggregate, name): (&str, &str),
        subject: Result<AggregateId, InvalidId>,
        message: &M,
    ) -> Self {
        let mut payload = Vec::new();
        let encoded = Json::encode(message, &mut payload).map_err(|reason| invalid(&reason));
        let subject = subject.map_err(|reason| Fault::new(Code::InvalidMessage, reason.to_string()));
        let request = encoded.and(subject).map(|subject| {
            let envelope = Envelope {
                id: door.next_message_id(),
                aggregate: aggregate.to_owned(),
                name: name.to_owned(),
                idempotency_key: None,
                priority: Priority::default(),
                timeout: None,
                metadata: Metadata::default(),
                payload,
            };
            Some(Request { envelope, subject, record_key: None, reply_to: None, expires_after: None })
        });
        Self { door, request, sent: None }
    }

    fn change(&mut self, change: impl FnOnce(&mut Request)) {
        if let Ok(Some(request)) = &mut self.request {
            change(request);
        }
    }

    fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        send: impl FnOnce(&dyn Door, Request) -> BoxFuture<'static, T>,
    ) -> Poll<Result<T, Fault>> {
        match &mut self.request {
            Err(fault) => return Poll::Ready(Err(fault.clone())),
            Ok(request) => {
                if let Some(request) = request.take() {
                    self.sent = Some(send(&*self.door, request));
                }
            }
        }
        let Some(under_way) = &mut self.sent else { return Poll::Pending };
        under_way.as_mut().poll(cx).map(Ok)
    }
}

fn invalid(reason: &CodecError) -> Fault {
    Fault::new(Code::InvalidMessage, reason.to_string())
}

macro_rules! options {
    () => {
        /// Makes this command a repeat of any other of the same name and key to the same aggregate.
        pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
            self.call.change(|request| request.envelope.idempotency_key = Some(key.into()));
            self
        }

        /// How long to wait; the `ask_timeout` of the engine, or of the client over a bus, by default.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.call.change(|request| request.envelope.timeout = Some(timeout));
            self
        }

        /// After how long, from when it is first polled, the command is not begun any more; one that was begun is finished.
        /// Without it a command that a bus has accepted is done however late that is: the time-out only says how long its
        /// caller waits. Over a bus it is a dead letter then, and whoever waits is told `expired`; an engine of this process
        /// tells `deadline-passed`.
        pub fn expires_after(mut self, time: Duration) -> Self {
            self.call.change(|request| request.expires_after = Some(time));
            self
        }

        /// Its place in the mailbox.
        pub fn priority(mut self, priority: Priority) -> Self {
            self.call.change(|request| request.envelope.priority = priority);
            self
        }

        /// The key of its record, where it goes over a bus: for tools, and for compaction. Which partition it goes to is
        /// for its aggregate to say.
        pub fn record_key(mut self, key: impl Into<String>) -> Self {
            self.call.change(|request| request.record_key = Some(key.into()));
            self
        }

        /// What travels along.
        pub fn metadata(mut self, metadata: Metadata) -> Self {
            self.call.change(|request| request.envelope.metadata = metadata);
            self
        }
    };
}

/// A command whose reply is awaited.
///
/// # Cancel safety
/// Once it was polled the command is on its way: dropping the future does not take it back.
#[must_use = "nothing is sent until it is awaited"]
pub struct AskByMessage<C> {
    call: Call<NamedAnswer>,
    message: PhantomData<fn() -> C>,
}

impl<C: Command> AskByMessage<C> {
    pub(super) fn new(door: Arc<dyn Door>, aggregate: &str, command: &C) -> Self {
        let call = Call::new(door, (aggregate, C::NAME), command.aggregate_id(), command);
        Self { call, message: PhantomData }
    }

    options!();

    /// The reply with the version that it rests on, and whether it is the answer to an earlier attempt.
    pub fn answer(self) -> AnswerByMessage<C> {
        AnswerByMessage { call: self.call, message: PhantomData }
    }
}

impl<C: Command> Future for AskByMessage<C> {
    type Output = Result<C::Reply, AskError<C::Rejection>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.call.poll(cx, Door::ask));
        Poll::Ready(answer.map_err(Into::into).and_then(from_json::<C>).map(|answer| answer.reply))
    }
}

/// A command whose reply is awaited together with what it rests on.
///
/// # Cancel safety
/// As [`AskByMessage`].
#[must_use = "nothing is sent until it is awaited"]
pub struct AnswerByMessage<C> {
    call: Call<NamedAnswer>,
    message: PhantomData<fn() -> C>,
}

impl<C: Command> Future for AnswerByMessage<C> {
    type Output = Result<Answer<C::Reply>, AskError<C::Rejection>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.call.poll(cx, Door::ask));
        Poll::Ready(answer.map_err(Into::into).and_then(from_json::<C>))
    }
}

/// A command that its caller only wants to be accepted: with an engine of this process its outcome is durable then,
/// whichever it is; over a bus the command is.
///
/// # Cancel safety
/// As [`AskByMessage`].
#[must_use = "nothing is sent until it is awaited"]
pub struct TellByMessage<C> {
    call: Call<Result<Receipt, Fault>>,
    message: PhantomData<fn() -> C>,
}

impl<C: Command> TellByMessage<C> {
    pub(super) fn new(door: Arc<dyn Door>, aggregate: &str, command: &C) -> Self {
        let call = Call::new(door, (aggregate, C::NAME), command.aggregate_id(), command);
        Self { call, message: PhantomData }
    }

    options!();

    /// Who is told the outcome, where the command goes over a bus.
    pub fn reply_to(mut self, reply_to: ReplyTo) -> Self {
        self.call.change(|request| request.reply_to = Some(reply_to));
        self
    }
}

impl<C: Command> Future for TellByMessage<C> {
    type Output = Result<Receipt, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.call.poll(cx, Door::tell).map(Result::flatten)
    }
}

/// A query whose answer is awaited; sent when it is first polled.
///
/// # Cancel safety
/// A query changes nothing: drop it whenever you like.
#[must_use = "nothing is sent until it is awaited"]
pub struct QueryByMessage<Q> {
    call: Call<Result<Answer<Vec<u8>>, QueryError>>,
    message: PhantomData<fn() -> Q>,
}

impl<Q: Query> QueryByMessage<Q> {
    pub(super) fn new(door: Arc<dyn Door>, aggregate: &str, query: &Q) -> Self {
        let call = Call::new(door, (aggregate, Q::NAME), query.aggregate_id(), query);
        Self { call, message: PhantomData }
    }

    /// How long to wait; the `ask_timeout` of the engine, or of the client over a bus, by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.change(|request| request.envelope.timeout = Some(timeout));
        self
    }
}

impl<Q: Query> Future for QueryByMessage<Q> {
    type Output = Result<Q::Reply, QueryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.call.poll(cx, Door::query))??;
        Poll::Ready(Json::decode(&answer.reply).map_err(|e| invalid(&e).into()))
    }
}

macro_rules! futures {
    ($($name:ident<$message:ident: $kind:ident>)*) => {$(
        impl<$message> Unpin for $name<$message> {}

        impl<$message: $kind> fmt::Debug for $name<$message> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), $message::NAME)
            }
        }
    )*};
}
futures! { AskByMessage<C: Command> AnswerByMessage<C: Command> TellByMessage<C: Command> QueryByMessage<Q: Query> }
