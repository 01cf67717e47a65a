//! Calls typed by the message alone, which names its aggregate: they go by name, so that the caller needs the message's
//! crate only. That the aggregate handles it is found out when it arrives.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use crate::client::Client;
use crate::client::ask::Receipt;
use crate::client::named::{self, Asked, Sent};
use crate::domain::codec::{Codec, CodecError, Json};
use crate::domain::error::{AskError, Code, Fault, QueryError};
use crate::domain::message::{Addressed, Command, Query};
use crate::domain::metadata::{Envelope, Metadata, Priority};
use crate::domain::pending::{Answer, NamedAnswer, from_json};

/// A command on its way by name; sent when it is first polled.
struct Call {
    client: Client,
    envelope: Result<Option<Envelope>, Fault>,
    sent: Option<Sent>,
}

impl Call {
    fn new<C: Command + Addressed>(client: Client, command: &C) -> Self {
        let mut payload = Vec::new();
        let envelope = match Json::encode(command, &mut payload) {
            Ok(()) => Ok(Some(Envelope {
                id: client.next_message_id(),
                aggregate: C::AGGREGATE.unwrap_or_default().to_owned(),
                name: C::NAME.to_owned(),
                idempotency_key: None,
                priority: Priority::default(),
                timeout: None,
                metadata: Metadata::default(),
                payload,
            })),
            Err(reason) => Err(invalid(&reason)),
        };
        Self { client, envelope, sent: None }
    }

    fn change(&mut self, change: impl FnOnce(&mut Envelope)) {
        if let Ok(Some(envelope)) = &mut self.envelope {
            change(envelope);
        }
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<NamedAnswer> {
        match &mut self.envelope {
            Err(fault) => return Poll::Ready(Err(fault.clone().into())),
            Ok(envelope) => {
                if let Some(envelope) = envelope.take() {
                    self.sent = Some(named::send(&self.client, envelope));
                }
            }
        }
        let Some(sent) = &mut self.sent else { return Poll::Pending };
        Pin::new(sent).poll(cx).map(|outcome| outcome.answer)
    }
}

fn invalid(reason: &CodecError) -> Fault {
    Fault::new(Code::InvalidMessage, reason.to_string())
}

macro_rules! options {
    () => {
        /// Makes this command a repeat of any other of the same name and key to the same aggregate.
        pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
            self.call.change(|envelope| envelope.idempotency_key = Some(key.into()));
            self
        }

        /// How long to wait; the engine's `ask_timeout` by default.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.call.change(|envelope| envelope.timeout = Some(timeout));
            self
        }

        /// Its place in the mailbox.
        pub fn priority(mut self, priority: Priority) -> Self {
            self.call.change(|envelope| envelope.priority = priority);
            self
        }

        /// What travels along.
        pub fn metadata(mut self, metadata: Metadata) -> Self {
            self.call.change(|envelope| envelope.metadata = metadata);
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
    call: Call,
    message: PhantomData<fn() -> C>,
}

impl<C: Command + Addressed> AskByMessage<C> {
    pub(super) fn new(client: Client, command: &C) -> Self {
        Self { call: Call::new(client, command), message: PhantomData }
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
        self.call.poll(cx).map(|answer| from_json::<C>(answer).map(|answer| answer.reply))
    }
}

/// A command whose reply is awaited together with what it rests on.
///
/// # Cancel safety
/// As [`AskByMessage`].
#[must_use = "nothing is sent until it is awaited"]
pub struct AnswerByMessage<C> {
    call: Call,
    message: PhantomData<fn() -> C>,
}

impl<C: Command> Future for AnswerByMessage<C> {
    type Output = Result<Answer<C::Reply>, AskError<C::Rejection>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.call.poll(cx).map(from_json::<C>)
    }
}

/// A command whose outcome does not matter to its caller, only that it is durable.
///
/// # Cancel safety
/// As [`AskByMessage`].
#[must_use = "nothing is sent until it is awaited"]
pub struct TellByMessage<C> {
    call: Call,
    message: PhantomData<fn() -> C>,
}

impl<C: Command + Addressed> TellByMessage<C> {
    pub(super) fn new(client: Client, command: &C) -> Self {
        Self { call: Call::new(client, command), message: PhantomData }
    }

    options!();
}

impl<C: Command> Future for TellByMessage<C> {
    type Output = Result<Receipt, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.call.poll(cx).map(Receipt::of)
    }
}

/// A query whose answer is awaited; sent when it is first polled.
///
/// # Cancel safety
/// A query changes nothing: drop it whenever you like.
#[must_use = "nothing is sent until it is awaited"]
pub struct QueryByMessage<Q> {
    client: Client,
    json: Result<Option<Vec<u8>>, Fault>,
    timeout: Option<Duration>,
    asked: Option<Asked>,
    message: PhantomData<fn() -> Q>,
}

impl<Q: Query + Addressed> QueryByMessage<Q> {
    pub(super) fn new(client: Client, query: &Q) -> Self {
        let mut json = Vec::new();
        let json = Json::encode(query, &mut json).map(|()| Some(json)).map_err(|e| invalid(&e));
        Self { client, json, timeout: None, asked: None, message: PhantomData }
    }

    /// How long to wait; the engine's `ask_timeout` by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<Q: Query> Future for QueryByMessage<Q> {
    type Output = Result<Q::Reply, QueryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match &mut this.json {
            Err(fault) => return Poll::Ready(Err(fault.clone().into())),
            Ok(json) => {
                if let Some(json) = json.take() {
                    let timeout = this.client.timeout_or_default(this.timeout);
                    let aggregate = Q::AGGREGATE.unwrap_or_default();
                    this.asked = Some(named::query(&this.client, aggregate, Q::NAME, &json, timeout));
                }
            }
        }
        let Some(asked) = &mut this.asked else { return Poll::Pending };
        let answer = ready!(Pin::new(asked).poll(cx)).answer?;
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
