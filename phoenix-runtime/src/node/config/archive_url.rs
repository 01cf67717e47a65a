//! Where the bytes of old events go, as one text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What [`ArchiveUrl`] can be.
const KNOWN: &str = "`off`, `table`, `folder:<path>`";

/// Where events go that no snapshot needs any more, for aggregates with `archive = true`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveUrl {
    /// They stay.
    #[default]
    Off,
    /// A table of the store's own database.
    Table,
    /// A folder, a file for each block of events.
    Folder(PathBuf),
}

/// A text names no archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArchiveUrl {
    /// None of the words.
    #[error("there is no archive `{0}`: write one of {KNOWN}")]
    Unknown(String),
    /// A folder without a path.
    #[error("`folder:` needs a path: write `folder:data/archive`")]
    NoPath,
}

impl FromStr for ArchiveUrl {
    type Err = InvalidArchiveUrl;

    fn from_str(text: &str) -> Result<Self, InvalidArchiveUrl> {
        match text.trim() {
            "off" => Ok(Self::Off),
            "table" => Ok(Self::Table),
            other => match other.strip_prefix("folder:").map(|path| path.strip_prefix("//").unwrap_or(path)) {
                Some("") => Err(InvalidArchiveUrl::NoPath),
                Some(path) => Ok(Self::Folder(path.into())),
                None => Err(InvalidArchiveUrl::Unknown(other.to_owned())),
            },
        }
    }
}

impl fmt::Display for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Table => f.write_str("table"),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
        }
    }
}

impl Serialize for ArchiveUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ArchiveUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ArchiveUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {KNOWN}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ArchiveUrl, E> {
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
    fn archives() {
        #[track_caller]
        fn check(text: &str, expected: &Result<ArchiveUrl, InvalidArchiveUrl>) {
            assert_eq!(&text.parse(), expected);
        }
        let unknown = |text: &str| Err(InvalidArchiveUrl::Unknown(text.to_owned()));
        check("off", &Ok(ArchiveUrl::Off));
        check(" table ", &Ok(ArchiveUrl::Table));
        check("folder:data/archive", &Ok(ArchiveUrl::Folder("data/archive".into())));
        check("folder:///var/archive", &Ok(ArchiveUrl::Folder("/var/archive".into())));
        check("folder:", &Err(InvalidArchiveUrl::NoPath));
        check("folder://", &Err(InvalidArchiveUrl::NoPath));
        check("folder", &unknown("folder"));
        check("data/archive", &unknown("data/archive"));
        check("", &unknown(""));
        for text in ["off", "table", "folder:a b/c"] {
            assert_eq!(text.parse::<ArchiveUrl>().map(|url| url.to_string()), Ok(text.to_owned()));
        }
    }
}
