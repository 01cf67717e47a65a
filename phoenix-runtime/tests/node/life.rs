//! Start, drain, stop, signals.

use std::sync::Arc;
use std::time::Duration;

use phoenix_runtime::event_store::MemoryStore;
use phoenix_runtime::node::Node;

use crate::account::{Account, Gate, Vault};
use crate::call::{config, request, start, start_with};

#[tokio::test]
async fn a_drain_finishes_what_is_open_and_takes_nothing_new() {
    let under = start().await;
    let (address, gate) = (under.address, under.gate.clone());
    let body = r#"{"account":"a"}"#;
    let open = tokio::spawn(async move { request(address, "POST", "/commands/account/linger", &[], body).await });
    gate.arrived().await;
    let draining = tokio::spawn(under.node.drain());
    let mut ready = request(address, "GET", "/health/ready", &[], "").await;
    while ready.status == 200 {
        ready = request(address, "GET", "/health/ready", &[], "").await;
    }
    assert_eq!(ready.code(), "stopping");
    let new = request(address, "POST", "/commands/account/deposit", &[], r#"{"account":"b","amount":1}"#).await;
    assert_eq!((new.status, new.code().as_str()), (503, "stopping"));
    gate.open();
    assert_eq!(open.await.expect("no panic").status, 200);
    assert!(draining.await.expect("no panic"), "all was finished");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "it listens no more");
}

#[tokio::test]
async fn a_drain_is_bounded() {
    let mut config = config();
    config.node.drain_timeout = Duration::from_millis(20);
    let under = start_with(config, Arc::new(MemoryStore::new())).await;
    let address = under.address;
    let body = r#"{"account":"a"}"#;
    let open = tokio::spawn(async move { request(address, "POST", "/commands/account/linger", &[], body).await });
    under.gate.arrived().await;
    assert!(!under.node.drain().await, "the handler still waits");
    assert_eq!(open.await.expect("no panic").code(), "outcome-unknown");
}

#[tokio::test]
async fn what_keeps_a_node_from_starting_is_said() {
    #[track_caller]
    fn check(found: Option<String>, expected: &[&str]) {
        let found = found.expect("an error");
        assert!(expected.iter().all(|part| found.contains(part)), "{found}");
    }
    let memory = || Arc::new(MemoryStore::new());
    let error = Node::builder().aggregate::<Account>().config(config()).store(memory()).start().await.err();
    check(error.map(|e| e.to_string()), &["`Gate`", "`linger`", "`account`"]);

    let twice = Node::builder().aggregate::<Vault>().aggregate::<Vault>().config(config()).store(memory());
    check(twice.start().await.err().map(|e| e.to_string()), &["two aggregates", "`vault`"]);

    let under = start().await;
    let mut taken = config();
    taken.http.port = under.address.port();
    let error = Node::builder().config(taken).store(memory()).start().await.err();
    check(error.map(|e| e.to_string()), &["failed to listen on", &under.address.to_string()]);

    let mut exposed = config();
    exposed.http.address = [0, 0, 0, 0].into();
    let error = Node::builder().config(exposed).store(memory()).start().await.err();
    check(error.map(|e| e.to_string()), &["`http.address`", "http.expose = true"]);
    under.node.stop().await;
}

#[tokio::test]
async fn a_gateway_can_be_left_out() {
    let mut config = config();
    config.http.enabled = false;
    let builder = Node::builder().aggregate::<Account>().resource(Gate::closed());
    let node = builder.config(config).store(Arc::new(MemoryStore::new())).start().await.expect("starts");
    assert_eq!(node.http_address(), None);
    let deposit = crate::account::Deposit { account: "a".to_owned(), amount: 1 };
    assert_eq!(node.client().of::<Account>().ask(deposit).await, Ok(1));
    node.stop().await;
}

/// Signals reach a whole process, so these tests start their own binary again, as a service.
#[cfg(unix)]
mod signals {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::{Child, ChildStderr, Command, Stdio};

    use super::{Gate, config};
    use crate::account::Account;
    use crate::call::request;
    use phoenix_runtime::node::{Node, NodeError};

    const SERVICE: &str = "PHOENIX_TEST_SERVICE";

    /// The service, where this process was started as one; otherwise nothing.
    #[test]
    fn service() {
        if std::env::var_os(SERVICE).is_none() {
            return;
        }
        let mut config = config();
        config.store = "memory".parse().expect("known");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let gate = Gate::closed();
        let ended = runtime.block_on(Node::builder().aggregate::<Account>().resource(gate).config(config).run());
        std::process::exit(match ended {
            Ok(()) => 0,
            Err(NodeError::Interrupted) => 130,
            Err(_) => 1,
        });
    }

    struct Service {
        child: Child,
        log: BufReader<ChildStderr>,
        said: String,
    }

    impl Service {
        fn start() -> Self {
            let program = std::env::current_exe().expect("this program");
            let mut child = Command::new(program)
                .args(["--exact", "life::signals::service", "--nocapture"])
                .env(SERVICE, "1")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts");
            let log = BufReader::new(child.stderr.take().expect("piped"));
            let mut service = Self { child, log, said: String::new() };
            service.until("started");
            service
        }

        /// Reads its log up to a line with this word.
        fn until(&mut self, word: &str) -> String {
            let mut line = String::new();
            while !line.contains(word) {
                line.clear();
                let read = self.log.read_line(&mut line).expect("UTF-8");
                assert!(read > 0, "`{word}` was not said, but: {}", self.said);
                self.said.push_str(&line);
            }
            line
        }

        fn signal(&self, name: &str) {
            let id = self.child.id().to_string();
            assert!(Command::new("kill").args(["-s", name, &id]).status().expect("kill").success());
        }

        fn end(mut self) -> (Option<i32>, String) {
            self.log.read_to_string(&mut self.said).expect("UTF-8");
            (self.child.wait().expect("ends").code(), self.said)
        }

        fn address(&self) -> std::net::SocketAddr {
            let at = self.said.split("http://").nth(1).expect("an address");
            let end = at.find(|c: char| !c.is_ascii_digit() && !".:".contains(c)).unwrap_or(at.len());
            at[..end].parse().expect("an address")
        }
    }

    #[test]
    fn a_signal_drains_and_stops() {
        for name in ["TERM", "INT"] {
            let service = Service::start();
            assert!(service.said.contains("shards="), "{}", service.said);
            service.signal(name);
            let (code, said) = service.end();
            assert_eq!(code, Some(0), "{said}");
            assert!(said.contains("NOT DURABLE") && said.contains("draining") && said.contains("stopped"), "{said}");
        }
    }

    // the log is read without giving way, so the request needs a thread of its own
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_second_signal_stops_at_once() {
        let mut service = Service::start();
        let address = service.address();
        let linger = r#"{"account":"a"}"#;
        let open = tokio::spawn(async move { request(address, "POST", "/commands/account/linger", &[], linger).await });
        service.until("lingering");
        service.signal("TERM");
        service.until("draining");
        service.signal("TERM");
        let (code, said) = service.end();
        assert_eq!(code, Some(130), "{said}");
        open.abort();
    }
}
