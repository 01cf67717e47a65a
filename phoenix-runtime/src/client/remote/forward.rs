//! Messages of an engine for aggregates of other nodes go over the bus, in the order in which they are forwarded.

use super::Remote;
use crate::client::door::{Door, Request};
use crate::domain::metadata::{Envelope, Metadata};
use crate::domain::ports::BoxFuture;
use crate::engine::forward::{Forward, Forwarded, ForwardedCommand, ForwardedQuery};

impl Forward for Remote {
    fn forward(&self, message: Forwarded) {
        // a call is left before its future is given back; tasks may begin in any order
        let answered = match message {
            Forwarded::Command(command) => self.forward_command(command),
            Forwarded::Query(query) => self.forward_query(query),
        };
        (self.0.spawn)(answered);
    }
}

impl Remote {
    fn forward_command(&self, command: ForwardedCommand) -> BoxFuture<'static, ()> {
        let request = Request {
            envelope: command.envelope.clone(),
            subject: command.id.clone(),
            record_key: None,
            reply_to: None,
            expires_after: None,
        };
        let asked = Door::ask(self, request);
        Box::pin(async move { command.answer(asked.await) })
    }

    fn forward_query(&self, query: ForwardedQuery) -> BoxFuture<'static, ()> {
        let envelope = Envelope {
            id: self.next_message_id(),
            aggregate: query.aggregate.to_owned(),
            name: query.name.to_owned(),
            idempotency_key: None,
            priority: query.priority,
            timeout: query.timeout,
            metadata: Metadata::default(),
            payload: query.payload.clone(),
        };
        let asked = Door::query(
            self,
            Request { envelope, subject: query.id.clone(), record_key: None, reply_to: None, expires_after: None },
        );
        Box::pin(async move { query.answer(asked.await) })
    }
}
