//! Commands and queries by name: for gateways, and for callers who have the message's crate only.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Client;
use super::deliver::{self, CallOptions, Reception, Sending, stayed_full};
use crate::client::door::{Door, Receipt, Request};
use crate::domain::error::{Code, Fault, QueryError};
use crate::domain::id::{AggregateId, MessageId};
use crate::domain::metadata::{Envelope, Priority};
use crate::domain::pending::{Answer, ByName, ByNameQuery, NamedAnswer, Told};
use crate::domain::ports::BoxFuture;
use crate::engine::mailbox::{Body, Mail};
use crate::engine::order::Order;

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

impl Sent {
    /// Whether it waits for room in a full mailbox: what is sent after it may overtake it.
    pub(crate) fn poll_left(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.sending.poll(cx)
    }
}

/// Of a command that a bus gave: there may have been attempts, and nobody's time-out ends it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivered {
    /// Whether there was an attempt for certain.
    pub(crate) before: bool,
    /// With which it is to be done one after the other.
    pub(crate) order: Option<Order>,
    /// After how long it is not to be done any more.
    pub(crate) expires: Option<Duration>,
}

/// Sends a command by name that a bus gave. The answer is that of the engine, however long it takes.
pub(crate) fn deliver(client: &Client, envelope: Envelope, delivered: Delivered) -> Sent {
    let Delivered { before, order, expires } = delivered;
    let sent = if before { deliver::Sent::Before } else { deliver::Sent::Perhaps };
    let expires = expires.and_then(|left| client.router().clock.monotonic().checked_add(left));
    send_as(client, Envelope { timeout: Some(Duration::MAX), ..envelope }, sent, order, expires)
}

pub(super) fn send(client: &Client, envelope: Envelope) -> Sent {
    send_as(client, envelope, deliver::Sent::default(), None, None)
}

fn send_as(
    client: &Client,
    envelope: Envelope,
    before: deliver::Sent,
    order: Option<Order>,
    expires: Option<Duration>,
) -> Sent {
    let (sender, receiver) = oneshot::channel();
    let respond = ByName(Box::new(move |answer| {
        // whoever asked may be gone
        let _ = sender.send(answer);
    }));
    let timeout = client.timeout_or_default(envelope.timeout);
    let reception = Reception::new(client.share(), receiver, timeout);
    let deadline = expires.or_else(|| reception.deadline());
    let mut sent = Sent { sending: Sending::Done, reception, id: None };
    let Some(entry) = client.catalog().command(&envelope.aggregate, &envelope.name) else {
        let text = format!("this node has no aggregate `{}` with a command `{}`", envelope.aggregate, envelope.name);
        (respond.0)(Err(Fault::new(Code::UnknownName, text).into()));
        return sent;
    };
    let pending = match (entry.read)(&envelope.payload, respond) {
        Ok(pending) => pending,
        Err((reason, respond)) => {
            (respond.0)(Err(Fault::new(Code::InvalidMessage, reason.to_string()).into()));
            return sent;
        }
    };
    let id = pending.aggregate_id();
    sent.id = id.as_ref().ok().cloned();
    let kind = client.catalog().index_of_name(&envelope.aggregate);
    let options = CallOptions {
        message: Some(envelope.id),
        key: envelope.idempotency_key,
        priority: envelope.priority,
        timeout: Some(timeout),
        metadata: Some(envelope.metadata),
        sent: before,
        order,
    };
    match client.command_mail(pending, options) {
        Ok(command) => match client.address(kind, entry.facts.of, id, deadline) {
            Ok(to) => sent.sending = client.leave(Mail::new(to, Body::Command(command)), envelope.priority),
            Err(fault) => command.pending.tell(Told::Fault(fault)),
        },
        Err((pending, fault)) => pending.tell(Told::Fault(fault)),
    }
    sent
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
        let sent = send(self, request.envelope);
        Box::pin(async move { sent.await.answer })
    }

    fn tell(&self, request: Request) -> BoxFuture<'static, Result<Receipt, Fault>> {
        if let Some(reply_to) = request.reply_to {
            let text = format!(
                "there is no bus on which `{reply_to}` could be told: ask for the reply, or send the command over a bus"
            );
            return Box::pin(ready(Err(Fault::new(Code::InvalidMessage, text))));
        }
        let sent = send(self, request.envelope);
        Box::pin(async move { Receipt::of(sent.await.answer) })
    }

    fn query(&self, request: Request) -> BoxFuture<'static, Result<Answer<Vec<u8>>, QueryError>> {
        let Envelope { aggregate, name, timeout, payload, .. } = request.envelope;
        let asked = query(self, &aggregate, &name, &payload, self.timeout_or_default(timeout));
        Box::pin(async move { asked.await.answer })
    }
}
