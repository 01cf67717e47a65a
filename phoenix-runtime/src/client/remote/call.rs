//! One call over a bus.

use std::sync::Arc;
use std::time::Duration;

use super::Remote;
use super::outbox::{Leaving, Left, Parcel};
use super::waiting::{NoPlace, Place};
use crate::bus::envelope::{Call, CallKind, Replied, ReplyTo};
use crate::bus::port::BusError;
use crate::bus::sender::Sending;
use crate::client::door::{Door, Posted, Receipt, Request};
use crate::domain::error::{AskError, Code, Fault, QueryError};
use crate::domain::id::{MAX_KEY_BYTES, MessageId};
use crate::domain::metadata::{Envelope, MAX_HEADER_BYTES};
use crate::domain::pending::{Answer, NamedAnswer};
use crate::domain::ports::{BoxFuture, next_message_id};

/// How long a bus may take to accept a command that is told.
const TELL_TIMEOUT: Duration = Duration::from_secs(30);

impl Door for Remote {
    fn next_message_id(&self) -> MessageId {
        next_message_id(&*self.0.clock, &*self.0.seed)
    }

    fn ask(&self, request: Request) -> BoxFuture<'static, NamedAnswer> {
        let call = self.call(CallKind::Command, request);
        Box::pin(async move { call.await?.into_answer() })
    }

    fn tell(&self, request: Request) -> BoxFuture<'static, Result<Receipt, Fault>> {
        let within = request.envelope.timeout.unwrap_or(TELL_TIMEOUT);
        let id = request.envelope.id;
        let begun = self.checked(CallKind::Command, request).map(|(call, key)| self.begin(call, key, within));
        let remote = self.clone();
        Box::pin(async move {
            let mut over = remote.0.clock.sleep(within);
            let left = tokio::select! {
                biased;
                left = remote.left(begun?) => left?,
                () = &mut over => return Err(not_sent(Code::BusFailed, within)),
            };
            let offset = left.sending.await.map_err(|error| fault_of(&error))?;
            Ok(Receipt { version: None, posted: Some(Posted { id, partition: left.to, offset }) })
        })
    }

    fn query(&self, request: Request) -> BoxFuture<'static, Result<Answer<Vec<u8>>, QueryError>> {
        let call = self.call(CallKind::Query, request);
        Box::pin(async move {
            call.await?.into_answer().map_err(|error| match error {
                AskError::NotFound { .. } => QueryError::NotFound,
                AskError::Fault(fault) => fault.into(),
                AskError::Rejected { .. } => Fault::new(Code::Unreadable, "a query was answered by a rejection").into(),
            })
        })
    }
}

/// A call that was made: it was left to be sent, or has to wait for the permission.
enum Begun {
    Left(Leaving),
    Unpermitted(Box<Parcel>, Duration),
}

impl Remote {
    /// Sends a call, again where no answer comes, until the time-out. It is left to be sent before the future is polled.
    fn call(&self, kind: CallKind, request: Request) -> impl Future<Output = Result<Replied, Fault>> + Send + use<> {
        let timeout = request.envelope.timeout.unwrap_or(self.0.options.ask_timeout);
        let begun = self.checked(kind, request).and_then(|(mut call, key)| {
            call.reply_to = Some(ReplyTo(self.0.replies.clone()));
            let place = self.0.waiting.enter(call.id).map_err(|refused| refusal(refused, call.id))?;
            Ok((place, self.begin(call.clone(), key.clone(), timeout), call, key))
        });
        let remote = self.clone();
        async move {
            let (place, begun, call, key) = begun?;
            remote.answered(place, begun, call, key, timeout).await
        }
    }

    async fn answered(
        &self,
        mut place: Place,
        begun: Begun,
        mut call: Call,
        key: Vec<u8>,
        timeout: Duration,
    ) -> Result<Replied, Fault> {
        let inner = &self.0;
        let ended = inner.clock.monotonic().saturating_add(timeout);
        let mut over = inner.clock.sleep(timeout);
        let (mut begun, mut unsent) = (begun, None);
        loop {
            let left = tokio::select! {
                biased;
                told = told(&mut place) => return told,
                left = self.left(begun) => left?,
                () = &mut over => return Err(match call.attempt {
                    0 => not_sent(Code::TimedOut, timeout),
                    _ => timed_out(timeout, unsent.as_ref()),
                }),
            };
            call.attempt += 1;
            let rest = ended.saturating_sub(inner.clock.monotonic());
            let pause = inner.options.retry.pause(call.attempt).unwrap_or(rest).min(rest);
            let mut again = inner.clock.sleep(pause);
            tokio::select! {
                biased;
                told = told(&mut place) => return told,
                error = refused(left.sending, &mut unsent) => return Err(fault_of(&error)),
                () = &mut again => {}
                () = &mut over => return Err(timed_out(timeout, unsent.as_ref())),
            }
            if inner.clock.monotonic() >= ended {
                return Err(timed_out(timeout, unsent.as_ref()));
            }
            begun = Begun::Left(inner.outbox.leave(self.parcel(call.clone(), key.clone()), ended));
        }
    }

    /// Leaves a call to be sent, unless that takes a permission.
    fn begin(&self, call: Call, key: Vec<u8>, within: Duration) -> Begun {
        let parcel = self.parcel(call, key);
        match self.0.permits {
            Some(_) => Begun::Unpermitted(Box::new(parcel), within),
            None => Begun::Left(self.0.outbox.leave(parcel, self.0.clock.monotonic().saturating_add(within))),
        }
    }

    async fn left(&self, begun: Begun) -> Result<Left, Fault> {
        let leaving = match begun {
            Begun::Left(leaving) => leaving,
            Begun::Unpermitted(parcel, within) => {
                let until = self.0.clock.monotonic().saturating_add(within);
                let _permit = match &self.0.permits {
                    Some(permits) => Some(permits.take(within).await?),
                    None => None,
                };
                self.0.outbox.leave(*parcel, until)
            }
        };
        leaving.done().await
    }

    /// A call with the key of its record, if its parts are within bounds.
    fn checked(&self, kind: CallKind, request: Request) -> Result<(Call, Vec<u8>), Fault> {
        let Request { envelope, subject, record_key, reply_to, expires_after } = request;
        let Envelope { id, aggregate, name, idempotency_key, priority, timeout: _, metadata, payload } = envelope;
        let invalid = |text: String| Err(Fault::new(Code::InvalidMessage, text));
        if let Some(key) = &idempotency_key
            && (key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains('\0'))
        {
            return invalid(format!(
                "an idempotency key has 1 to {MAX_KEY_BYTES} bytes and no NUL, this one has {}",
                key.len()
            ));
        }
        if metadata.bytes() > MAX_HEADER_BYTES {
            let bytes = metadata.bytes();
            return invalid(format!("the metadata has {bytes} bytes where {MAX_HEADER_BYTES} are allowed"));
        }
        let millis = |after: Duration| i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        let now = self.0.clock.wall_micros() / 1000;
        let deadline_millis = expires_after.map(|after| now.saturating_add(millis(after)));
        let subject = subject.as_str().to_owned();
        let key = record_key.unwrap_or_else(|| subject.clone()).into_bytes();
        let call = Call {
            kind,
            id,
            aggregate,
            subject,
            name,
            idempotency_key,
            metadata,
            reply_to,
            priority,
            deadline_millis,
            attempt: 0,
            payload,
        };
        Ok((call, key))
    }

    fn parcel(&self, call: Call, key: Vec<u8>) -> Parcel {
        Parcel { topic: Arc::clone(self.0.options.topic_of(&call.aggregate)), call, key }
    }
}

/// Ready only where it was certainly never done, and never will be. Otherwise the answer is what is waited for, or the next
/// attempt.
async fn refused(sending: Sending, unsent: &mut Option<BusError>) -> BusError {
    match sending.await {
        Err(error @ (BusError::Refused(_) | BusError::NoTopic(_) | BusError::Unsupported(_))) => return error,
        Err(error) => *unsent = Some(error),
        Ok(_) => *unsent = None,
    }
    std::future::pending().await
}

async fn told(place: &mut Place) -> Result<Replied, Fault> {
    let stopped = || Fault::new(Code::OutcomeUnknown, "the client was stopped before the answer came");
    (&mut place.told).await.map_err(|_| stopped())
}

fn refusal(refused: NoPlace, id: MessageId) -> Fault {
    match refused {
        NoPlace::Full(waiting) => Fault::new(
            Code::MailboxFull,
            format!("{waiting} asks of this client wait for replies already; try again later"),
        ),
        NoPlace::Taken => {
            Fault::new(Code::InvalidMessage, format!("the reply to the message {id} is waited for already"))
        }
    }
}

fn timed_out(timeout: Duration, unsent: Option<&BusError>) -> Fault {
    let mut text = format!("no answer within {timeout:?}; it may still be done: send it again with the same key");
    if let Some(error) = unsent {
        text = format!("{text}; the last attempt to send it failed: {error}");
    }
    Fault::new(Code::TimedOut, text)
}

fn not_sent(code: Code, timeout: Duration) -> Fault {
    let text =
        format!("the bus had no room for it, or did not say where it goes, within {timeout:?}: nothing was sent");
    Fault::new(code, text)
}

pub(super) fn fault_of(error: &BusError) -> Fault {
    let code = match error {
        BusError::Refused(_) => Code::TooLarge,
        BusError::NoTopic(_) => Code::UnknownName,
        _ => Code::BusFailed,
    };
    Fault::new(code, error.to_string())
}
