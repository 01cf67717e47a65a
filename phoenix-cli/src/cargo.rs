//! Cargo, from a program that cargo itself may have started.

use std::ffi::OsStr;
use std::process::Command;

/// What cargo tells a program of that program's own package. Build scripts watch some of it: a cargo that inherits it
/// takes them for changed, and compiles again all that rests on them.
const OF_OURS: [&str; 8] = [
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// A cargo that knows nothing of the package of this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_ours(name)) {
        command.env_remove(name);
    }
    command
}

fn is_of_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    OF_OURS.contains(&name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_BIN_EXE_")
}
