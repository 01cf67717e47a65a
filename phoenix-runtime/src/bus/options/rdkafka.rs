//! What can be chosen about the bus on librdkafka.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::domain::units;

/// How a node speaks with brokers of Kafka 3.9 and 4.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct RdKafkaOptions {
    /// What the brokers' logs call the node.
    pub client_id: String,
    /// How records are compressed.
    pub compression: Compression,
    /// How long records may wait for their acknowledgement; then they are told as unknown.
    #[serde(with = "units::duration")]
    pub delivery_timeout: Duration,
    /// How long any other request may take.
    #[serde(with = "units::duration")]
    pub request_timeout: Duration,
    /// How long a record waits for others that are sent with it. Longer than it takes to hand a batch to librdkafka: what
    /// is handed over behind a request that is on its way waits for its acknowledgement, and while it does, without a pause
    /// to wait for, a thread of librdkafka looks again and again whether it may go.
    #[serde(with = "units::duration")]
    pub linger: Duration,
    /// The most bytes of a record, with its key and headers. No more than the topics allow (`max.message.bytes`, 1048588
    /// by default), with some room for what the brokers add.
    pub max_record_bytes: usize,
    /// The most bytes that wait to be sent or acknowledged; what comes above is refused as not available.
    pub max_waiting_bytes: usize,
    /// How many brokers keep a topic that is made here; what the brokers say by default.
    pub replication_factor: Option<u16>,
    /// After so long without a sign of life a consumer loses its partitions to others.
    #[serde(with = "units::duration")]
    pub session_timeout: Duration,
    /// A consumer that does not ask what happens for so long loses its partitions to others.
    #[serde(with = "units::duration")]
    pub max_poll_interval: Duration,
    /// How long partitions that shall go to another consumer may take to be released; then they are lost. Less than
    /// `max_poll_interval`.
    #[serde(with = "units::duration")]
    pub release_timeout: Duration,
    /// Above so many records that wait for a consumer no more are read.
    pub read_ahead_records: usize,
    /// Above so many bytes that wait for a consumer no more are read; librdkafka holds as many again.
    pub read_ahead_bytes: usize,
    /// Encrypted connections, by a program that was built with the feature `rdkafka-tls`.
    pub tls: Option<TlsOptions>,
    /// Who the node is.
    pub sasl: Option<SaslOptions>,
    /// Further settings of librdkafka, by its own names. Those that this adapter's promises rest on can't be set.
    pub properties: BTreeMap<String, String>,
}

impl Default for RdKafkaOptions {
    fn default() -> Self {
        Self {
            client_id: "phoenix".to_owned(),
            compression: Compression::Lz4,
            delivery_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            linger: Duration::from_millis(2),
            max_record_bytes: 1_000_000,
            max_waiting_bytes: 64 << 20,
            replication_factor: None,
            session_timeout: Duration::from_secs(10),
            max_poll_interval: Duration::from_mins(5),
            release_timeout: Duration::from_secs(30),
            read_ahead_records: 10_000,
            read_ahead_bytes: 16 << 20,
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
        }
    }
}

// by hand, for what may be secret among the properties
impl fmt::Debug for RdKafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdKafkaOptions")
            .field("client_id", &self.client_id)
            .field("compression", &self.compression)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("linger", &self.linger)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("max_waiting_bytes", &self.max_waiting_bytes)
            .field("replication_factor", &self.replication_factor)
            .field("session_timeout", &self.session_timeout)
            .field("max_poll_interval", &self.max_poll_interval)
            .field("release_timeout", &self.release_timeout)
            .field("read_ahead_records", &self.read_ahead_records)
            .field("read_ahead_bytes", &self.read_ahead_bytes)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Small, and slow to make.
    Gzip,
    /// Fast.
    Snappy,
    /// Faster still.
    Lz4,
}

impl Compression {
    #[cfg(feature = "rdkafka")]
    pub(in crate::bus) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}

/// How connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct TlsOptions {
    /// The certificates, in a PEM file, of those who may sign the brokers'; by default those of the system.
    pub ca: Option<PathBuf>,
    /// The node's own certificate, in a PEM file.
    pub certificate: Option<PathBuf>,
    /// The key of that, in a PEM file.
    pub key: Option<PathBuf>,
    /// What opens the key.
    pub key_password: Option<Secret>,
    /// Whether a broker's certificate must name its host.
    pub verify_host: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { ca: None, certificate: None, key: None, key_password: None, verify_host: true }
    }
}

/// Who the node is, and how it proves that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct SaslOptions {
    /// How it is proved.
    pub mechanism: SaslMechanism,
    /// Its name.
    pub username: String,
    /// What only it knows.
    pub password: Secret,
}

/// How a node proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// The password itself: over TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A challenge; by a program that was built with the feature `rdkafka-tls`.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A challenge; by a program that was built with the feature `rdkafka-tls`.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    #[cfg(feature = "rdkafka")]
    pub(in crate::bus) const fn word(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(
    #[cfg_attr(not(feature = "rdkafka"), allow(dead_code, reason = "only that adapter reads it"))] String,
);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[cfg(feature = "rdkafka")]
    pub(in crate::bus) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
