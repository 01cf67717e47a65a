//! `phoenix-cli new`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{phoenix_cli, refused};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below a folder, with its text.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).map(|name| name.display().to_string());
                found.insert(name.unwrap_or_default(), fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    found
}

#[test]
fn a_template_becomes_a_service() {
    let parent = tempfile::tempdir().expect("a folder");
    for (template, tests) in [("hello", "tests/greeter.rs"), ("bank", "tests/account.rs")] {
        let name = format!("my-{template}");
        let ran = phoenix_cli(parent.path(), &["new", &name, "--template", template, "--port", "8123"]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
        let files = files(&parent.path().join(&name));
        let common =
            ["Cargo.toml", "Cargo.lock", "Dockerfile", ".dockerignore", ".gitignore", "README.md", "phoenix.toml"];
        for expected in common.into_iter().chain(["src/lib.rs", "src/main.rs", tests]) {
            assert!(files.get(expected).is_some_and(|text| text.ends_with('\n')), "{template}: {expected}");
        }
        for (path, text) in &files {
            assert!(!path.contains(".j2") && !text.contains("{{") && !text.contains("{%"), "{template}: {path}");
        }
        let manifest: toml::Table = files["Cargo.toml"].parse().expect("a manifest");
        assert_eq!(manifest["package"]["name"].as_str(), Some(name.as_str()));
        assert_eq!(manifest["package"]["edition"].as_str(), Some("2024"));
        assert_eq!(manifest["profile"]["release"]["overflow-checks"].as_bool(), Some(true));
        assert!(manifest.contains_key("workspace"));
        let runtime = manifest["dependencies"]["phoenix-runtime"]["path"].as_str().expect("a path");
        assert!(Path::new(runtime).join("Cargo.toml").is_file(), "{runtime}");
        let to_try = files["README.md"].split("## Try it").nth(1).and_then(|rest| rest.split("```").nth(1));
        let lines: Vec<_> = to_try.unwrap_or_default().lines().skip(1).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("curl ") && line.contains("localhost:8123")), "{lines:?}");
    }
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_left_behind() {
    let parent = tempfile::tempdir().expect("a folder");
    let here = parent.path();
    fs::create_dir(here.join("taken")).expect("a folder");
    fs::write(here.join("file"), "").expect("a file");
    let check = |arguments: &[&str], messages: &[&str]| {
        refused(here, &[&["new"], arguments].concat(), 1, messages);
        assert_eq!(fs::read_dir(here).expect("the folder").count(), 2, "{arguments:?}");
    };
    check(
        &["9 lives"],
        &[
            "error: a service can't be called `9 lives`\n    9 lives\n    ^ a name starts with a letter\n  help: `lives` would do\n",
        ],
    );
    check(&["my bänk"], &["    my bänk\n      ^ a name has letters from a to z"]);
    check(&["struct"], &["a service can't be called `struct`", "a keyword of Rust", "`struct-service` would do"]);
    check(&["taken"], &["taken` exists already", "nothing is ever overwritten"]);
    check(&["file"], &["file` exists already"]);
    check(&["x", "--template", "bnak"], &["no template `bnak`", "did you mean `bank`? The templates are: bank, hello"]);
    check(&["x", "--template", "../x"], &["no template `../x`", "the templates are: bank, hello"]);
    check(&["x", "--path", "nowhere"], &["no folder `nowhere`", "mkdir -p nowhere"]);
    check(&["x", "--path", "file"], &["no folder `file`"]);
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let number = port.local_addr().expect("an address").port().to_string();
    check(&["x", "--run", "--port", &number], &[&format!("port {number} is taken"), "`--port`"]);
}

#[test]
fn what_the_readme_shows_is_the_template() {
    let readme = fs::read_to_string(checkout().join("README.md")).expect("the README");
    let template = files(&checkout().join("templates/hello"));
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        assert!(template.values().any(|text| text.contains(block)), "not in templates/hello:\n{block}");
    }
}
