//! Which servers there are.

use std::fmt;

/// A kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB, in the place of MySQL.
    MySql,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::MySql];

    /// Its name in the script.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    /// The environment variable with its URL.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "PHOENIX_TEST_POSTGRES",
            Self::MySql => "PHOENIX_TEST_MYSQL",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::MySql => "MariaDB",
        })
    }
}
