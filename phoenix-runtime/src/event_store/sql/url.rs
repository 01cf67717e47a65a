//! The address of a database, which may hold a password.

use std::fmt;

/// The address of a database: `scheme://user:password@host:port/database?parameters`. The password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

/// What is shown instead of a password.
const HIDDEN: &str = "***";

impl DatabaseUrl {
    /// Takes an address as it is.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole address, its password included: not for logs or errors.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl DatabaseUrl {
    /// What stands behind the `?`: `name=value` each, of which a value may be a password.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        let all = self.0.split_once('?').map_or("", |(_, parameters)| parameters);
        all.split('&').filter(|parameter| !parameter.is_empty())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str(HIDDEN) };
        if rest.rsplit_once('@').is_some_and(|(before, _)| before.contains('?')) {
            // a `?` that nobody has encoded in the password, or an @ in a parameter: who knows where a secret ends
            return write!(f, "{scheme}://{HIDDEN}");
        }
        let (rest, parameters) = rest.split_once('?').map_or((rest, None), |(rest, p)| (rest, Some(p)));
        // a password may hold any character, also a slash or an @ that nobody has encoded: all before the last @
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        write!(f, "{scheme}://")?;
        if let Some(user) = user {
            match user.split_once(':') {
                Some((name, _)) => write!(f, "{name}:{HIDDEN}@")?,
                None => write!(f, "{user}@")?,
            }
        }
        f.write_str(place)?;
        for (n, parameter) in parameters.into_iter().flat_map(|all| all.split('&')).enumerate() {
            let name = parameter.split('=').next().unwrap_or_default();
            f.write_str(if n == 0 { "?" } else { "&" })?;
            if name.contains("pass") { write!(f, "{name}={HIDDEN}")? } else { f.write_str(parameter)? }
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        #[track_caller]
        fn check(url: &str, shown: &str) {
            let url = DatabaseUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("DatabaseUrl({shown})"));
        }
        check("postgres://bank:secret@db:5432/bank", "postgres://bank:***@db:5432/bank");
        check("postgres://bank:sec@ret/1@db/bank", "postgres://bank:***@db/bank");
        check("postgres://bank@db/bank?sslmode=require", "postgres://bank@db/bank?sslmode=require");
        check("postgres:///bank?host=/run&password=secret&user=a", "postgres:///bank?host=/run&password=***&user=a");
        check("postgres://bank:sec?ret@db/bank", "postgres://***");
        check("postgres://bank:sec?re@t@db/bank?sslmode=require", "postgres://***");
        check("postgres://db/bank?password=sec@ret", "postgres://***");
        check("mysql://db", "mysql://db");
        check("bank:secret@db", "***");
    }
}
