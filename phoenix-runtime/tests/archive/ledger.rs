//! An aggregate whose events are archived, in three versions of its code, and engines with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::client::Client;
use phoenix_runtime::domain::pending::Answer;
use phoenix_runtime::engine::{Engine, EngineOptions};
use phoenix_runtime::event_store::port::Snapshot;
use phoenix_runtime::event_store::{Archived, EventStore};
use phoenix_runtime::prelude::*;
use serde::{Deserialize, Serialize};

use crate::world::stream;

/// Posts an amount, once an order. Less than nothing is refused.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[command(id = account, aggregate = "account", reply = String, rejection = Refused, idempotent_by(order))]
pub(crate) struct Post {
    account: String,
    order: u64,
    amount: i64,
}

pub(crate) fn post(order: u64, amount: i64) -> Post {
    Post { account: "a".to_owned(), order, amount }
}

/// Asks for everything that was posted.
#[derive(Debug, Clone, Query, Serialize, Deserialize)]
#[query(id = account, aggregate = "account", reply = String)]
pub(crate) struct Posts {
    account: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) struct Refused {
    amount: i64,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(name = "posted")]
pub(crate) struct Posted {
    order: u64,
    amount: i64,
}

macro_rules! account {
    ($name:ident, $logic:literal, { $($field:ident: $type:ty),* }) => {
        #[aggregate(
            name = "account",
            snapshot_every = 5,
            snapshots_kept = 1,
            archive = true,
            idempotency_window = 2,
            logic_version = $logic
        )]
        #[derive(Debug, Default, Serialize, Deserialize)]
        pub(crate) struct $name { posts: BTreeMap<u64, i64>, order: String, $($field: $type),* }

        #[event_sourced]
        impl $name {
            #[command_handler(reply = self.order.clone())]
            fn post(&self, command: Post) -> Result<Posted, Refused> {
                if command.amount < 0 {
                    return Err(Refused { amount: command.amount });
                }
                Ok(Posted { order: command.order, amount: command.amount })
            }

            #[event_handler]
            fn posted(&mut self, event: &Posted) {
                *self.posts.entry(event.order).or_default() += event.amount * $logic;
                self.order = format!("{}{}", self.order.chars().skip(self.order.len() / 60).collect::<String>(), event.order % 10);
            }

            #[query_handler]
            fn posts(&self, _: Posts) -> String {
                format!("{:?} {}", self.posts, self.order)
            }
        }
    };
}
account!(Account, 1, {});
account!(OtherLayout, 1, { note: Option<String> });
account!(OtherLogic, 2, {});

pub(crate) async fn engine<A: Aggregate>(store: &Arc<dyn EventStore>) -> Engine {
    let options = EngineOptions { shards: Some(1), ..EngineOptions::default() };
    Engine::builder(Arc::clone(store)).aggregate::<A>().options(options).start().await.unwrap()
}

/// What a command comes to, whatever code the account has today, with whatever a caller sees of it.
pub(crate) type Told = Result<Answer<String>, AskError<Refused>>;

pub(crate) async fn ask(client: &Client, command: Post) -> Told {
    client.ask(command).answer().await
}

pub(crate) async fn posts(client: &Client) -> Result<String, QueryError> {
    client.query(Posts { account: "a".to_owned() }).await
}

/// The snapshot that is taken now.
pub(crate) async fn snapshot(store: &dyn EventStore, client: &Client) -> Snapshot {
    let version = client.snapshot("account", "a", Some(Duration::from_secs(30))).await.unwrap();
    store.snapshot(stream("a"), version).await.unwrap().unwrap()
}

/// Waits until the engine has archived up to a version.
pub(crate) async fn archived_up_to(archived: &Archived, version: u64) {
    let waiting = async {
        while archived.archived_blocks(stream("a")).await.unwrap().last().is_none_or(|block| block.to < version) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap();
}
