//! Stores as the command line names them.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use phoenix_runtime::event_store::EventStore;
use phoenix_runtime::node::config::StoreUrl;
use phoenix_runtime::node::{NodeConfig, open_store};

use super::log::Log;
use super::memory::{Memory, Nothing};
use super::mysql::Mysql;
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::{BenchError, Subject};

/// What a store can be.
const KNOWN: &str = "`memory`, `none`, `sqlite:FOLDER`, `log:FOLDER`, `postgres://USER@HOST/DATABASE`, \
     `mysql://USER@HOST/DATABASE`";

/// Which store it is: what is to be reached depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    /// Keeps nothing.
    Nothing,
    Sqlite,
    Log,
    Postgres,
    Mysql,
}

impl Kind {
    /// Whether what was written can be read again.
    pub(crate) fn keeps(self) -> bool {
        self != Self::Nothing
    }

    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Nothing => "none",
            Self::Sqlite => "SQLite",
            Self::Log => "log",
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
        }
    }
}

/// A store as the command line names it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Named {
    kind: Kind,
    /// A folder, or the address of a server with its password.
    at: String,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Named({})", self.kind.name())
    }
}

impl Named {
    /// What is measured where nobody names a store; files are in `./target`.
    pub(crate) fn defaults() -> Vec<Self> {
        [(Kind::Sqlite, "target"), (Kind::Memory, "")].map(|(kind, at)| Self { kind, at: at.to_owned() }).to_vec()
    }

    /// What is measured over a bus where nobody names a store.
    pub(crate) fn durable() -> Self {
        Self { kind: Kind::Sqlite, at: "target".to_owned() }
    }

    /// The folder of this name in which its files are, if it has any.
    pub(crate) fn folder(&self, name: &str) -> Option<PathBuf> {
        matches!(self.kind, Kind::Sqlite | Kind::Log).then(|| Path::new(&self.at).join(name))
    }

    /// Ready to be measured; what it makes is in a folder of this name, or in databases that begin with it.
    pub(crate) fn subject(&self, name: &str) -> Result<Box<dyn Subject>, BenchError> {
        Ok(match self.kind {
            Kind::Memory => Box::new(Memory::default()),
            Kind::Nothing => Box::new(Nothing),
            Kind::Sqlite => Box::new(Sqlite::new(Path::new(&self.at).join(name))),
            Kind::Log => Box::new(Log::new(Path::new(&self.at).join(name))),
            Kind::Postgres => Box::new(Postgres::new(&self.at, name)?),
            Kind::Mysql => Box::new(Mysql::new(&self.at, name)?),
        })
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = match text.split_once(':') {
            None if text == "memory" => return Ok(Self { kind: Kind::Memory, at: String::new() }),
            None if text == "none" => return Ok(Self { kind: Kind::Nothing, at: String::new() }),
            Some(("sqlite", folder)) if !folder.is_empty() => {
                return Ok(Self { kind: Kind::Sqlite, at: folder.to_owned() });
            }
            Some(("log", folder)) if !folder.is_empty() => return Ok(Self { kind: Kind::Log, at: folder.to_owned() }),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Kind::Postgres,
            Some(("mysql" | "mariadb", rest)) if rest.starts_with("//") => Kind::Mysql,
            _ => {
                return Err(format!("say one of {KNOWN}"));
            }
        };
        Ok(Self { kind, at: text.to_owned() })
    }
}

/// Opens a store as a node does that says nothing but which one.
pub(super) async fn open(url: &str) -> Result<Arc<dyn EventStore>, BenchError> {
    let mut config = NodeConfig::default();
    config.store = url.parse::<StoreUrl>()?;
    Ok(open_store(&config).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores() {
        #[track_caller]
        fn check(text: &str, expected: Option<(Kind, &str)>) {
            let named = text.parse::<Named>().ok();
            assert_eq!(named.as_ref().map(|named| (named.kind, named.at.as_str())), expected);
        }
        check("memory", Some((Kind::Memory, "")));
        check("none", Some((Kind::Nothing, "")));
        check("sqlite:target", Some((Kind::Sqlite, "target")));
        check("sqlite:", None);
        check("log:target", Some((Kind::Log, "target")));
        check("postgres://u:p@h/d", Some((Kind::Postgres, "postgres://u:p@h/d")));
        check("mariadb://h/d", Some((Kind::Mysql, "mariadb://h/d")));
        check("postgres", None);
    }

    #[test]
    fn a_password_is_not_shown() {
        let named = "postgres://u:secret@h/d".parse::<Named>();
        assert!(!format!("{named:?}").contains("secret"));
    }
}
