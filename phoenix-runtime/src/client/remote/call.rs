//! One call over a bus.

use std::time::Duration;

use super::Remote;
use super::waiting::{NoPlace, Place};
use crate::bus::envelope::{Call, CallKind, Message, Replied, ReplyTo};
use crate::bus::port::{BusError, Outgoing, TopicPartition};
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
        let remote = self.clone();
        Box::pin(async move { remote.call(CallKind::Command, request).await?.into_answer() })
    }

    fn tell(&self, request: Request) -> BoxFuture<'static, Result<Receipt, Fault>> {
        let remote = self.clone();
        Box::pin(async move {
            let within = request.envelope.timeout.unwrap_or(TELL_TIMEOUT);
            let id = request.envelope.id;
            let ended = remote.0.clock.monotonic().saturating_add(within);
            let (call, key, partition) = remote.prepare(CallKind::Command, request).await?;
            remote.permit(within).await?;
            let within = ended.saturating_sub(remote.0.clock.monotonic());
            let sending = remote.0.sender.send(remote.record(call, key, &partition)?, Some(within)).await;
            let offset = match sending {
                Ok(sending) => sending.await,
                Err(error) => Err(error),
            };
            let offset = offset.map_err(|error| fault_of(&error))?;
            Ok(Receipt { version: None, posted: Some(Posted { id, partition, offset }) })
        })
    }

    fn query(&self, request: Request) -> BoxFuture<'static, Result<Answer<Vec<u8>>, QueryError>> {
        let remote = self.clone();
        Box::pin(async move {
            let reply = remote.call(CallKind::Query, request).await?;
            reply.into_answer().map_err(|error| match error {
                AskError::NotFound { .. } => QueryError::NotFound,
                AskError::Fault(fault) => fault.into(),
                AskError::Rejected { .. } => Fault::new(Code::Unreadable, "a query was answered by a rejection").into(),
            })
        })
    }
}

impl Remote {
    /// Sends a call, again where no answer comes, until the time-out.
    async fn call(&self, kind: CallKind, request: Request) -> Result<Replied, Fault> {
        let inner = &self.0;
        let timeout = request.envelope.timeout.unwrap_or(inner.options.ask_timeout);
        let (mut call, key, partition) = self.prepare(kind, request).await?;
        let id = call.id;
        let replies = inner.replies.clone();
        call.reply_to = Some(ReplyTo(replies));
        let mut place = inner.waiting.enter(id).map_err(|refused| refusal(refused, id))?;
        let ended = inner.clock.monotonic().saturating_add(timeout);
        let mut over = inner.clock.sleep(timeout);
        self.permit(timeout).await?;
        let mut unsent = None;
        loop {
            let outgoing = self.record(call.clone(), key.clone(), &partition)?;
            call.attempt += 1;
            let left = ended.saturating_sub(inner.clock.monotonic());
            let pause = inner.options.retry.pause(call.attempt).unwrap_or(left).min(left);
            let mut again = inner.clock.sleep(pause);
            tokio::select! {
                biased;
                told = told(&mut place) => return told,
                error = self.send(outgoing, left, &mut unsent) => return Err(fault_of(&error)),
                () = &mut again => {}
                () = &mut over => return Err(timed_out(timeout, unsent.as_ref())),
            }
            if inner.clock.monotonic() >= ended {
                return Err(timed_out(timeout, unsent.as_ref()));
            }
        }
    }

    async fn permit(&self, within: Duration) -> Result<(), Fault> {
        match &self.0.permits {
            Some(permits) => permits.take(within).await,
            None => Ok(()),
        }
    }

    /// Sends a record; ready only where it was certainly never done, and never will be. Otherwise the answer is what is
    /// waited for, or the next attempt.
    async fn send(&self, outgoing: Outgoing, within: Duration, unsent: &mut Option<BusError>) -> BusError {
        let sent = match self.0.sender.send(outgoing, Some(within)).await {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        match sent {
            Err(error @ (BusError::Refused(_) | BusError::NoTopic(_) | BusError::Unsupported(_))) => return error,
            Err(error) => *unsent = Some(error),
            Ok(_) => *unsent = None,
        }
        std::future::pending().await
    }

    /// A call with the key of its record and where it goes, if its parts are within bounds.
    async fn prepare(&self, kind: CallKind, request: Request) -> Result<(Call, Vec<u8>, TopicPartition), Fault> {
        let Request { envelope, subject, record_key, reply_to } = request;
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
        let partition = self.partition_of(&aggregate, subject.as_str()).await.map_err(|error| fault_of(&error))?;
        let key = record_key.unwrap_or_else(|| subject.as_str().to_owned()).into_bytes();
        let call = Call {
            kind,
            id,
            aggregate,
            subject: subject.as_str().to_owned(),
            name,
            idempotency_key,
            metadata,
            reply_to,
            priority,
            deadline_millis: None,
            attempt: 0,
            payload,
        };
        Ok((call, key, partition))
    }

    fn record(&self, call: Call, key: Vec<u8>, to: &TopicPartition) -> Result<Outgoing, Fault> {
        let traits = self.0.bus.traits();
        let name = call.name.clone();
        let record = Message::Call(call).into_record(Some(key), traits);
        let (bytes, most) = (record.bytes(), traits.max_record_bytes);
        if bytes > most {
            let text = format!(
                "`{name}` takes a record of {bytes} bytes, and the bus takes {most}: send less, or a reference"
            );
            return Err(Fault::new(Code::TooLarge, text));
        }
        Ok(Outgoing { to: to.clone(), record })
    }
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

fn fault_of(error: &BusError) -> Fault {
    let code = match error {
        BusError::Refused(_) => Code::TooLarge,
        BusError::NoTopic(_) => Code::UnknownName,
        _ => Code::BusFailed,
    };
    Fault::new(code, error.to_string())
}
