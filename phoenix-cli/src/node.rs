//! Asks a running node: the smallest HTTP client that can speak with its gateway.

use std::fmt::Write as _;
use std::time::Duration;

use phoenix_runtime::node::NodeConfig;
use phoenix_runtime::node::config::ConfigError;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a node may take to answer: a replay sends thousands of letters.
const PATIENCE: Duration = Duration::from_mins(5);
/// The largest answer.
const MOST_BYTES: u64 = 64 << 20;

/// A running node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Host and port.
    authority: String,
    /// What stands before each path.
    base: String,
}

/// Why a node gave no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum NodeError {
    #[error("`{0}` is no address of a node")]
    #[diagnostic(help(
        "write `http://host:port`; for https run this beside the node, where its gateway is reached without"
    ))]
    Address(String),
    #[error("the configuration says that the node has no gateway")]
    #[diagnostic(help("set `http.enabled` and `http.port`, or name a node that has one: `--node http://host:port`"))]
    NoGateway,
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("no node answers at {at}")]
    #[diagnostic(help(
        "see that it runs, and name it with `--node http://host:port`; where none runs, `list` and `show` read the store: \
         `--store STORE`"
    ))]
    Unreached {
        at: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{at} answers, but not as a node does: {what}")]
    #[diagnostic(help("see that it is a node of this release: `--node http://host:port`"))]
    Strange { at: String, what: String },
    #[error("the node says no: {detail}")]
    Refused {
        detail: String,
        #[help]
        help: String,
    },
}

/// What a node says when it does not do something.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

impl Node {
    /// The one that is named, or that the configuration describes.
    pub(crate) fn find(named: Option<&str>) -> Result<Self, NodeError> {
        let Some(named) = named else {
            let http = NodeConfig::load()?.http;
            if !http.enabled || http.port == 0 {
                return Err(NodeError::NoGateway);
            }
            let mut socket = http.socket();
            if socket.ip().is_unspecified() {
                // it listens everywhere, here as well
                socket.set_ip(match socket {
                    std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                    std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            return Ok(Self { authority: socket.to_string(), base: String::new() });
        };
        let wrong = || NodeError::Address(named.to_owned());
        let rest = match named.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(wrong()),
            None => named,
        };
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        let base = base.trim_end_matches('/');
        let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || !fits(authority) || !fits(base) {
            return Err(wrong());
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority, base: if base.is_empty() { String::new() } else { format!("/{base}") } })
    }

    /// Sends a request, and gives the body of its answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<String, NodeError> {
        let answered = tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await;
        let unreached = |source| NodeError::Unreached { at: self.authority.clone(), source };
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}"));
        let bytes = answered.map_err(|_| unreached(late()))?.map_err(unreached)?;
        let strange = |what: &str| NodeError::Strange { at: self.authority.clone(), what: what.to_owned() };
        let text = String::from_utf8(bytes).map_err(|_| strange("it is no text"))?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| strange("it is no HTTP"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        match status.ok_or_else(|| strange("it is no HTTP"))? {
            200 => Ok(body.to_owned()),
            status => Err(match serde_json::from_str::<Problem>(body) {
                Ok(Problem { code, detail }) => {
                    NodeError::Refused { detail, help: format!("{}/docs/errors#{code}", self.shown()) }
                }
                Err(_) => strange(&format!("status {status}")),
            }),
        }
    }

    fn shown(&self) -> String {
        format!("http://{}{}", self.authority, self.base)
    }

    async fn exchange(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.authority).await?;
        // whoever is asked in version 1.0 answers in one piece, and hangs up then
        let head = format!(
            "{method} {}{path} HTTP/1.0\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.base,
            self.authority,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // who refuses a body may hang up before all of it was sent, and says why
        let sent = stream.write_all(body).await;
        let mut bytes = Vec::new();
        let read = stream.take(MOST_BYTES).read_to_end(&mut bytes).await;
        if bytes.is_empty() {
            sent?;
            read?;
        }
        Ok(bytes)
    }
}

/// A value inside of a path's query.
pub(crate) fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // writing to a String can't fail
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
