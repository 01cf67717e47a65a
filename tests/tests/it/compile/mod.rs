//! What compiles is right, and what does not says why.
//!
//! A case that must not compile is a file of `compile/fail`, named after the rule that it breaks, with what the
//! compiler says beside it. `TRYBUILD=overwrite cargo test -p phoenix-tests compile` writes that down anew: read it
//! then as somebody would who made the mistake. What is odd but legal is a module of `compile/pass`, part of this
//! program, so that it is also seen to work.

#[path = "../../../compile/pass/mod.rs"]
pub mod pass;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler whose words the `.stderr` files are.
const COMPILER: &str = "rustc 1.95.";

/// Where the cases stand, where it is not their own folder.
const ELSEWHERE: &str = "PHOENIX_COMPILE_CASES";

#[test]
fn mistakes_are_told() {
    let compiler = compiler();
    if let Some(folder) = std::env::var_os(ELSEWHERE) {
        check(Path::new(&folder));
    } else if compiler.starts_with(COMPILER) {
        check(Path::new("compile/fail"));
    } else {
        // not captured, as what is printed would be
        let _ = writeln!(
            io::stderr(),
            "\n*** This is {compiler}; the messages in compile/fail/*.stderr are those of {COMPILER}x.\n\
             *** It is only checked that each of the mistakes is one, not what is said about it.\n"
        );
        check_without_words();
    }
}

fn check(folder: &Path) {
    trybuild::TestCases::new().compile_fail(folder.join("*.rs"));
}

/// Runs this test again over a copy of the cases whose messages are written down instead of compared: only a case that
/// compiles fails.
fn check_without_words() {
    let copy = tempfile::tempdir().expect("a folder for the cases");
    for case in cases() {
        fs::copy(&case, copy.path().join(case.file_name().expect("a file"))).expect("the case can be copied");
    }
    let this = std::env::current_exe().expect("this program");
    let mut again = Command::new(this);
    again.args(["--exact", "compile::mistakes_are_told", "--nocapture"]);
    again.env("TRYBUILD", "overwrite").env(ELSEWHERE, copy.path());
    assert!(again.status().expect("this program runs").success(), "a mistake compiles");
}

#[test]
fn every_mistake_has_its_words() {
    let cases = cases();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    for case in cases {
        let words = case.with_extension("stderr");
        assert!(words.is_file(), "{} is missing: write it with TRYBUILD=overwrite", words.display());
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compile/fail");
    let entries = fs::read_dir(folder).expect("the folder of the cases");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("a compiler");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
