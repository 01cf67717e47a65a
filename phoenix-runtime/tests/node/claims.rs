//! Messages whose bodies are kept in a folder, and what becomes of commands without theirs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::bus::claims::{Claim, Claims as _, FolderClaims};
use phoenix_runtime::bus::envelope::{Call, Message};
use phoenix_runtime::bus::{Outgoing, TopicPartition};
use phoenix_runtime::client::remote::{Remote, RemoteOptions, Replies};
use phoenix_runtime::delivery::Grade;
use phoenix_runtime::domain::id::{MessageId, Slice};
use phoenix_runtime::event_store::{EventStore as _, MemoryStore};
use phoenix_runtime::node::Node;
use phoenix_runtime::node::config::{BusUrl, ClaimsUrl};

use crate::account::{Account, Deposit, Gate, Linger, OpenAccount};
use crate::call::{Under, config, start_with};

const TOPIC: &str = "phoenix.commands";

/// Every body goes to the folder.
async fn node(folder: &Path) -> Under {
    let mut config = config();
    config.bus = BusUrl::Memory;
    config.messaging.claim_check = ClaimsUrl::Folder(folder.to_owned());
    config.messaging.claim_check_above = 0;
    Box::pin(start_with(config, Arc::new(MemoryStore::new()))).await
}

fn files(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder).into_iter().flatten().flatten();
    folders.map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().count()).sum()
}

#[tokio::test]
async fn commands_and_replies_go_by_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let under = node(folder.path()).await;
    let bus = Arc::clone(under.node.bus().expect("it has one"));
    let options = RemoteOptions::new(TOPIC, Replies::Topic("replies".into()));
    let of = Remote::connect(bus, options).await.expect("the bus is there").of::<Account>();
    of.ask(OpenAccount { account: "a".to_owned() }).await.expect("it is new");
    assert_eq!(of.ask(Deposit { account: "a".to_owned(), amount: 5 }).await, Ok(5));
    assert_eq!(files(folder.path()), 4, "two commands and their replies");
    assert!(under.node.drain().await);
}

#[tokio::test]
async fn a_command_without_its_body_is_a_dead_letter_and_is_done_once_it_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let under = node(folder.path()).await;
    under.post("/commands/account/open-account", r#"{"account":"a"}"#).await;
    let (id, body) = (MessageId(uuid::Uuid::from_u128(7)), br#"{"account":"a","amount":3}"#);
    let call = Call::command(id, "account", "a", "deposit", Vec::new());
    let claim = Claim::of(id, body);
    let bus = under.node.bus().expect("it has one");
    let mut record = Message::Call(call).into_record(None, bus.traits());
    record.headers.push("ce_dataref", claim.to_string().as_bytes());
    let to = TopicPartition::new(TOPIC, Slice::of("account", "a").0 % 16);
    bus.produce(vec![Outgoing { to, record }].into()).await.remove(0).expect("the bus takes it");

    let dead = async {
        loop {
            let listed = under.get("/dead-letters?code=unreadable").await.json();
            if let Some(letter) = listed["dead_letters"].as_array().and_then(|letters| letters.first().cloned()) {
                return letter;
            }
        }
    };
    let dead = tokio::time::timeout(Duration::from_secs(30), dead).await.expect("a dead letter");
    let reason = dead["reason"].as_str().expect("a text");
    assert!(reason.contains(&claim.to_string()) && reason.contains("it is not there"), "{reason}");

    let claims = FolderClaims::open(folder.path()).expect("the folder");
    claims.put(claim, body[..].into()).await.expect("kept");
    let replayed = under.post(&format!("/dead-letters/{}/replay", dead["number"]), "").await;
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    let done =
        async { while under.post("/queries/account/balance", r#"{"account":"a"}"#).await.json()["reply"] != 3 {} };
    tokio::time::timeout(Duration::from_secs(30), done).await.expect("it is done");
    under.node.stop().await;
}

#[tokio::test]
async fn the_inbox_has_large_messages_with_their_bodies_so_their_bound_is_that_of_a_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config.bus = BusUrl::Memory;
    config.messaging.claim_check = ClaimsUrl::Folder(folder.path().to_owned());
    config.delivery.grade = Grade::Inbox;
    let builder = Node::builder().aggregate::<Account>().resource(Gate::closed());
    let refused = builder.config(config.clone()).store(Arc::new(MemoryStore::new())).start().await;
    let said = refused.expect_err("16 MiB are too many").to_string();
    assert!(said.contains("`messaging.claim_check_most`"), "{said}");

    config.messaging.claim_check_most = 3 << 20;
    let store = Arc::new(MemoryStore::new());
    let under = Box::pin(start_with(config, Arc::clone(&store) as _)).await;
    let bus = Arc::clone(under.node.bus().expect("it has one"));
    let options = RemoteOptions::new(TOPIC, Replies::Topic("replies".into()));
    let of = Remote::connect(Arc::clone(&bus), options).await.expect("the bus is there").of::<Account>();
    of.ask(OpenAccount { account: "a".to_owned() }).await.expect("it is new");
    of.tell(Linger { account: "a".to_owned() }).await.expect("it is on the bus");
    under.gate.arrived().await;
    let pad = "x".repeat(2 << 20);
    let payload = format!(r#"{{"account":"a","amount":3,"note":"{pad}"}}"#);
    let call = Call::command(MessageId(uuid::Uuid::from_u128(7)), "account", "a", "deposit", payload);
    let record = Message::Call(call).into_record(None, bus.traits());
    let to = TopicPartition::new(TOPIC, Slice::of("account", "a").0 % 16);
    bus.produce(vec![Outgoing { to, record }].into()).await.remove(0).expect("the bus takes it");
    assert_eq!(files(folder.path()), 1, "it travels as a claim");
    let kept = async {
        let letters = store.letters().expect("it has an inbox");
        while letters.backlog(None).await.expect("it answers").values().map(|kept| kept.bytes).sum::<u64>() < 2 << 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), kept).await.expect("the inbox has the body");
    under.gate.open();
    assert_eq!(of.ask(Deposit { account: "a".to_owned(), amount: 1 }).await, Ok(4));
    assert!(under.node.drain().await);
}
