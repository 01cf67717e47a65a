//! Queries, typed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Client;
use super::deliver::{Reception, Sending, stayed_full};
use crate::domain::error::QueryError;
use crate::domain::message::Query;
use crate::domain::metadata::Priority;
use crate::domain::pending::{Answer, PendingQuestion, RespondQuery};
use crate::engine::mailbox::{Body, Mail};

type Answered<Q> = Result<Answer<<Q as Query>::Reply>, QueryError>;

/// Hands the answer to who asked.
pub(crate) struct ToCaller<Q: Query>(pub(crate) oneshot::Sender<Answered<Q>>);

impl<Q: Query> RespondQuery<Q> for ToCaller<Q> {
    fn respond(self, answer: Answered<Q>) {
        // whoever asked may be gone
        let _ = self.0.send(answer);
    }
}

/// A query whose answer is awaited; sent when it is first polled.
///
/// # Cancel safety
/// A query changes nothing: drop it whenever you like.
#[must_use = "nothing is sent until it is awaited"]
pub struct Question<Q: Query> {
    client: Client,
    kind: Option<usize>,
    aggregate: &'static str,
    timeout: Option<Duration>,
    priority: Priority,
    unsent: Option<Box<dyn PendingQuestion>>,
    sending: Sending,
    receiver: Option<oneshot::Receiver<Answered<Q>>>,
    reception: Option<Reception<Answered<Q>>>,
}

impl<Q: Query> Question<Q> {
    pub(crate) fn new(
        client: Client,
        kind: Option<usize>,
        aggregate: &'static str,
        pending: Box<dyn PendingQuestion>,
        receiver: oneshot::Receiver<Answered<Q>>,
    ) -> Self {
        Self {
            client,
            kind,
            aggregate,
            timeout: None,
            priority: Priority::default(),
            unsent: Some(pending),
            sending: Sending::Done,
            receiver: Some(receiver),
            reception: None,
        }
    }

    /// How long to wait; the engine's `ask_timeout` by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Its place in the mailbox.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    fn start(&mut self, pending: Box<dyn PendingQuestion>) {
        let timeout = self.client.timeout_or_default(self.timeout);
        let Some(receiver) = self.receiver.take() else { return };
        let reception = Reception::new(self.client.share(), receiver, timeout);
        let deadline = self.reception.insert(reception).deadline();
        let id = pending.aggregate_id();
        match self.client.address(self.kind, self.aggregate, id, deadline) {
            Ok(to) => self.sending = self.client.leave(Mail::new(to, Body::Query(pending)), self.priority),
            Err(fault) => pending.tell(Err(fault.into())),
        }
    }
}

impl<Q: Query> Future for Question<Q> {
    type Output = Result<Q::Reply, QueryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let Some(pending) = self.unsent.take() {
            self.start(pending);
        }
        let this = &mut *self;
        let Some(reception) = &mut this.reception else { return Poll::Pending };
        // also while it waits for room: a time-out ends both
        let sent = this.sending.poll(cx);
        reception.poll(cx).map(|answer| match answer {
            Ok(answer) => Ok(answer?.reply),
            Err(fault) if sent.is_pending() => Err(stayed_full(&fault).into()),
            Err(fault) => Err(fault.into()),
        })
    }
}

impl<Q: Query> Unpin for Question<Q> {}

impl<Q: Query> fmt::Debug for Question<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({})", Q::NAME)
    }
}
