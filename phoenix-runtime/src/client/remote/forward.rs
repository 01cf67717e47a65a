//! Messages of an engine for aggregates of other nodes go over the bus.

use super::Remote;
use crate::client::door::{Door, Request};
use crate::domain::metadata::{Envelope, Metadata};
use crate::engine::forward::{Forward, Forwarded};

impl Forward for Remote {
    fn forward(&self, message: Forwarded) {
        let remote = self.clone();
        (self.0.spawn)(Box::pin(async move {
            match message {
                Forwarded::Command(command) => {
                    let request = Request {
                        envelope: command.envelope.clone(),
                        subject: command.id.clone(),
                        record_key: None,
                        reply_to: None,
                    };
                    let answer = Door::ask(&remote, request).await;
                    command.answer(answer);
                }
                Forwarded::Query(query) => {
                    let envelope = Envelope {
                        id: remote.next_message_id(),
                        aggregate: query.aggregate.to_owned(),
                        name: query.name.to_owned(),
                        idempotency_key: None,
                        priority: query.priority,
                        timeout: query.timeout,
                        metadata: Metadata::default(),
                        payload: query.payload.clone(),
                    };
                    let request = Request { envelope, subject: query.id.clone(), record_key: None, reply_to: None };
                    let answer = Door::query(&remote, request).await;
                    query.answer(answer);
                }
            }
        }));
    }
}
