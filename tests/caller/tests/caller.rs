//! The caller does its work, and is built of what it needs alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on stops at the line that says so")]

use std::process::Command;
use std::sync::Arc;

use phoenix_runtime::node::Node;
use phoenix_runtime::node::config::{BusUrl, NodeConfig};
use phoenix_runtime::prelude::*;
use phoenix_test_caller::{Shelf, TOPIC, Warehouse};
use phoenix_test_messages::TooFew;

#[tokio::test]
async fn it_calls_a_service_by_its_messages() {
    let mut config = NodeConfig::default();
    (config.store, config.bus) = ("memory".parse().unwrap(), BusUrl::Memory);
    config.http.enabled = false;
    config.messaging.topic = TOPIC.to_owned();
    let node = Node::builder().aggregate::<Shelf>().config(config).start().await.expect("the node starts");
    let bus = Arc::clone(node.bus().expect("it has one"));
    let warehouse = Warehouse::over(bus, "caller").await.expect("the bus is there");

    let receipt = warehouse.put(('a', 3), 5).await.expect("the bus takes it");
    assert!(receipt.posted.is_some(), "{receipt:?}");
    assert_eq!(warehouse.take(('a', 3), 2, "o-1").await, Ok(3));
    assert_eq!(warehouse.take(('a', 3), 2, "o-1").await, Ok(3), "an order is done once");
    let refused = warehouse.take(('a', 3), 4, "o-2").await;
    assert!(matches!(refused, Err(AskError::Rejected { rejection: TooFew { left: 3 }, .. })), "{refused:?}");
    assert_eq!(warehouse.count(('a', 3)).await, Ok(3));
    assert!(node.drain().await);
}

/// Says what a package is built of where only it is built.
fn tree(package: &str) -> String {
    let arguments =
        ["tree", "--offline", "--locked", "--package", package, "--edges", "normal,build", "--prefix", "none"];
    let said = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn it_is_built_without_an_engine() {
    let tree = tree("phoenix-test-caller");
    for name in ["phoenix-runtime", "tokio", "rdkafka"] {
        assert!(tree.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is missing in {tree}");
    }
    for name in ["sea-orm", "sqlx", "rusqlite", "axum", "hyper", "tracing-subscriber", "toml"] {
        assert!(!tree.lines().any(|line| line.starts_with(&format!("{name} "))), "a caller is built with {name}");
    }
}
