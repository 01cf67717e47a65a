//! The floors of the runtime: a module imports only from floors below its own.

#![allow(clippy::unwrap_used, reason = "a test that can't go on stops at the line that says so")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first.
const FLOORS: [&str; 12] = [
    "domain",
    "clock",
    "files",
    "event_store",
    "bus",
    "engine",
    "client",
    "delivery",
    "telemetry",
    "http",
    "node",
    "testkit",
];

/// What the domain must not know: nothing in it does I/O or needs an executor.
const NOT_IN_DOMAIN: [&str; 8] =
    ["tokio", "sea_orm", "rusqlite", "axum", "futures_util", "std::fs", "std::net", "std::thread"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The floors that a source file names by `crate::`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or(""))
}

#[test]
fn modules_import_only_from_floors_below() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (height, floor) in FLOORS.iter().enumerate() {
        let file = Some(src.join(floor).with_extension("rs")).filter(|file| file.is_file());
        let folder = Some(src.join(floor)).filter(|folder| folder.is_dir());
        let files: Vec<PathBuf> = file.into_iter().chain(folder.iter().flat_map(|folder| sources(folder))).collect();
        assert!(!files.is_empty(), "there is no {floor}");
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            for other in named(&text) {
                if FLOORS.iter().position(|f| *f == other).is_some_and(|other| other > height) {
                    wrong.push(format!("{} imports from {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_is_on_a_floor() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let known = FLOORS.contains(&name.as_str()) || ["lib", "prelude"].contains(&name.as_str());
        assert!(known, "{} is on no floor: add it to FLOORS and ARCHITECTURE.md", path.display());
    }
}

#[test]
fn the_domain_knows_neither_input_nor_output() {
    let domain = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    for path in sources(&domain) {
        let text = fs::read_to_string(&path).unwrap();
        for word in NOT_IN_DOMAIN {
            let used = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!used, "{} uses {word}", path.display());
        }
    }
}
