//! Commands and queries by name: for gateways, and for callers who have the message's crate only.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Client;
use super::deliver::{CallOptions, Reception, Sending, stayed_full};
use crate::client::door::{Door, Receipt, Request};
use crate::domain::error::{Code, Fault, QueryError};
use crate::domain::id::{AggregateId, MessageId};
use crate::domain::metadata::{Envelope, Priority};
use crate::domain::pending::{Answer, ByName, ByNameQuery, NamedAnswer, Told};
use crate::domain::ports::BoxFuture;
use crate::engine::mailbox::{Body, Mail};

/// A command by name, on its way.
///
/// # Cancel safety
/// Once there was room for it the command is on its way: dropping the future does not take it back.
#[must_use = "the answer comes when it is awaited"]
pub struct Sent {
    sending: Sending,
    reception: Reception<NamedAnswer>,
    id: Option<AggregateId>,
}

/// What became of a command by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedOutcome<T> {
    /// The aggregate that it went to, as far as it could be read.
    pub id: Option<AggregateId>,
    /// The answer, its reply or rejection as JSON.
    pub answer: T,
}

impl Future for Sent {
    type Output = NamedOutcome<NamedAnswer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // also while it waits for room: a time-out ends both
        let waits = this.sending.poll(cx).is_pending();
        let fault = |fault: Fault| if waits { stayed_full(&fault) } else { fault };
        let id = &mut this.id;
        this.reception.poll(cx).map(|answer| {
            let answer = this.reception.client().mark(answer.unwrap_or_else(|found| Err(fault(found).into())));
            NamedOutcome { id: id.take(), answer }
        })
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sent({:?})", self.id)
    }
}

/// A command by name that a bus gave: there may have been attempts, and nobody's time-out ends it.
#[derive(Debug)]
pub(crate) struct Delivered<'a> {
    /// The aggregate's wire name.
    pub(crate) aggregate: &'a str,
    /// The command's wire name.
    pub(crate) name: &'a str,
    /// Its fields as JSON.
    pub(crate) payload: &'a [u8],
    /// What else there is to say.
    pub(crate) options: CallOptions,
    /// After how long it is not to be done any more.
    pub(crate) expires: Option<Duration>,
}

/// Leaves a command that a bus gave. The answer is that of the engine, however long it takes; `respond` is dropped where the
/// engine ends without one. What is sent while this waits for room in a full mailbox may overtake it.
pub(crate) fn deliver(
    client: &Client,
    delivered: Delivered<'_>,
    respond: impl FnOnce(NamedAnswer) + Send + 'static,
) -> Sending {
    let Delivered { aggregate, name, payload, options, expires } = delivered;
    let router = client.router();
    let deadline = expires.and_then(|left| router.clock.monotonic().checked_add(left));
    let durable = router.durable;
    let respond = move |answer: NamedAnswer| respond(answer.map(|answer| Answer { durable, ..answer }));
    leave(client, (aggregate, name, payload), options, deadline, ByName(Box::new(respond))).0
}

pub(super) fn send(client: &Client, envelope: Envelope, expires_after: Option<Duration>) -> Sent {
    let Envelope { id, aggregate, name, idempotency_key, priority, timeout, metadata, payload } = envelope;
    let (sender, receiver) = oneshot::channel();
    let respond = ByName(Box::new(move |answer| {
        // whoever asked may be gone
        let _ = sender.send(answer);
    }));
    let reception = Reception::new(client.share(), receiver, client.timeout_or_default(timeout));
    let options = CallOptions {
        message: Some(id),
        key: idempotency_key,
        priority,
        metadata: Some(metadata),
        ..CallOptions::default()
    };
    let expires = expires_after.and_then(|after| client.router().clock.monotonic().checked_add(after));
    let deadline = reception.deadline().into_iter().chain(expires).min();
    let (sending, id) = leave(client, (&aggregate, &name, &payload), options, deadline, respond);
    Sent { sending, reception, id }
}

/// Leaves a command for its shard. Whatever is wrong with it is its answer.
fn leave(
    client: &Client,
    (aggregate, name, payload): (&str, &str, &[u8]),
    options: CallOptions,
    deadline: Option<Duration>,
    respond: ByName,
) -> (Sending, Option<AggregateId>) {
    let Some(entry) = client.catalog().command(aggregate, name) else {
        let text = format!("this node has no aggregate `{aggregate}` with a command `{name}`");
        (respond.0)(Err(Fault::new(Code::UnknownName, text).into()));
        return (Sending::Done, None);
    };
    let pending = match (entry.read)(payload, respond) {
        Ok(pending) => pending,
        Err((reason, respond)) => {
            (respond.0)(Err(Fault::new(Code::InvalidMessage, reason.to_string()).into()));
            return (Sending::Done, None);
        }
    };
    let id = pending.aggregate_id();
    let read = id.as_ref().ok().cloned();
    let kind = client.catalog().index_of_name(aggregate);
    let priority = options.priority;
    let mut sending = Sending::Done;
    match client.command_mail(pending, options) {
        Ok(command) => match client.address(kind, entry.facts.of, id, deadline) {
            Ok(to) => sending = client.leave(Mail::new(to, Body::Command(command)), priority),
            Err(fault) => command.pending.tell(Told::Fault(fault)),
        },
        Err((pending, fault)) => pending.tell(Told::Fault(fault)),
    }
    (sending, read)
}

/// A query by name, on its way.
///
/// # Cancel safety
/// A query changes nothing: drop it whenever you like.
#[must_use = "the answer comes when it is awaited"]
pub struct Asked {
    sending: Sending,
    reception: Reception<Result<Answer<Vec<u8>>, QueryError>>,
    id: Option<AggregateId>,
}

impl Future for Asked {
    type Output = NamedOutcome<Result<Answer<Vec<u8>>, QueryError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // also while it waits for room: a time-out ends both
        let waits = this.sending.poll(cx).is_pending();
        let fault = |fault: Fault| if waits { stayed_full(&fault) } else { fault };
        let id = &mut this.id;
        this.reception.poll(cx).map(|answer| {
            let answer = this.reception.client().mark(answer.unwrap_or_else(|found| Err(fault(found).into())));
            NamedOutcome { id: id.take(), answer }
        })
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({:?})", self.id)
    }
}

pub(super) fn query(client: &Client, aggregate: &str, name: &str, json: &[u8], timeout: Duration) -> Asked {
    let (sender, receiver) = oneshot::channel();
    let respond = ByNameQuery(Box::new(move |answer| {
        // whoever asked may be gone
        let _ = sender.send(answer);
    }));
    let reception = Reception::new(client.share(), receiver, timeout);
    let deadline = reception.deadline();
    let mut asked = Asked { sending: Sending::Done, reception, id: None };
    let Some(entry) = client.catalog().query(aggregate, name) else {
        let text = format!("this node has no aggregate `{aggregate}` with a query `{name}`");
        (respond.0)(Err(Fault::new(Code::UnknownName, text).into()));
        return asked;
    };
    let pending = match (entry.read)(json, respond) {
        Ok(pending) => pending,
        Err((reason, respond)) => {
            (respond.0)(Err(Fault::new(Code::InvalidMessage, reason.to_string()).into()));
            return asked;
        }
    };
    let id = pending.aggregate_id();
    asked.id = id.as_ref().ok().cloned();
    let kind = client.catalog().index_of_name(aggregate);
    match client.address(kind, entry.of, id, deadline) {
        Ok(to) => asked.sending = client.leave(Mail::new(to, Body::Query(pending)), Priority::Normal),
        Err(fault) => pending.tell(Err(fault.into())),
    }
    asked
}

impl Door for Client {
    fn next_message_id(&self) -> MessageId {
        Self::next_message_id(self)
    }

    fn ask(&self, request: Request) -> BoxFuture<'static, NamedAnswer> {
        let sent = send(self, request.envelope, request.expires_after);
        Box::pin(async move { sent.await.answer })
    }

    fn tell(&self, request: Request) -> BoxFuture<'static, Result<Receipt, Fault>> {
        if let Some(reply_to) = request.reply_to {
            let text = format!(
                "there is no bus on which `{reply_to}` could be told: ask for the reply, or send the command over a bus"
            );
            return Box::pin(ready(Err(Fault::new(Code::InvalidMessage, text))));
        }
        let sent = send(self, request.envelope, request.expires_after);
        Box::pin(async move { Receipt::of(sent.await.answer) })
    }

    fn query(&self, request: Request) -> BoxFuture<'static, Result<Answer<Vec<u8>>, QueryError>> {
        let Envelope { aggregate, name, timeout, payload, .. } = request.envelope;
        let asked = query(self, &aggregate, &name, &payload, self.timeout_or_default(timeout));
        Box::pin(async move { asked.await.answer })
    }
}
