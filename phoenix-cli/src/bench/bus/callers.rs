//! Callers over a bus.

use std::sync::Arc;

use phoenix_bench::{LoadError, Message, Messages, Target};
use phoenix_runtime::bus::envelope::ReplyTo;
use phoenix_runtime::bus::{Bus, TopicPartition};
use phoenix_runtime::client::remote::{Remote, RemoteOptions, Replies};

use crate::bench::error::BenchError;
use crate::bench::workload::{Account, deposit};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

/// How many commands are on their way at once while a backlog is made.
const AT_ONCE: usize = 4000;

/// Callers that share one client.
#[derive(Clone)]
pub(super) struct Callers(Remote);

impl Callers {
    /// A client with a topic of replies of its own.
    pub(super) async fn connect(bus: Arc<dyn Bus>, topic: &Arc<str>, replies: Arc<str>) -> Result<Self, BenchError> {
        let options = RemoteOptions::new(Arc::clone(topic), Replies::Topic(replies));
        Ok(Self(Remote::connect(bus, options).await?))
    }

    /// Leaves so many commands on the topic, whose replies go to this partition.
    pub(super) async fn fill(&self, commands: usize, replies: &TopicPartition) -> Result<(), LoadError> {
        let mut messages = Messages::new(7, false);
        let mut rest = 0..commands;
        let accounts = self.0.of::<Account>();
        let mut next = || {
            let reply_to = ReplyTo(replies.clone());
            rest.next().map(|_| accounts.tell(deposit(messages.any().account)).reply_to(reply_to))
        };
        let mut waiting: FuturesUnordered<_> = std::iter::from_fn(&mut next).take(AT_ONCE).collect();
        while let Some(told) = waiting.next().await {
            told.map_err(|fault| LoadError::Command(fault.to_string()))?;
            waiting.extend(next());
        }
        Ok(())
    }
}

impl Target for Callers {
    async fn deposit(&self, Message { account, key }: Message) -> Result<(), LoadError> {
        let ask = self.0.of::<Account>().ask(deposit(account));
        let ask = match key {
            Some(key) => ask.idempotency_key(key),
            None => ask,
        };
        ask.await.map(drop).map_err(|error| LoadError::Command(error.to_string()))
    }
}
