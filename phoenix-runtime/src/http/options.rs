//! What can be set about the gateway.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::domain::units;

/// The options of the HTTP gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
#[non_exhaustive]
pub struct HttpOptions {
    /// Whether the node listens at all.
    pub enabled: bool,
    /// The address to listen on.
    pub address: IpAddr,
    /// The port to listen on; 0 takes any that is free.
    pub port: u16,
    /// Allows an address that other machines reach: the gateway itself asks nobody who they are.
    pub expose: bool,
    /// Whether operators may take snapshots, move events to the archive and back, and work on dead letters; by default
    /// where it is not exposed.
    pub operator: Option<bool>,
    /// The largest body of a request.
    #[serde(with = "units::size")]
    pub max_body: usize,
    /// How long a body may take to arrive.
    #[serde(with = "units::duration")]
    pub body_timeout: Duration,
    /// How long a request waits for its outcome where it does not say.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// The longest that a request may ask to wait.
    #[serde(with = "units::duration")]
    pub max_timeout: Duration,
    /// How many commands and queries each caller may send a second; nobody is limited where nothing is said.
    pub calls_per_second: Option<NonZeroU32>,
    /// How many it may send at once, after a time without any.
    pub burst_calls: NonZeroU32,
    /// The header that says who calls; whoever has none, and everybody without this, is told by the address of the connection.
    /// Name one that only a proxy in front of the gateway sets.
    pub caller_header: Option<String>,
    /// How many callers are told apart; those beyond share what one of them has.
    pub max_callers: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            expose: false,
            operator: None,
            max_body: 256 * 1024,
            body_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            max_timeout: Duration::from_mins(1),
            calls_per_second: None,
            burst_calls: NonZeroU32::new(100).unwrap_or(NonZeroU32::MIN),
            caller_header: None,
            max_callers: 10_000,
        }
    }
}

impl HttpOptions {
    /// Where to listen.
    #[must_use]
    pub const fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Whether operators are served who change what is stored.
    #[must_use]
    pub fn serves_operators(&self) -> bool {
        self.operator.unwrap_or(!self.expose)
    }

    /// Values that do not go together: the key and what is wrong with it.
    pub(crate) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.enabled && !self.expose && !self.address.is_loopback() {
            found.push((
                "http.address",
                format!(
                    "{} can be reached from other machines, and the gateway asks nobody who they are: \
                     put it behind something that does and set `http.expose = true`, or use 127.0.0.1",
                    self.address
                ),
            ));
        }
        if self.timeout > self.max_timeout {
            let (timeout, most) = (units::format_duration(self.timeout), units::format_duration(self.max_timeout));
            found.push(("http.timeout", format!("{timeout} is longer than `http.max_timeout`, which is {most}")));
        }
        for (key, duration) in [("http.timeout", self.timeout), ("http.body_timeout", self.body_timeout)] {
            if duration.is_zero() {
                found.push((key, "must be longer than nothing".to_owned()));
            }
        }
        if let Some(name) = self.caller_header.as_ref().filter(|name| name.parse::<HeaderName>().is_err()) {
            found.push(("http.caller_header", format!("`{name}` can't be the name of a header")));
        }
        if self.max_callers == 0 {
            found.push(("http.max_callers", "must be at least 1".to_owned()));
        }
        if self.max_body == 0 {
            found.push(("http.max_body", "must be more than nothing".to_owned()));
        }
        found
    }
}
