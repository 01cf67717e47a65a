//! `phoenix-cli new --run`: the README's first command, from the template to lines that work when they are pasted.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The running program, which is stopped whatever becomes of the test.
struct Running(Child);

impl Running {
    fn terminate(&self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // it may have ended by itself
        let _ = kill_process(pid, Signal::TERM);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.terminate();
        let _ = self.0.wait();
    }
}

/// Pastes a line into a shell.
fn paste(line: &str) -> Value {
    let output = Command::new("sh").args(["-c", line]).stderr(Stdio::null()).output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    text.parse().unwrap_or_else(|error| panic!("{line}\nanswers: {text}\nwhich is no JSON: {error}"))
}

#[test]
fn the_bank_runs_and_the_lines_work() {
    let parent = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|port| port.local_addr()).expect("a port").port();
    let log = parent.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix-cli"));
    command.args(["new", "try-bank", "--template", "bank", "--run", "--port", &free.to_string()]);
    command.current_dir(parent.path()).stdout(Stdio::piped()).stderr(File::create(&log).expect("a file"));
    let mut running = Running(command.spawn().expect("the program"));

    let said = BufReader::new(running.0.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let said: Vec<String> = said.take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let lines: Vec<&String> = said.iter().filter(|line| line.starts_with("curl ")).collect();
    let [open, deposit, balance] = lines.as_slice() else {
        panic!("{said:#?}\n{}", fs::read_to_string(&log).unwrap_or_default());
    };
    assert_eq!(paste(open)["reply"], json!({ "balance": 0 }));
    assert_eq!(paste(deposit)["reply"], json!({ "balance": 2500 }));
    assert_eq!(paste(deposit)["aggregate"]["version"], 2, "a repeat changes nothing");
    assert_eq!(paste(balance)["reply"], json!({ "balance": 2500 }));

    running.terminate();
    let status = running.0.wait().expect("its end");
    assert!(status.success(), "{status}\n{}", fs::read_to_string(&log).unwrap_or_default());
}
