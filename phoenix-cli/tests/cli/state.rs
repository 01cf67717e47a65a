//! `phoenix-cli state`: the service is asked, and what it answers is passed on.

use std::path::Path;

use super::{phoenix_cli, refused};

#[test]
fn the_service_is_asked() {
    let here = Path::new(".");
    let asked = |arguments: &[&str]| phoenix_cli(here, &[&["state", "--bin", "echo"], arguments].concat()).out;
    assert_eq!(asked(&["bank-account", "alice"]), "state bank-account alice\n");
    assert_eq!(asked(&["bank-account", "alice", "--version", "3"]), "state bank-account alice --version 3\n");
    let time = "2026-01-31T12:00:00Z";
    assert_eq!(asked(&["bank-account", "alice", "--at", time]), format!("state bank-account alice --at {time}\n"));
    assert_eq!(phoenix_cli(here, &["state", "--bin", "false", "bank-account", "alice"]).code, Some(1));
}

#[test]
fn without_a_service_it_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    refused(folder.path(), &["state", "a", "b"], 1, &["no service in this folder", "--bin PATH"]);
    refused(folder.path(), &["state", "a", "b", "--bin", "./none"], 1, &["failed to start `./none`"]);
    refused(folder.path(), &["state", "a", "b", "--version", "1", "--at", "x"], 2, &["cannot be used with"]);
}
