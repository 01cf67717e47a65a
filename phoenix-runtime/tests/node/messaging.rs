//! A node with a bus.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::bus::envelope::{Call, Message};
use phoenix_runtime::bus::{Bus, Outgoing, TopicPartition};
use phoenix_runtime::client::remote::{Remote, RemoteOptions, Replies};
use phoenix_runtime::delivery::{Grade, Redelivery};
use phoenix_runtime::domain::error::Code;
use phoenix_runtime::domain::id::{MessageId, Slice};
use phoenix_runtime::node::config::BusUrl;
use phoenix_runtime::node::{Node, NodeConfig};

use crate::account::{Account, Deposit, Explode, Gate, Linger, OpenAccount, Vault};
use crate::call::{config, request};

const TOPIC: &str = "phoenix.commands";

async fn start(config: NodeConfig) -> Node {
    let builder = Node::builder().aggregate::<Account>().aggregate::<Vault>().resource(Gate::closed());
    builder.config(config).start().await.expect("the node starts")
}

async fn remote(node: &Node) -> Remote {
    let options = RemoteOptions::new(TOPIC, Replies::Topic("replies".into()));
    Remote::connect(Arc::clone(node.bus().expect("it has one")), options).await.expect("the bus is there")
}

#[tokio::test]
async fn commands_come_by_the_bus_and_by_the_gateway_to_one_aggregate() {
    let mut config = config();
    (config.store, config.bus) = ("memory".parse().expect("a store"), BusUrl::Memory);
    let node = start(config).await;
    let of = remote(&node).await.of::<Account>();
    of.ask(OpenAccount { account: "a".to_owned() }).await.expect("it is new");
    let address = node.http_address().expect("it listens");
    let body = r#"{"account":"a","amount":5}"#;
    let response = request(address, "POST", "/commands/account/deposit", &[], body).await;
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!(of.ask(Deposit { account: "a".to_owned(), amount: 7 }).await, Ok(12));
    assert!(node.drain().await);
}

#[tokio::test]
async fn what_the_embedded_bus_has_is_done_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config.store = format!("sqlite:{}", folder.path().join("events.db").display()).parse().expect("a store");
    config.bus = BusUrl::Beside;
    let node = start(config.clone()).await;
    let of = remote(&node).await.of::<Account>();
    of.ask(OpenAccount { account: "a".to_owned() }).await.expect("it is new");
    let bus: Arc<dyn Bus> = Arc::clone(node.bus().expect("it has one"));
    node.stop().await;
    assert!(folder.path().join("events-bus.db").exists());

    // nobody reads it now
    let call =
        Call::command(MessageId(uuid::Uuid::from_u128(1)), "account", "a", "deposit", br#"{"account":"a","amount":3}"#);
    let record = Message::Call(call).into_record(None, bus.traits());
    let to = TopicPartition::new(TOPIC, Slice::of("account", "a").0 % 16);
    let twice = vec![Outgoing { to: to.clone(), record: record.clone() }, Outgoing { to, record }];
    for acknowledged in bus.produce(twice.into()).await {
        acknowledged.expect("it is durable");
    }
    drop((of, bus));

    let node = start(config).await;
    let of = remote(&node).await.of::<Account>();
    assert_eq!(of.ask(Deposit { account: "a".to_owned(), amount: 1 }).await, Ok(4), "once, and before what came later");
    assert!(node.drain().await);
}

#[tokio::test]
async fn what_the_inbox_has_is_done_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config.store = format!("sqlite:{}", folder.path().join("events.db").display()).parse().expect("a store");
    config.bus = BusUrl::Beside;
    config.delivery.grade = Grade::Inbox;
    config.delivery.max_per_aggregate = 4;
    let gate = Gate::closed();
    let start = |gate: &Gate| {
        let builder = Node::builder().aggregate::<Account>().aggregate::<Vault>().resource(gate.clone());
        builder.config(config.clone()).start()
    };
    let node = start(&gate).await.expect("the node starts");
    let of = remote(&node).await.of::<Account>();
    of.ask(OpenAccount { account: "a".to_owned() }).await.expect("it is new");
    of.tell(Linger { account: "a".to_owned() }).await.expect("it is on the bus");
    for _ in 0..100 {
        of.tell(Deposit { account: "a".to_owned(), amount: 1 }).await.expect("it is on the bus");
    }
    gate.arrived().await;
    let bus: Arc<dyn Bus> = Arc::clone(node.bus().expect("it has one"));
    let place = TopicPartition::new(TOPIC, Slice::of("account", "a").0 % 16);
    // the bus has nothing more to keep, although nothing of it is done
    let taken = async {
        loop {
            let offsets = bus.offsets(place.clone(), "phoenix").await.expect("the topic is there");
            if offsets.committed == Some(offsets.end) && offsets.end == 102 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), taken).await.expect("everything is taken");
    node.stop().await;
    drop((of, bus));

    let gate = Gate::closed();
    gate.open();
    let node = start(&gate).await.expect("the node starts");
    let of = remote(&node).await.of::<Account>();
    let last = of.ask(Deposit { account: "a".to_owned(), amount: 1 }).await;
    assert_eq!(last, Ok(101), "each once, and before what came later");
    assert!(node.drain().await);
}

/// At once.
#[derive(Debug)]
struct Eager;

impl Redelivery for Eager {
    fn pause(&self, _: u32, _: u64) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn a_node_tries_commands_again_as_it_is_told() {
    let mut config = config();
    (config.store, config.bus) = ("memory".parse().expect("a store"), BusUrl::Memory);
    // nobody would wait for this
    config.delivery.first_pause = Duration::from_hours(1);
    config.delivery.max_pause = Duration::from_hours(1);
    let builder = Node::builder().aggregate::<Account>().resource(Gate::closed()).redelivery(Eager);
    let node = builder.config(config).start().await.expect("the node starts");
    let of = remote(&node).await.of::<Account>();
    let given_up = of.ask(Explode { account: "a".to_owned() }).timeout(Duration::from_mins(1)).await;
    assert_eq!(given_up.expect_err("it panics each time").code(), Code::Panicked);
    assert!(node.drain().await);
}

#[test]
fn an_address_of_brokers_is_checked_before_anything_starts() {
    let wrong = NodeConfig::read(Some((std::path::Path::new("phoenix.toml"), "bus = \"kafka://nobody\"\n")), []);
    let said = wrong.expect_err("there is no port").to_string();
    assert!(said.contains("phoenix.toml:1:1: `bus`") && said.contains("`nobody` is no broker"), "{said}");
    let beside = "store = \"postgres://a@localhost/b\"\nbus = \"embedded\"\n";
    let wrong = NodeConfig::read(Some((std::path::Path::new("phoenix.toml"), beside)), []);
    let said = wrong.expect_err("there is no place").to_string();
    assert!(said.contains("there is no place beside a database"), "{said}");
}
