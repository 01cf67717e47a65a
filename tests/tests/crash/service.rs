//! The service under test: a process of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use phoenix_runtime::node::NodeConfig;
#[cfg(unix)]
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::ledger::config;
use crate::lot::Lot;
use crate::stores::Place;

/// Longer than any start takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// The address of a service that does not serve yet.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// How to start it.
#[derive(Debug)]
pub(crate) struct Setup {
    url: String,
    /// Other databases, by their names.
    sources: BTreeMap<String, String>,
    /// Where old events go.
    archive: String,
    /// Where its commands come from, and the topic; if not by HTTP alone.
    bus: Option<(String, String)>,
    logs: PathBuf,
    environment: Vec<(&'static str, String)>,
    starts: AtomicU64,
    /// How long the last one took, in microseconds.
    took: AtomicU64,
}

impl Setup {
    /// With its events in this place.
    pub(crate) fn new(place: &Place) -> Self {
        let (url, logs) = (place.url(), place.logs());
        let (starts, took) = (AtomicU64::new(0), AtomicU64::new(0));
        let archive = "off".to_owned();
        Self { url, sources: BTreeMap::new(), archive, bus: None, logs, environment: place.environment(), starts, took }
    }

    /// With another environment variable.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// With an archive in this folder.
    pub(crate) fn with_archive(mut self, folder: &Path) -> Self {
        self.archive = format!("folder:{}", folder.display());
        self
    }

    /// With commands from a topic of this bus, which all services of this setup share as a group of the same name.
    pub(crate) fn with_bus(mut self, bus: &str, topic: &str) -> Self {
        self.bus = Some((bus.to_owned(), topic.to_owned()));
        self
    }

    /// With another database that shares the slices.
    pub(crate) fn with_source(mut self, name: &str, url: &str) -> Self {
        self.sources.insert(name.to_owned(), url.to_owned());
        self
    }

    /// The configuration of whoever reads beside it.
    pub(crate) fn config(&self) -> NodeConfig {
        let mut config = config(&self.url);
        let parsed = |(name, url): (&String, &String)| (name.clone(), url.parse().expect("a store"));
        config.archive = self.archive.parse().expect("an archive");
        config.sources = self.sources.iter().map(parsed).collect();
        config
    }

    /// Starts it and waits until it serves. An error is what it said when it ended instead.
    pub(crate) fn start(&self) -> Result<Service, String> {
        let began = Instant::now();
        let service = self.begin().serving()?;
        self.took.store(u64::try_from(began.elapsed().as_micros()).expect("not for ever"), Ordering::Relaxed);
        Ok(service)
    }

    /// Starts it, and kills it at some moment before it serves, at the latest when it does.
    pub(crate) fn kill_while_starting(&self, lot: &mut Lot) {
        let moment = Duration::from_micros(lot.below(self.took.load(Ordering::Relaxed).max(1)));
        let starting = self.begin();
        // serving or not: this is about the time that passes
        let _ = starting.said.recv_timeout(moment);
        starting.service.kill();
    }

    /// A program in its folder, with its databases.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let sources = self.sources.iter().map(|(name, url)| (format!("PHOENIX__SOURCES__{name}"), url));
        command.current_dir(&self.logs).env("PHOENIX__STORE", &self.url).envs(sources);
        command.env("PHOENIX__ARCHIVE", &self.archive);
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    /// Starts it, and does not wait.
    pub(crate) fn begin(&self) -> Starting {
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("service-{number}.log"));
        let mut command = self.command(env!("CARGO_BIN_EXE_crash-bank"));
        if let Some((bus, topic)) = &self.bus {
            command.env("PHOENIX__BUS", bus).env("PHOENIX__MESSAGING__TOPIC", topic);
            command.env("PHOENIX__MESSAGING__GROUP", topic);
            // several of them run on this machine
            command.env("PHOENIX__MESSAGING__REPLIES", format!("{topic}.replies.{number}"));
        }
        let mut child = command
            .env("PHOENIX__HTTP__PORT", "0")
            // clients wait as long as it takes: what they are told before that is a failure
            .env("PHOENIX__HTTP__TIMEOUT", "50s")
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("the log's folder is there"))
            .spawn()
            .expect("the service can be started");
        let out = child.stdout.take().expect("it is piped");
        let (line, said) = mpsc::channel();
        thread::spawn(move || {
            let mut first = String::new();
            // ends with the line, or with the process
            let read = BufReader::new(out).read_line(&mut first).map(|_| first);
            // nobody listens any more if it was killed
            let _ = line.send(read);
        });
        // killed when it is dropped, whatever happens
        Starting { service: Service { child, address: NOWHERE, log }, said }
    }
}

/// It was started, and perhaps does not serve yet.
pub(crate) struct Starting {
    service: Service,
    said: Receiver<io::Result<String>>,
}

impl Starting {
    /// Waits until it serves. An error is what it said when it ended instead.
    pub(crate) fn serving(mut self) -> Result<Service, String> {
        let said = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| self.late()).expect("UTF-8");
        match said.trim_end().strip_prefix("listening on ").and_then(|address| address.parse().ok()) {
            Some(address) => {
                self.service.address = address;
                Ok(self.service)
            }
            None => Err(self.service.said()),
        }
    }

    /// Waits until it ends without having served, and says how, and what it said.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let said = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| self.late()).expect("UTF-8");
        assert_eq!(said, "", "it serves");
        let status = self.service.child.wait().expect("its end");
        (status, self.service.said())
    }

    /// Waits until it has said this, while it does not serve.
    pub(crate) fn expect_waiting(&self, what: &str) {
        let late = Instant::now() + PATIENCE;
        while !self.service.said().contains(what) {
            assert!(Instant::now() < late, "it does not say `{what}`, but: {}", self.service.said());
            let served = self.said.recv_timeout(Duration::from_millis(5));
            assert!(matches!(served, Err(RecvTimeoutError::Timeout)), "{served:?} instead: {}", self.service.said());
        }
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        self.service.said()
    }

    fn late(&self) -> io::Result<String> {
        panic!("the service neither starts nor ends: {}", self.service.said())
    }
}

/// The running process; it is killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Service {
    /// SIGKILL: nothing of it runs any more when this returns.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// SIGSTOP: nothing of it moves any more when this returns, and its connections stay.
    #[cfg(unix)]
    pub(crate) fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).expect("it runs");
        let stopped = waitpid(Some(self.pid()), WaitOptions::UNTRACED).expect("it runs");
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "{stopped:?}: {}", self.said());
    }

    /// SIGCONT: it goes on where it was.
    #[cfg(unix)]
    pub(crate) fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).expect("it is there");
    }

    #[cfg(unix)]
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Its log.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log can be read")
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
