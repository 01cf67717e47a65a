//! `phoenix-cli state`: the service is asked, and what it answers is passed on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

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
fn the_build_knows_nothing_of_who_asks_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("Cargo.toml"), "").expect("a file");
    let cargo = folder.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\nenv\n").expect("a file");
    std::fs::set_permissions(&cargo, Permissions::from_mode(0o755)).expect("a program");
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix-cli"));
    // what cargo says of this test stays, and this as well
    command
        .args(["state", "a", "b"])
        .env("CARGO", cargo)
        .env("CARGO_BIN_EXE_other", "x")
        .env("CARGO_TERM_COLOR", "never");
    let output = command.current_dir(folder.path()).output().expect("the program");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("CARGO_TERM_COLOR=never"), "{told}");
    for of_ours in ["CARGO_PKG_NAME=", "CARGO_MANIFEST_DIR=", "CARGO_BIN_EXE_other="] {
        assert!(!told.contains(of_ours), "{told}");
    }
}

#[test]
fn without_a_service_it_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    refused(folder.path(), &["state", "a", "b"], 1, &["no service in this folder", "--bin PATH"]);
    refused(folder.path(), &["state", "a", "b", "--bin", "./none"], 1, &["failed to start `./none`"]);
    refused(folder.path(), &["state", "a", "b", "--version", "1", "--at", "x"], 2, &["cannot be used with"]);
}
