//! Servers and their databases.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::{ConnectOptions, ConnectionTrait, Database};

use crate::kind::Kind;
use crate::script;

/// Why there is no server, or no database of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its packages are not installed.
    #[error("{0}")]
    Missing(String),
    /// It is there and does not work.
    #[error("{0}")]
    Failed(String),
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    url: String,
    certificate: Option<PathBuf>,
    safe: Option<String>,
}

/// The server of this process: that of the environment, or one that is started now and ends with the process.
///
/// # Errors
/// Where its packages are missing, or it does not start.
pub fn shared(kind: Kind) -> Result<&'static Server, Error> {
    static SERVERS: [OnceLock<Result<Server, Error>>; Kind::ALL.len()] = [const { OnceLock::new() }; Kind::ALL.len()];
    let server = SERVERS[kind as usize].get_or_init(|| match Server::of_environment(kind) {
        Some(server) => Ok(server),
        None => Ok(Server::start(kind)?.0),
    });
    server.as_ref().map_err(Clone::clone)
}

impl Server {
    pub(crate) fn of_environment(kind: Kind) -> Option<Self> {
        Self::of(kind, &std::env::vars().filter(|(name, _)| name.starts_with("PHOENIX_TEST_")).collect())
    }

    fn of(kind: Kind, variables: &BTreeMap<String, String>) -> Option<Self> {
        let url = variables.get(kind.variable())?.clone();
        let certificate = variables.get("PHOENIX_TEST_CA").map(PathBuf::from);
        Some(Self { kind, url, certificate, safe: variables.get(&format!("{}_SAFE", kind.variable())).cloned() })
    }

    fn start(kind: Kind) -> Result<(Self, PathBuf), Error> {
        let (variables, folder) = script::start(kind)?;
        let server = Self::of(kind, &variables);
        Ok((server.ok_or_else(|| Error::Failed(format!("{kind} was started and has no URL")))?, folder))
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The URL of its own database, for its administrator, without TLS; of a broker, its host and port.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its host and port, as they stand in each of its URLs.
    #[must_use]
    pub fn address(&self) -> &str {
        let behind = self.url.rsplit_once('@').map_or(self.url.as_str(), |(_, behind)| behind);
        behind.split('/').next().unwrap_or(behind)
    }

    /// Where a broker listens for those who prove themselves over TLS, by SCRAM-SHA-256 or PLAIN: the name, the password,
    /// and host and port. `None` where there is no such listener.
    #[must_use]
    pub fn safe(&self) -> Option<(&str, &str, &str)> {
        let (who, address) = self.safe.as_deref()?.split_once('@')?;
        let (name, password) = who.split_once(':')?;
        Some((name, password, address))
    }

    /// The certificate of the authority that signed the server's, which is for 127.0.0.1 and localhost; `None` where
    /// the server speaks no TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// Creates an empty database whose name begins with this one, and gives its URL.
    ///
    /// # Errors
    /// When the server does not create it, or has no databases.
    pub fn database(&self, name: &str) -> Result<String, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .take(40)
            .collect();
        let name = format!("{name}_{}_{number}", std::process::id());
        self.execute(&format!("CREATE DATABASE {name}"))?;
        let (authority, rest) = self.url.rsplit_once('/').unwrap_or((&self.url, ""));
        let query = rest.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
        Ok(format!("{authority}/{name}{query}"))
    }

    /// Runs a statement as the server's administrator.
    ///
    /// # Errors
    /// When the server refuses it, or knows no SQL.
    pub fn execute(&self, sql: &str) -> Result<(), Error> {
        if Kind::BROKERS.contains(&self.kind) {
            return Err(Error::Failed(format!("{} has no databases: {sql}", self.kind)));
        }
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("{}: {sql}: {error}", self.kind));
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
            runtime.block_on(async {
                let mut options = ConnectOptions::new(&self.url);
                options.max_connections(1).sqlx_logging(false);
                let connection = Database::connect(options).await.map_err(|e| failed(&e))?;
                connection.execute_unprepared(sql).await.map_err(|e| failed(&e))?;
                connection.close().await.map_err(|e| failed(&e))
            })
        };
        // on a thread of its own: callers may be in a runtime
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| Err(failed(&"the thread panicked")))
    }
}

/// A server for one test, which may kill it. It is killed and its data removed when this is dropped.
#[derive(Debug)]
pub struct Private {
    server: Server,
    folder: PathBuf,
}

impl Private {
    /// Starts a server.
    ///
    /// # Errors
    /// Where its packages are missing, or it does not start.
    pub fn start(kind: Kind) -> Result<Self, Error> {
        let (server, folder) = Server::start(kind)?;
        Ok(Self { server, folder })
    }

    /// Kills all its processes, at once and without a word.
    ///
    /// # Errors
    /// When they do not end.
    pub fn kill(&self) -> Result<(), Error> {
        script::of_one("kill", self.server.kind, &self.folder)
    }

    /// Stops all its processes where they are: its connections stay, and nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<(), Error> {
        script::of_one("freeze", self.server.kind, &self.folder)
    }

    /// Lets all its processes go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<(), Error> {
        script::of_one("thaw", self.server.kind, &self.folder)
    }

    /// Starts it again on the same port and data, and returns when it answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn restart(&self) -> Result<(), Error> {
        script::of_one("start", self.server.kind, &self.folder)
    }
}

impl Deref for Private {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // what fails here is left to the script's watcher, which ends all when this process has ended
        let _ = self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
