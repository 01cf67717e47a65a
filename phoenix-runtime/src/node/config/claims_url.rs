//! Where large messages are kept, as one text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What [`ClaimsUrl`] can be.
const KNOWN: &str = "`off`, `folder:<path>`";

/// Where the bodies of messages are kept that are too large for the bus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimsUrl {
    /// Such messages are refused.
    #[default]
    Off,
    /// A folder, a file for each body. Whoever sends and whoever reads share it.
    Folder(PathBuf),
}

/// A text names no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaimsUrl {
    /// None of the words.
    #[error("large messages can't be kept in `{0}`: write one of {KNOWN}")]
    Unknown(String),
    /// A folder without a path.
    #[error("`folder:` needs a path: write `folder:/var/lib/phoenix/messages`")]
    NoPath,
}

impl FromStr for ClaimsUrl {
    type Err = InvalidClaimsUrl;

    fn from_str(text: &str) -> Result<Self, InvalidClaimsUrl> {
        match text.trim() {
            "off" => Ok(Self::Off),
            other => match other.strip_prefix("folder:").map(|path| path.strip_prefix("//").unwrap_or(path)) {
                Some("") => Err(InvalidClaimsUrl::NoPath),
                Some(path) => Ok(Self::Folder(path.into())),
                None => Err(InvalidClaimsUrl::Unknown(other.to_owned())),
            },
        }
    }
}

impl fmt::Display for ClaimsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
        }
    }
}

impl Serialize for ClaimsUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClaimsUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ClaimsUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {KNOWN}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ClaimsUrl, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!("off".parse(), Ok(ClaimsUrl::Off));
        assert_eq!("folder:///srv/large".parse(), Ok(ClaimsUrl::Folder("/srv/large".into())));
        assert_eq!("folder:".parse::<ClaimsUrl>(), Err(InvalidClaimsUrl::NoPath));
        assert_eq!("s3:bucket".parse::<ClaimsUrl>(), Err(InvalidClaimsUrl::Unknown("s3:bucket".to_owned())));
        for text in ["off", "folder:a b/c"] {
            assert_eq!(text.parse::<ClaimsUrl>().map(|url| url.to_string()), Ok(text.to_owned()));
        }
    }
}
