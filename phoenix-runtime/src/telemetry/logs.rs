//! Structured logs by `tracing`, one line an event, to standard error.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The options of the logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
#[non_exhaustive]
pub struct LogOptions {
    /// Which events are written.
    pub filter: LogFilter,
    /// How they are written.
    pub format: LogFormat,
}

/// How an event of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line, for machines.
    Json,
}

/// Which events are written: a level, or levels of modules, as `info,phoenix_runtime=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match EnvFilter::try_new(text) {
            // a bare word would be taken for the name of a module, of which nobody meant to see everything
            Ok(_) if text.contains('=') || text.parse::<tracing::Level>().is_ok() || text == "off" => {
                Ok(Self(text.to_owned()))
            }
            Ok(_) => Err(format!(
                "`{text}` is no log filter: write a level (error, warn, info, debug, trace, off), or levels of modules: `info,phoenix_runtime=debug`"
            )),
            Err(error) => Err(format!("`{text}` is no log filter: {error}")),
        }
    }
}

impl Serialize for LogFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = LogFilter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a log filter such as \"info\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<LogFilter, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Sends the logs of this process to standard error. Where the program has set a subscriber of its own, that one
/// stays.
pub fn init(options: &LogOptions) {
    let filter = EnvFilter::new(options.filter.as_str());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // an error says that there is a subscriber already
    let _ = match options.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
}
