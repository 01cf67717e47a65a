//! `phoenix-cli state`: shows the state of one aggregate. Only its service knows the types, so the service is asked.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::cargo::cargo;

/// Shows the state of one aggregate as JSON.
///
/// Replays its events in the service of the current folder, which need not run; if it does, it is not disturbed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The aggregate's wire name, for example bank-account
    #[arg(value_name = "TYPE")]
    aggregate: String,
    /// Which one
    id: String,
    /// The state after this version [default: the last]
    #[arg(long, value_name = "N", conflicts_with = "at")]
    version: Option<u64>,
    /// The state at this time, for example 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The service's binary, where it is not to be built
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

/// Why no service was asked.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum StateError {
    #[error("there is no service in this folder")]
    #[diagnostic(help("only a service knows its types: go to its folder, or name its binary with `--bin PATH`"))]
    NoService,
    #[error("failed to start `{}`", program.display())]
    #[diagnostic(help("see that it is there and can be run"))]
    NotStarted {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Asks the service; its answer, its words and its exit code are ours.
pub(crate) fn run(options: Options) -> miette::Result<ExitCode> {
    let Options { aggregate, id, version, at, bin } = options;
    let mut command = if let Some(bin) = bin {
        Command::new(bin)
    } else if Path::new("Cargo.toml").exists() {
        eprintln!("asking the service; it is built first where it must be");
        let mut cargo = cargo();
        cargo.args(["run", "--quiet", "--"]);
        cargo
    } else {
        return Err(StateError::NoService.into());
    };
    command.args(["state", &aggregate, &id]);
    command.args(version.iter().flat_map(|version| ["--version".to_owned(), version.to_string()]));
    command.args(at.iter().flat_map(|at| ["--at", at]));
    let program = PathBuf::from(command.get_program());
    let status = command.status().map_err(|source| StateError::NotStarted { program, source })?;
    // a service that was killed has no code
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
