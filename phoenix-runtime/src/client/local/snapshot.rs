//! Snapshots by hand.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Client;
use super::deliver::{Reception, Sending, stayed_full};
use crate::domain::error::{Code, Fault, QueryError};
use crate::domain::id::{AggregateId, InvalidId};
use crate::domain::metadata::Priority;
use crate::engine::mailbox::{Body, Mail};

/// A snapshot that is asked for, on its way: the version that it holds, once it is durable.
///
/// # Cancel safety
/// It is on its way: dropping the future does not take it back.
#[must_use = "the answer comes when it is awaited"]
pub struct Snapshotting {
    sending: Sending,
    reception: Reception<Result<u64, QueryError>>,
}

pub(super) fn snapshot(
    client: &Client,
    aggregate: &str,
    id: Result<AggregateId, InvalidId>,
    timeout: Option<Duration>,
) -> Snapshotting {
    let (sender, receiver) = oneshot::channel();
    let timeout = client.timeout_or_default(timeout);
    let reception = Reception::new(client.share(), receiver, timeout);
    let deadline = reception.deadline();
    let mut asked = Snapshotting { sending: Sending::Done, reception };
    let kind = client.catalog().index_of_name(aggregate);
    let Some(name) = kind.and_then(|kind| client.catalog().kinds().get(kind)).map(|kind| kind.name()) else {
        let text = format!("this node does not run the aggregate `{aggregate}`");
        // it can't be gone yet
        let _ = sender.send(Err(Fault::new(Code::UnknownName, text).into()));
        return asked;
    };
    match client.address(kind, name, id, deadline) {
        Ok(to) => asked.sending = client.leave(Mail::new(to, Body::Snapshot(sender)), Priority::Low),
        Err(fault) => drop(sender.send(Err(fault.into()))),
    }
    asked
}

impl Future for Snapshotting {
    type Output = Result<u64, QueryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // also while it waits for room: a time-out ends both
        let sent = this.sending.poll(cx);
        this.reception.poll(cx).map(|answer| match answer {
            Ok(answer) => answer,
            Err(fault) if sent.is_pending() => Err(stayed_full(&fault).into()),
            Err(fault) => Err(fault.into()),
        })
    }
}

impl fmt::Debug for Snapshotting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshotting")
    }
}
