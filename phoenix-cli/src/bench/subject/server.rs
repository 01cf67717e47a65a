//! Addresses of servers, and the databases that are made there.

use super::{BenchError, Place};

/// A server, and the databases that a run makes on it.
pub(super) struct Server {
    /// With its password.
    pub(super) url: String,
    /// What the names of its databases begin with.
    name: String,
}

impl Server {
    pub(super) fn new(url: &str, name: &str) -> Self {
        Self { url: url.to_owned(), name: name.replace('-', "_") }
    }

    /// The database of a place.
    pub(super) fn database(&self, place: Place) -> String {
        format!("{}_{}", self.name, place.name())
    }

    /// The address of the database of a place.
    pub(super) fn url_of(&self, place: Place) -> String {
        with_database(&self.url, &self.database(place))
    }

    pub(super) fn failed(&self, what: impl Into<String>) -> impl FnOnce(sea_orm::sqlx::Error) -> BenchError {
        let (server, what) = (without_password(&self.url), what.into());
        move |error| BenchError::Server { server, what, reason: error.to_string() }
    }
}

/// The same server and user, another database.
fn with_database(url: &str, database: &str) -> String {
    let (address, parameters) = url.split_once('?').map_or((url, None), |(address, rest)| (address, Some(rest)));
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    let parameters = parameters.map_or_else(String::new, |parameters| format!("?{parameters}"));
    format!("{scheme}://{host}/{database}{parameters}")
}

/// For messages: neither the password nor parameters, which may hold one.
fn without_password(url: &str) -> String {
    let address = url.split_once('?').map_or(url, |(address, _)| address);
    let Some((scheme, rest)) = address.split_once("://") else { return "the server".to_owned() };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server() {
        #[track_caller]
        fn check(url: &str, expected: &str) {
            assert_eq!(with_database(url, "bench"), expected);
        }
        check("postgres://u:p@h:5432/main?sslmode=disable", "postgres://u:p@h:5432/bench?sslmode=disable");
        check("postgres://u@h/main", "postgres://u@h/bench");
        check("mysql://u:p@h:3306", "mysql://u:p@h:3306/bench");
        check("postgres:///main?host=/run/pg", "postgres:///bench?host=/run/pg");
    }

    #[test]
    fn messages_have_no_password() {
        assert_eq!(without_password("postgres://u:se@cret@h:1/d?password=secret"), "postgres://h:1/d");
    }
}
