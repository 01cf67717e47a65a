//! Commands, typed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Client;
use super::deliver::{CallOptions, Reception, Sending, Sent, stayed_full};
use crate::client::door::Receipt;
use crate::domain::error::{AskError, Fault};
use crate::domain::message::Command;
use crate::domain::metadata::{Metadata, Priority};
use crate::domain::pending::{Answer, Pending, Respond, Told};
use crate::engine::mailbox::{Body, Mail};

type Answered<C> = Result<Answer<<C as Command>::Reply>, AskError<<C as Command>::Rejection>>;

/// Hands the answer to who asked.
pub(crate) struct ToCaller<C: Command>(pub(crate) oneshot::Sender<Answered<C>>);

impl<C: Command> Respond<C> for ToCaller<C> {
    fn respond(self, answer: Answered<C>) {
        // whoever asked may be gone
        let _ = self.0.send(answer);
    }
}

/// A command on its way; sent when it is first polled.
pub struct Call<C: Command> {
    client: Client,
    kind: Option<usize>,
    aggregate: &'static str,
    options: CallOptions,
    unsent: Option<Box<dyn Pending>>,
    sending: Sending,
    receiver: Option<oneshot::Receiver<Answered<C>>>,
    reception: Option<Reception<Answered<C>>>,
}

impl<C: Command> Call<C> {
    pub(crate) fn new(
        client: Client,
        kind: Option<usize>,
        aggregate: &'static str,
        pending: Box<dyn Pending>,
        receiver: oneshot::Receiver<Answered<C>>,
    ) -> Self {
        Self {
            client,
            kind,
            aggregate,
            options: CallOptions::default(),
            unsent: Some(pending),
            sending: Sending::Done,
            receiver: Some(receiver),
            reception: None,
        }
    }

    fn start(&mut self, pending: Box<dyn Pending>) {
        let timeout = self.client.timeout_or_default(self.options.timeout);
        let Some(receiver) = self.receiver.take() else { return };
        let reception = Reception::new(self.client.share(), receiver, timeout);
        let deadline = self.reception.insert(reception).deadline();
        let id = pending.aggregate_id();
        let priority = self.options.priority;
        let command = match self.client.command_mail(pending, std::mem::take(&mut self.options)) {
            Ok(command) => command,
            Err((pending, fault)) => return pending.tell(Told::Fault(fault)),
        };
        match self.client.address(self.kind, self.aggregate, id, deadline) {
            Ok(to) => self.sending = self.client.leave(Mail::new(to, Body::Command(command)), priority),
            Err(fault) => command.pending.tell(Told::Fault(fault)),
        }
    }

    fn poll_answer(&mut self, cx: &mut TaskContext<'_>) -> Poll<Answered<C>> {
        if let Some(pending) = self.unsent.take() {
            self.start(pending);
        }
        let Some(reception) = &mut self.reception else { return Poll::Pending };
        // also while it waits for room: a time-out ends both
        let sent = self.sending.poll(cx);
        match reception.poll(cx) {
            Poll::Ready(Ok(answer)) => Poll::Ready(self.client.mark(answer)),
            Poll::Ready(Err(fault)) if sent.is_pending() => Poll::Ready(Err(stayed_full(&fault).into())),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

macro_rules! options {
    () => {
        /// How long to wait; the engine's `ask_timeout` by default. A command that timed out may still be done: send
        /// it again with the same idempotency key.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.0.options.timeout = Some(timeout);
            self
        }

        /// Makes this command a repeat of any other of the same name and key to the same aggregate: it is done once,
        /// and every repeat gets the first answer. A command with a key in its own fields (`idempotent_by`) has that.
        pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
            self.0.options.key = Some(key.into());
            self
        }

        /// Its place in the mailbox.
        pub fn priority(mut self, priority: Priority) -> Self {
            self.0.options.priority = priority;
            self
        }

        /// What travels along.
        pub fn metadata(mut self, metadata: Metadata) -> Self {
            self.0.options.metadata = Some(metadata);
            self
        }

        /// Says that this command was sent before, so that the store is asked about it before it is decided.
        /// Without a key it can't be a repeat, and this says nothing.
        pub fn repeated(mut self) -> Self {
            self.0.options.sent = Sent::Before;
            self
        }
    };
}

/// A command whose reply is awaited.
///
/// # Cancel safety
/// Once it was polled the command is on its way: dropping the future does not take it back.
#[must_use = "nothing is sent until it is awaited"]
pub struct Ask<C: Command>(pub(crate) Call<C>);

impl<C: Command> Ask<C> {
    options!();

    /// The reply with the version that it rests on, and whether it is the answer to an earlier attempt.
    pub fn answer(self) -> AskAnswer<C> {
        AskAnswer(self.0)
    }
}

impl<C: Command> Future for Ask<C> {
    type Output = Result<C::Reply, AskError<C::Rejection>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.poll_answer(cx).map_ok(|answer| answer.reply)
    }
}

/// A command whose reply is awaited together with what it rests on.
///
/// # Cancel safety
/// As [`Ask`].
#[must_use = "nothing is sent until it is awaited"]
pub struct AskAnswer<C: Command>(Call<C>);

impl<C: Command> Future for AskAnswer<C> {
    type Output = Answered<C>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.poll_answer(cx)
    }
}

/// A command whose outcome does not matter to its caller, only that it is durable.
///
/// # Cancel safety
/// As [`Ask`].
#[must_use = "nothing is sent until it is awaited"]
pub struct Tell<C: Command>(pub(crate) Call<C>);

impl<C: Command> Tell<C> {
    options!();
}

impl<C: Command> Future for Tell<C> {
    type Output = Result<Receipt, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.poll_answer(cx).map(Receipt::of)
    }
}

impl<C: Command> Unpin for Call<C> {}
impl<C: Command> fmt::Debug for Ask<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({})", C::NAME)
    }
}
impl<C: Command> fmt::Debug for AskAnswer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AskAnswer({})", C::NAME)
    }
}
impl<C: Command> fmt::Debug for Tell<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tell({})", C::NAME)
    }
}
