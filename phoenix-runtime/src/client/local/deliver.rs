//! How a call reaches the shard that owns its aggregate.

use std::future::Future as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Client;
use crate::domain::context::Cause;
use crate::domain::error::{Code, Fault};
use crate::domain::id::{AggregateId, Dedup, InvalidId, MAX_KEY_BYTES, MessageId, identity_hash};
use crate::domain::metadata::{MAX_HEADER_BYTES, Metadata, Priority};
use crate::domain::pending::Pending;
use crate::domain::ports::BoxFuture;
use crate::engine::mailbox::{Address, CommandMail, Mail, Repeat, Undelivered};
use crate::engine::order::Order;
use crate::engine::timers::Ticket;

/// What a caller may say besides the message.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallOptions {
    pub(crate) message: Option<MessageId>,
    pub(crate) key: Option<String>,
    pub(crate) priority: Priority,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Option<Metadata>,
    /// What is known about whether it was sent before.
    pub(crate) sent: Sent,
    /// With which it is to be done one after the other.
    pub(crate) order: Option<Order>,
}

/// What is known about whether a command was sent before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Only with a key.
    #[default]
    WithItsKey,
    /// Perhaps, also with nothing but its id: whoever sends it sends it again with the same one.
    Perhaps,
    /// It was, with its id or its key.
    Before,
}

/// Where an answer comes from, until the time-out.
pub(crate) struct Reception<T> {
    client: Client,
    receiver: oneshot::Receiver<T>,
    timeout: Duration,
    /// When it runs out, on the monotonic time; one too far away for that never does.
    deadline: Option<Duration>,
    timer: Timer,
}

/// What wakes a caller whose time-out is over.
enum Timer {
    /// Nothing yet: the answer was not asked for.
    None,
    Shared(Ticket),
    /// Where the clock has timers of its own.
    Own(BoxFuture<'static, ()>),
}

impl<T> Reception<T> {
    pub(crate) fn new(client: Client, receiver: oneshot::Receiver<T>, timeout: Duration) -> Self {
        let deadline = client.router().clock.monotonic().checked_add(timeout);
        Self { client, receiver, timeout, deadline, timer: Timer::None }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<T, Fault>> {
        if let Poll::Ready(answer) = Pin::new(&mut self.receiver).poll(cx) {
            return Poll::Ready(answer.map_err(|_| {
                Fault::new(
                    Code::OutcomeUnknown,
                    "the node stopped before it answered; it may be done: send it again with the same key",
                )
            }));
        }
        self.poll_timer(cx).map(|()| {
            Err(Fault::new(
                Code::TimedOut,
                format!("no answer within {:?}; it may still be done: send it again with the same key", self.timeout),
            ))
        })
    }

    fn poll_timer(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let router = self.client.router();
        match (&mut self.timer, &router.timers, self.deadline) {
            (_, _, None) => Poll::Pending,
            (Timer::Own(timer), ..) => timer.as_mut().poll(cx),
            (Timer::Shared(ticket), Some(timers), _) => timers.poll(ticket, cx.waker()),
            (timer, Some(timers), Some(deadline)) => {
                *timer = Timer::Shared(timers.begin(deadline, cx.waker()));
                Poll::Pending
            }
            (timer, None, _) => {
                let mut own = router.clock.sleep(self.timeout);
                let polled = own.as_mut().poll(cx);
                *timer = Timer::Own(own);
                polled
            }
        }
    }
}

impl<T> Drop for Reception<T> {
    fn drop(&mut self) {
        if let (Timer::Shared(ticket), Some(timers)) =
            (std::mem::replace(&mut self.timer, Timer::None), &self.client.router().timers)
        {
            timers.end(ticket);
        }
    }
}

/// Mail on its way into a mailbox that may be full.
pub(crate) enum Sending {
    Done,
    Waiting(BoxFuture<'static, Result<(), Undelivered>>),
}

impl Sending {
    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if let Self::Waiting(sending) = self {
            match sending.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                // the answer to the mail says why
                Poll::Ready(Err(undelivered)) => fail(undelivered),
            }
            *self = Self::Done;
        }
        Poll::Ready(())
    }
}

/// The fault of a call that timed out while it waited for room.
pub(super) fn stayed_full(timed_out: &Fault) -> Fault {
    Fault::new(Code::MailboxFull, format!("the mailbox stayed full; nothing was done: {}", timed_out.detail))
}

fn fail(undelivered: Undelivered) {
    match undelivered {
        Undelivered::Full(mail) => mail.fail(Fault::new(Code::MailboxFull, "the mailbox is full; try again later")),
        Undelivered::Closed(mail) => mail.fail(Fault::new(Code::Stopping, "the node is stopping; nothing was done")),
    }
}

impl Client {
    pub(crate) fn timeout_or_default(&self, timeout: Option<Duration>) -> Duration {
        timeout.unwrap_or(self.router().ask_timeout)
    }

    /// Leaves mail for its shard: at once if there is room, otherwise as the node's `overflow` says.
    pub(crate) fn leave(&self, mail: Mail, priority: Priority) -> Sending {
        let Some(shard) = self.router().shard_of(mail.hash) else { return Sending::Done };
        match shard.try_send(mail, priority) {
            Ok(()) => {}
            Err(Undelivered::Full(mail)) => {
                let Some(longest) = self.router().waits else {
                    fail(Undelivered::Full(mail));
                    return Sending::Done;
                };
                let (shard, longest) = (shard.clone(), self.router().clock.sleep(longest));
                return Sending::Waiting(Box::pin(async move { shard.send(mail, priority, longest).await }));
            }
            Err(undelivered) => fail(undelivered),
        }
        Sending::Done
    }

    /// Addresses a message. `None` for a kind that the engine does not know.
    pub(crate) fn address(
        &self,
        kind: Option<usize>,
        aggregate: &'static str,
        id: Result<AggregateId, InvalidId>,
        deadline: Option<Duration>,
    ) -> Result<Address, Fault> {
        let kind = kind.and_then(|kind| u16::try_from(kind).ok());
        let Some(kind) = kind else {
            return Err(Fault::new(
                Code::UnknownName,
                format!("this node does not run the aggregate `{aggregate}`: add it at the node's builder"),
            ));
        };
        let id = id.map_err(|reason| Fault::new(Code::InvalidMessage, reason.to_string()))?;
        if self.0.chain.contains(aggregate, &id) {
            let text = format!("{aggregate}/{id} waits for this very ask: it would wait for itself");
            return Err(Fault::new(Code::WouldDeadlock, text));
        }
        let hash = identity_hash(aggregate, id.as_str());
        let inside = !self.0.chain.is_empty();
        Ok(Address { kind, id, hash, deadline, inside, goes_on: !self.0.stays })
    }

    /// Makes a command ready for the mailbox.
    pub(crate) fn command_mail(
        &self,
        mut pending: Box<dyn Pending>,
        options: CallOptions,
    ) -> Result<CommandMail, (Box<dyn Pending>, Fault)> {
        let invalid = |text: String| Fault::new(Code::InvalidMessage, text);
        // a business key goes first: with another key of the caller the same order would be done twice
        let cause = self.0.cause.as_deref();
        let key = pending.business_key().or(options.key).or_else(|| cause.map(Cause::next_key));
        if let Some(key) = &key
            && (key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains('\0'))
        {
            let text =
                format!("an idempotency key has 1 to {MAX_KEY_BYTES} bytes and no NUL, this one has {}", key.len());
            return Err((pending, invalid(text)));
        }
        let headers = options.metadata.as_ref().map_or(0, Metadata::bytes);
        if headers > MAX_HEADER_BYTES {
            let text = format!("the metadata has {headers} bytes where {MAX_HEADER_BYTES} are allowed");
            return Err((pending, invalid(text)));
        }
        let message = options.message.unwrap_or_else(|| self.next_message_id());
        let dedup = match &key {
            Some(key) => Dedup::of_key(pending.facts().name, key),
            None => Dedup::of_id(message),
        };
        let repeat = match options.sent {
            Sent::WithItsKey if key.is_none() => Repeat::Never,
            // its id is new
            Sent::Before if key.is_none() && options.message.is_none() => Repeat::Never,
            Sent::WithItsKey | Sent::Perhaps => Repeat::Possible,
            Sent::Before => Repeat::Likely,
        };
        let metadata = match cause {
            Some(cause) => {
                let mut metadata = options.metadata.unwrap_or_default();
                cause.describe(&mut metadata);
                Some(Arc::new(metadata))
            }
            None => options.metadata.map(Arc::new),
        };
        // what is wrong with it is told where it is decided
        let encoded = catch_unwind(AssertUnwindSafe(|| pending.encode().map_or(0, <[u8]>::len)));
        let bytes = encoded.unwrap_or_default();
        Ok(CommandMail {
            message,
            key,
            dedup,
            metadata,
            chain: self.0.chain.clone(),
            pending,
            repeat,
            perhaps_stored: false,
            order: options.order,
            bytes,
        })
    }
}
