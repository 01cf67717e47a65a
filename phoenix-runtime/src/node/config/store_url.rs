//! Which event store a node opens, as one text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event_store::DatabaseUrl;

/// What [`StoreUrl`] can be.
const KNOWN: &str = "`sqlite:<path>`, `log:<path>`, `postgres://<user>:<password>@<host>/<database>`, \
                     `mysql://<user>:<password>@<host>/<database>`, `memory`, `none`";

/// An event store and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// Nothing survives the process: for tests and trials.
    Memory,
    /// Nothing is kept at all: for measurements.
    None,
    /// A file.
    Sqlite(PathBuf),
    /// A folder.
    Log(PathBuf),
    /// A PostgreSQL database.
    Postgres(DatabaseUrl),
    /// A database of MySQL or MariaDB.
    MySql(DatabaseUrl),
}

/// A text names no event store. The text itself is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStoreUrl {
    /// No `scheme:`, and neither `memory` nor `none`.
    #[error("names no store: write one of {KNOWN}")]
    NoScheme,
    /// A store that nobody knows.
    #[error("there is no store `{0}`: write one of {KNOWN}")]
    Unknown(String),
    /// A file store without a file.
    #[error("`sqlite:` needs a file: write `sqlite:data/phoenix.db`, or `memory` for a store without one")]
    NoFile,
    /// A log without a folder.
    #[error("`log:` needs a folder: write `log:data/phoenix-log`, or `memory` for a store without one")]
    NoFolder,
    /// Parameters, which no store takes.
    #[error("a file takes no parameters after `?`")]
    Parameters,
    /// A user or password with characters that end it.
    #[error(
        "its user or password has `@`, `/` or `#`, or its parameters have `#`: write them as `%40`, `%2F` and `%23` (and \
         `?` as `%3F`, `%` as `%25`)"
    )]
    NotEncoded,
    /// A database without an address.
    #[error("a database has an address: write `{0}://user:password@host:port/database`")]
    NoAddress(String),
}

/// Whether an address ends its user where it seems to: an `@` that comes later is of a password, and the host would be
/// looked for in it.
fn is_encoded(address: &str) -> bool {
    let before = address.split('?').next().unwrap_or_default();
    let place = before.split_once('@').map_or("", |(_, place)| place);
    let user = before.split_once('@').map_or("", |(user, _)| user.trim_start_matches('/'));
    !address.contains('#') && !place.contains('@') && !user.contains('/')
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        let text = text.trim();
        if text == "memory" || text == "memory:" {
            return Ok(Self::Memory);
        }
        if text == "none" || text == "none:" {
            return Ok(Self::None);
        }
        let (scheme, rest) = text.split_once(':').ok_or(InvalidStoreUrl::NoScheme)?;
        let word = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        match scheme {
            "sqlite" => match rest.strip_prefix("//").unwrap_or(rest) {
                "" | ":memory:" => Err(InvalidStoreUrl::NoFile),
                path if path.contains('?') => Err(InvalidStoreUrl::Parameters),
                path => Ok(Self::Sqlite(path.into())),
            },
            "log" => match rest.strip_prefix("//").unwrap_or(rest) {
                "" => Err(InvalidStoreUrl::NoFolder),
                path if path.contains('?') => Err(InvalidStoreUrl::Parameters),
                path => Ok(Self::Log(path.into())),
            },
            "postgres" | "postgresql" | "mysql" | "mariadb" if !is_encoded(rest) => Err(InvalidStoreUrl::NotEncoded),
            "postgres" | "postgresql" if rest.starts_with("//") => Ok(Self::Postgres(DatabaseUrl::new(text))),
            "mysql" | "mariadb" if rest.starts_with("//") => Ok(Self::MySql(DatabaseUrl::new(text))),
            "postgres" | "postgresql" | "mysql" | "mariadb" => Err(InvalidStoreUrl::NoAddress(scheme.to_owned())),
            _ if word && !scheme.is_empty() => Err(InvalidStoreUrl::Unknown(scheme.to_owned())),
            _ => Err(InvalidStoreUrl::NoScheme),
        }
    }
}

impl StoreUrl {
    /// Whether it is a database, which several processes reach at once.
    pub(crate) const fn is_database(&self) -> bool {
        matches!(self, Self::Postgres(_) | Self::MySql(_))
    }

    /// What may be lost where it is not durable, and what to set.
    pub(crate) const fn not_durable(&self) -> &'static str {
        match self {
            Self::Postgres(_) => {
                "acknowledged events may be lost when the server's machine fails; set `fsync = on` and \
                 `synchronous_commit = on` at the server"
            }
            Self::MySql(_) => {
                "acknowledged events may be lost when the server's machine fails; set \
                 `innodb_flush_log_at_trx_commit = 1` at the server, and with a binary log `sync_binlog = 1`"
            }
            Self::Sqlite(_) => {
                "acknowledged events may be lost when the power fails; set `sqlite.synchronous = \"full\"`"
            }
            Self::Memory | Self::None | Self::Log(_) => {
                "everything is lost when this process ends; set `store = \"sqlite:<path>\"`"
            }
        }
    }

    /// What stands before the colon.
    pub(crate) const fn scheme(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::None => "none",
            Self::Sqlite(_) => "sqlite",
            Self::Log(_) => "log",
            Self::Postgres(_) => "postgres",
            Self::MySql(_) => "mysql",
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::None => f.write_str("none"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Log(path) => write!(f, "log:{}", path.display()),
            Self::Postgres(url) | Self::MySql(url) => write!(f, "{url}"),
        }
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = StoreUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {KNOWN}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<StoreUrl, E> {
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
    fn stores() {
        #[track_caller]
        fn check(text: &str, expected: &Result<StoreUrl, InvalidStoreUrl>) {
            assert_eq!(&text.parse(), expected);
        }
        check("memory", &Ok(StoreUrl::Memory));
        check("none", &Ok(StoreUrl::None));
        check("sqlite:data/bank.db", &Ok(StoreUrl::Sqlite("data/bank.db".into())));
        check("sqlite:///var/bank.db", &Ok(StoreUrl::Sqlite("/var/bank.db".into())));
        check("log:data/log", &Ok(StoreUrl::Log("data/log".into())));
        check("log:///var/log", &Ok(StoreUrl::Log("/var/log".into())));
        check("log:", &Err(InvalidStoreUrl::NoFolder));
        check("log:a?b", &Err(InvalidStoreUrl::Parameters));
        check("sqlite:", &Err(InvalidStoreUrl::NoFile));
        check("sqlite::memory:", &Err(InvalidStoreUrl::NoFile));
        check("sqlite:a.db?mode=ro", &Err(InvalidStoreUrl::Parameters));
        let url = "postgres://u:secret@h/db?sslmode=require";
        check(url, &Ok(StoreUrl::Postgres(DatabaseUrl::new(url))));
        check("postgres:db", &Err(InvalidStoreUrl::NoAddress("postgres".into())));
        for url in ["mysql://u:secret@h/db", "mariadb://u:secret@h/db"] {
            check(url, &Ok(StoreUrl::MySql(DatabaseUrl::new(url))));
        }
        check("mariadb:db", &Err(InvalidStoreUrl::NoAddress("mariadb".into())));
        for password in ["p@ss", "p/ss", "p#ss", "p@ss/w#rd%1"] {
            for scheme in ["postgres", "mysql"] {
                check(&format!("{scheme}://u:{password}@h/db"), &Err(InvalidStoreUrl::NotEncoded));
            }
        }
        let url = "postgres://u:p%40ss%2F%23@h/db?options=a@b";
        check(url, &Ok(StoreUrl::Postgres(DatabaseUrl::new(url))));
        check("oracle:x", &Err(InvalidStoreUrl::Unknown("oracle".into())));
        check("data/bank.db", &Err(InvalidStoreUrl::NoScheme));
        check("user:secret@host", &Err(InvalidStoreUrl::Unknown("user".into())));
        assert_eq!("log:a".parse::<StoreUrl>().map(|url| url.to_string()), Ok("log:a".to_owned()));
        assert_eq!("sqlite:a.db".parse::<StoreUrl>().map(|url| url.to_string()), Ok("sqlite:a.db".to_owned()));
    }

    #[test]
    fn what_is_not_durable_names_its_own_setting() {
        #[track_caller]
        fn check(url: &str, setting: &str) {
            assert!(url.parse::<StoreUrl>().is_ok_and(|url| url.not_durable().contains(setting)));
        }
        check("memory", "`store = \"sqlite:<path>\"`");
        check("none", "`store = \"sqlite:<path>\"`");
        check("sqlite:a.db", "`sqlite.synchronous = \"full\"`");
        check("postgres://a@b/c", "`synchronous_commit = on` at the server");
        check("mariadb://a@b/c", "`innodb_flush_log_at_trx_commit = 1` at the server");
    }

    #[test]
    fn a_password_is_not_repeated() {
        let error = "oracle://user:secret@host/db".parse::<StoreUrl>().map_err(|e| e.to_string());
        assert!(error.is_err_and(|text| !text.contains("secret") && text.contains("`sqlite:<path>`")));
        let shown = "postgres://user:secret@host/db".parse::<StoreUrl>().map(|url| format!("{url} {url:?}"));
        assert!(shown.is_ok_and(|text| !text.contains("secret") && text.starts_with("postgres://user:***@host/db ")));
    }
}
