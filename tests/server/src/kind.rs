//! Which servers there are.

use std::fmt;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB, in the place of MySQL.
    MySql,
    /// A broker of Apache Kafka 3.9.
    Kafka,
    /// A broker of Apache Kafka 4.
    Kafka4,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::MySql, Self::Kafka, Self::Kafka4];

    /// Those that keep databases.
    pub const DATABASES: [Self; 2] = [Self::Postgres, Self::MySql];

    /// Those that keep topics.
    pub const BROKERS: [Self; 2] = [Self::Kafka, Self::Kafka4];

    /// Its name in the script.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Kafka => "kafka",
            Self::Kafka4 => "kafka4",
        }
    }

    /// The environment variable with its URL; of a broker, with its host and port.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "PHOENIX_TEST_POSTGRES",
            Self::MySql => "PHOENIX_TEST_MYSQL",
            Self::Kafka => "PHOENIX_TEST_KAFKA",
            Self::Kafka4 => "PHOENIX_TEST_KAFKA4",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::MySql => "MariaDB",
            Self::Kafka => "Kafka 3.9",
            Self::Kafka4 => "Kafka 4",
        })
    }
}
