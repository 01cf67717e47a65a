//! Which bus a node uses, as one text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::StoreUrl;

/// What [`BusUrl`] can be.
const KNOWN: &str =
    "`off`, `embedded`, `embedded:<path>`, `memory`, `kafka://<host>:<port>,...`, `rdkafka://<host>:<port>,...`";

/// A bus and where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusUrl {
    /// None: commands come by the gateway and by clients of the process alone.
    #[default]
    Off,
    /// A file beside the event store's.
    Beside,
    /// A file.
    Embedded(PathBuf),
    /// Nothing survives the process.
    Memory,
    /// Brokers of Kafka up to 3.9, by kafka-rust.
    Kafka(Vec<String>),
    /// Brokers of Kafka 3.9 and 4, by librdkafka.
    RdKafka(Vec<String>),
}

/// A text names no bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBusUrl {
    /// A bus that nobody knows.
    #[error("names no bus: write one of {KNOWN}")]
    Unknown,
    /// An embedded bus without a file after the colon.
    #[error("`embedded:` needs a file: write `embedded:data/bus.db`, or `embedded` for one beside the event store")]
    NoFile,
    /// A broker without an address.
    #[error("`{0}` is no broker: write `{1}://host:port`, several with commas between them")]
    NoBroker(String, &'static str),
}

fn brokers(list: &str, scheme: &'static str) -> Result<Vec<String>, InvalidBusUrl> {
    let broker = |text: &str| {
        let wrong = || InvalidBusUrl::NoBroker(text.to_owned(), scheme);
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        if host.is_empty() || host.contains(['/', '@']) || !is_port { Err(wrong()) } else { Ok(text.to_owned()) }
    };
    list.split(',').map(str::trim).map(broker).collect()
}

impl FromStr for BusUrl {
    type Err = InvalidBusUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBusUrl> {
        let text = text.trim();
        Ok(match text {
            "off" => Self::Off,
            "embedded" => Self::Beside,
            "memory" => Self::Memory,
            _ => {
                if let Some(list) = text.strip_prefix("kafka://") {
                    Self::Kafka(brokers(list, "kafka")?)
                } else if let Some(list) = text.strip_prefix("rdkafka://") {
                    Self::RdKafka(brokers(list, "rdkafka")?)
                } else {
                    match text.strip_prefix("embedded:") {
                        Some("") => return Err(InvalidBusUrl::NoFile),
                        Some(path) => Self::Embedded(path.into()),
                        None => return Err(InvalidBusUrl::Unknown),
                    }
                }
            }
        })
    }
}

impl BusUrl {
    /// What is meant by a bus beside this store. A store that several processes reach has none beside it.
    pub(crate) fn beside(self, store: &StoreUrl) -> Self {
        match (self, store) {
            (Self::Beside, StoreUrl::Sqlite(path)) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                Self::Embedded(path.with_file_name(format!("{stem}-bus.db")))
            }
            (Self::Beside, StoreUrl::Log(path)) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Self::Embedded(path.with_file_name(format!("{name}-bus.db")))
            }
            (Self::Beside, StoreUrl::Memory | StoreUrl::None) => Self::Memory,
            (url, _) => url,
        }
    }

    /// Whether several processes reach it.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Kafka(_) | Self::RdKafka(_))
    }
}

impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Beside => f.write_str("embedded"),
            Self::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Self::Memory => f.write_str("memory"),
            Self::Kafka(brokers) => write!(f, "kafka://{}", brokers.join(",")),
            Self::RdKafka(brokers) => write!(f, "rdkafka://{}", brokers.join(",")),
        }
    }
}

impl Serialize for BusUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BusUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_one_text() {
        for text in ["off", "embedded", "memory", "embedded:data/bus.db", "kafka://a:9092", "rdkafka://a:9092,b:9093"] {
            assert_eq!(text.parse::<BusUrl>().map(|url| url.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "kafka", "kafka://", "kafka://a", "rdkafka://a:0", "rdkafka://u:p@a:1", "embedded:", "redis://a:1"]
        {
            assert!(text.parse::<BusUrl>().is_err(), "{text}");
        }
        let beside = |store: &str| BusUrl::Beside.beside(&store.parse().expect("a store")).to_string();
        assert_eq!(beside("sqlite:data/phoenix.db"), "embedded:data/phoenix-bus.db");
        assert_eq!(beside("log:data/log"), "embedded:data/log-bus.db");
        assert_eq!(beside("memory"), "memory");
    }
}
