//! The program as its users call it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on stops at the line that says so")]

mod archive;
mod bench;
mod dead;
mod events;
mod new;
mod run;
mod state;

use std::path::Path;
use std::process::Command;

/// What a run of the program came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs it in a folder.
fn phoenix_cli(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix-cli"));
    let output = command.args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("phoenix-cli does not start: {error}"));
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// It is refused like this: what, why and what to do.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str], code: i32, messages: &[&str]) {
    let ran = phoenix_cli(folder, arguments);
    assert_eq!(ran.code, Some(code), "{ran:?}");
    for message in messages {
        assert!(ran.err.contains(message), "expected: {message}\nfound: {}", ran.err);
    }
}

#[test]
fn usage() {
    let here = Path::new(".");
    refused(here, &[], 2, &["Usage: phoenix-cli <COMMAND>", "new", "bench", "events", "state"]);
    refused(here, &["event"], 2, &["unrecognized subcommand 'event'", "'events'"]);
    refused(here, &["new"], 2, &["<NAME>"]);
    refused(here, &["new", "bank", "--tempalte", "bank"], 2, &["unexpected argument '--tempalte'", "'--template'"]);
    let help = phoenix_cli(here, &["--help"]);
    assert_eq!(help.code, Some(0), "{help:?}");
}
