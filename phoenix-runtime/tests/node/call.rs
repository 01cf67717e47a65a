//! A node with these aggregates, and the smallest HTTP client that can speak with it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use phoenix_runtime::event_store::{EventStore, MemoryStore};
use phoenix_runtime::node::{Node, NodeConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::account::{Account, Deposit, DepositV1, Gate, PayIn, Vault};

/// Listens on a free port, keeps everything in memory.
pub(crate) fn config() -> NodeConfig {
    let mut config = NodeConfig::default();
    config.http.port = 0;
    config
}

/// A node and where it is reached.
pub(crate) struct Under {
    pub(crate) node: Node,
    pub(crate) address: SocketAddr,
    pub(crate) gate: Gate,
}

pub(crate) async fn start() -> Under {
    start_with(config(), Arc::new(MemoryStore::new())).await
}

pub(crate) async fn start_with(config: NodeConfig, store: Arc<dyn EventStore>) -> Under {
    let gate = Gate::closed();
    let builder = Node::builder().aggregate::<Account>().aggregate::<Vault>().resource(gate.clone());
    let builder = builder.upcast::<Account, PayIn, Deposit>().upcast::<Account, DepositV1, Deposit>();
    let node = builder.config(config).store(store).start().await.expect("the node starts");
    let address = node.http_address().expect("it listens");
    Under { node, address, gate }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {}", self.text))
    }

    /// The code of a problem, which must be one in every respect.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert_eq!(problem["type"], format!("/docs/errors#{code}"), "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        assert_eq!(self.header("retry-after").is_some(), [429, 503].contains(&self.status), "{self:?}");
        code
    }
}

impl Under {
    pub(crate) async fn post(&self, path: &str, body: &str) -> Response {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        request(self.address, "POST", path, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        request(self.address, "GET", path, &[], "").await
    }
}

pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    // writing to a String can't fail
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length") || *name == "Transfer-Encoding") {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // who refuses a body may close before all of it was sent
    let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, text) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    Response {
        status: status.expect("a status"),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        text: text.to_owned(),
    }
}
