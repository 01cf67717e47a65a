//! What can be chosen about a store in a database.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// How a node speaks with its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct DatabaseOptions {
    /// How many connections append at most. Each shard has one append in flight.
    pub append_connections: u32,
    /// How many connections read at most.
    pub read_connections: u32,
    /// How long a connection may take to be made.
    #[serde(with = "units::duration")]
    pub connect_timeout: Duration,
    /// How long one statement may take: the database ends it then, and the node gives up a little later.
    #[serde(with = "units::duration")]
    pub statement_timeout: Duration,
    /// How long a statement waits for a row that another transaction holds.
    #[serde(with = "units::duration")]
    pub lock_timeout: Duration,
    /// The longest pause between two attempts to reach a database that is down at start.
    #[serde(with = "units::duration")]
    pub max_connect_backoff: Duration,
    /// Whether the connection is encrypted and the server's certificate checked; by default what the address says, or
    /// `prefer`.
    pub tls: Option<TlsMode>,
    /// The certificates, in a PEM file, of those who may sign the server's; by default those of the web.
    pub tls_ca: Option<PathBuf>,
    /// What the database's own lists call the node.
    pub application_name: String,
    /// Of how many aggregates the last version is remembered, so that an append need not ask for it.
    pub remembered_streams: usize,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            append_connections: 16,
            read_connections: 8,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            max_connect_backoff: Duration::from_secs(10),
            tls: None,
            tls_ca: None,
            application_name: "phoenix".to_owned(),
            remembered_streams: 500_000,
        }
    }
}

/// How far a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted where the server can.
    Prefer,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the server's certificate is signed by one of `tls_ca`.
    VerifyCa,
    /// As `verify-ca`, and the certificate names the host.
    VerifyFull,
}
