//! Calls of `tests/servers`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::kind::Kind;
use crate::server::Error;

fn call(arguments: &[&str], folder: Option<&Path>) -> Result<Output, Error> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../servers");
    let mut command = Command::new(script);
    command.args(arguments).stdin(Stdio::null());
    // `start DIR kind`; for all others the folder comes last
    if let Some(folder) = folder {
        command.arg(folder);
    }
    command.output().map_err(|error| Error::Failed(format!("{script}: {error}")))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// Why a server of this kind can't be started here, if so.
pub(crate) fn missing(kind: Kind) -> Result<Option<String>, Error> {
    let output = call(&["has", kind.word()], None)?;
    Ok((!output.status.success()).then(|| said(&output).trim_start_matches("tests/servers: ").to_owned()))
}

/// Starts a server in a new folder, which the script removes when this process has ended, and gives the lines of its
/// environment file.
pub(crate) fn start(kind: Kind) -> Result<(BTreeMap<String, String>, PathBuf), Error> {
    if let Some(reason) = missing(kind)? {
        return Err(Error::Missing(reason));
    }
    let new = tempfile::Builder::new().prefix("phoenix-servers-").tempdir();
    let new = new.map_err(|error| Error::Failed(format!("a folder for servers: {error}")))?.keep();
    // the process that started a server is its owner, and that is this one: no shell in between
    let folder = new.to_str().ok_or_else(|| Error::Failed(format!("{} is not UTF-8", new.display())))?;
    let output = call(&["start", folder, kind.word()], None)?;
    if !output.status.success() {
        return Err(Error::Failed(said(&output)));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let lines = lines.lines().filter_map(|line| line.split_once('='));
    Ok((lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), new))
}

/// `kill-`, `start-` of one server.
pub(crate) fn of_one(what: &str, kind: Kind, folder: &Path) -> Result<(), Error> {
    done(&call(&[&format!("{what}-{}", kind.word())], Some(folder))?)
}

fn done(output: &Output) -> Result<(), Error> {
    if output.status.success() { Ok(()) } else { Err(Error::Failed(said(output))) }
}
