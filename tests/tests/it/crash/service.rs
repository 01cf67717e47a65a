//! The service under test: a process of its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// The address of a service that does not serve yet.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// How to start it.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    folder: PathBuf,
    log: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Setup {
    /// With its store in one folder and its log in another.
    pub(crate) fn new(folder: &Path, log: &Path) -> Self {
        Self { folder: folder.to_owned(), log: log.to_owned(), environment: Vec::new() }
    }

    /// With another environment variable.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The store's file.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("bank.db")
    }

    /// Starts it and waits until it serves. An error is what it said when it ended instead.
    pub(crate) fn start(&self) -> Result<Service, String> {
        let mut child = self.spawn();
        let out = child.stdout.take().expect("it is piped");
        // killed when it is dropped, whatever happens here
        let mut service = Service { child, address: NOWHERE };
        let (line, said) = mpsc::channel();
        thread::spawn(move || {
            let mut first = String::new();
            // ends with the line, or with the process
            let read = BufReader::new(out).read_line(&mut first).map(|_| first);
            // nobody listens any more if it took too long
            let _ = line.send(read);
        });
        let said = said.recv_timeout(PATIENCE).expect("the service starts or ends in time").expect("UTF-8");
        if let Some(address) = said.trim_end().strip_prefix("listening on ").and_then(|address| address.parse().ok()) {
            service.address = address;
            Ok(service)
        } else {
            drop(service);
            Err(std::fs::read_to_string(&self.log).expect("its log can be read"))
        }
    }

    /// Starts it, and kills it when it has become the store's owner and recovers what the last one left.
    pub(crate) fn kill_while_starting(&self) {
        let service = Service { child: self.spawn(), address: NOWHERE };
        let (owner, late) = (format!("process {}\n", service.process()), Instant::now() + PATIENCE);
        while std::fs::read_to_string(self.folder.join("bank.db.lock")).unwrap_or_default() != owner {
            assert!(Instant::now() < late, "the service does not become the store's owner");
            thread::yield_now();
        }
        service.kill();
    }

    fn spawn(&self) -> Child {
        let log = File::create(&self.log).expect("the log's folder is there");
        Command::new(env!("CARGO_BIN_EXE_crash-bank"))
            .current_dir(&self.folder)
            .env("CRASH_BANK_STORE", self.store())
            .env("PHOENIX__HTTP__PORT", "0")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the service can be started")
    }
}

/// The running process; it is killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Service {
    /// SIGKILL: nothing of it runs any more when this returns.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    fn end(&mut self) {
        // an error says that it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}
