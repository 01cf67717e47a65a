//! Builds a new service, starts it, and stays with it until it ends.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use miette::IntoDiagnostic;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::name::Name;
use crate::cargo::cargo;
use crate::checkout::Checkout;

/// How long a new service, whose store is empty, may take until it is ready.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// Why there is no running service.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum LaunchError {
    /// Another program listens.
    #[error("port {port} is taken")]
    #[diagnostic(help("another program listens there: stop it, or give the service another port with `--port`"))]
    PortTaken {
        /// Where.
        port: u16,
    },
    /// There is no cargo.
    #[error("failed to start `{}`", cargo.display())]
    #[diagnostic(help("the service is built by cargo: install it from https://rustup.rs, or put it into the PATH"))]
    NoCargo {
        /// What was tried.
        cargo: PathBuf,
        /// What came of it.
        source: std::io::Error,
    },
    /// The compiler said no.
    #[error("the service in `{}` does not build", folder.display())]
    #[diagnostic(help("cargo says above why; mend it there and run `cargo run`"))]
    Build {
        /// Where it is.
        folder: PathBuf,
    },
    /// The service ended by itself.
    #[error("the service ended with {status}")]
    #[diagnostic(
        help("it says above why; its settings are in `{}`", folder.join("phoenix.toml").display())
    )]
    Ended {
        /// How.
        status: ExitStatus,
        /// Where it is.
        folder: PathBuf,
    },
    /// The service runs, but does not become ready.
    #[error("the service is not ready after {} seconds", PATIENCE.as_secs())]
    #[diagnostic(
        help("it says above what it waits for; start it with `cargo run` in `{}` to see more", folder.display())
    )]
    NotReady {
        /// Where it is.
        folder: PathBuf,
    },
}

/// Says early, before anything is created, that the service could not be reached.
pub(crate) fn port_is_free(port: u16) -> Result<(), LaunchError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(LaunchError::PortTaken { port }),
        // whatever else is wrong, the service says it better
        _ => Ok(()),
    }
}

/// Builds the service, starts it, says what to try, and waits for its end.
pub(crate) async fn run(checkout: &Checkout, name: &Name, folder: &Path, port: u16) -> miette::Result<()> {
    println!(
        "Building it; of what the checkout has compiled only phoenix-macros and phoenix-runtime are compiled again"
    );
    let binary = build(checkout, name, folder)?;
    let mut service = Service::start(&binary, folder).into_diagnostic()?;
    let mut interrupt = signal(SignalKind::interrupt()).into_diagnostic()?;
    let mut terminate = signal(SignalKind::terminate()).into_diagnostic()?;
    // the terminal is closed: the service must not stay behind
    let mut hang_up = signal(SignalKind::hangup()).into_diagnostic()?;

    let mut ready = false;
    loop {
        tokio::select! {
            status = &mut service.ended => {
                let status = status.into_diagnostic()?.into_diagnostic()?;
                return if status.success() {
                    Ok(())
                } else {
                    Err(LaunchError::Ended { status, folder: folder.to_owned() }.into())
                };
            }
            _ = interrupt.recv() => service.stop(),
            _ = terminate.recv() => service.stop(),
            _ = hang_up.recv() => service.stop(),
            came = until_ready(port), if !ready => {
                if !came {
                    service.stop();
                    return Err(LaunchError::NotReady { folder: folder.to_owned() }.into());
                }
                ready = true;
                println!("\n`{name}` runs on port {port}. Paste these lines into another terminal:\n");
                for line in lines_to_try(&folder.join("README.md")).into_diagnostic()? {
                    println!("{line}");
                }
                println!("\nCtrl-C stops it; nothing that it answered is lost. Again without a build: cd {} && {}\n", folder.display(), binary.display());
            }
        }
    }
}

/// Builds the service like this binary was built, in the same target folder, and says where its binary is.
fn build(checkout: &Checkout, name: &Name, folder: &Path) -> miette::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--message-format", "json-render-diagnostics"]).current_dir(folder);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.env("CARGO_TARGET_DIR", std::path::absolute(checkout.target()).into_diagnostic()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| LaunchError::NoCargo { cargo: command.get_program().into(), source })?;
    let mut binary = None;
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        binary = executable(&line.into_diagnostic()?, name).or(binary);
    }
    let built = child.wait().into_diagnostic()?.success();
    binary.filter(|_| built).ok_or_else(|| LaunchError::Build { folder: folder.to_owned() }.into())
}

/// The path of the service's binary, if this line of cargo's tells it.
fn executable(line: &str, name: &Name) -> Option<PathBuf> {
    let message = serde_json::from_str::<serde_json::Value>(line).ok()?;
    (message["target"]["name"] == name.as_str()).then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// The running service.
struct Service {
    pid: Option<Pid>,
    ended: JoinHandle<std::io::Result<ExitStatus>>,
}

impl Service {
    fn start(binary: &Path, folder: &Path) -> std::io::Result<Self> {
        let mut child: Child = Command::new(binary)
            .current_dir(folder)
            .stdin(Stdio::null())
            // in a group of its own: Ctrl-C comes from us, once
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self { pid, ended: tokio::task::spawn_blocking(move || child.wait()) })
    }

    /// Asks the service to stop: it finishes what it has accepted.
    fn stop(&self) {
        if let Some(pid) = self.pid.filter(|_| !self.ended.is_finished()) {
            // it may have ended in this moment
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// Asks the service whether it is ready until it is, or until patience ends.
async fn until_ready(port: u16) -> bool {
    let spinner = ProgressBar::new_spinner().with_message("waiting until the service is ready");
    spinner.set_style(ProgressStyle::default_spinner());
    spinner.enable_steady_tick(Duration::from_millis(100));
    let since = Instant::now();
    let mut ready = false;
    while !ready && since.elapsed() < PATIENCE {
        tokio::time::sleep(PAUSE).await;
        ready = tokio::time::timeout(Duration::from_secs(1), is_ready(port))
            .await
            .is_ok_and(|answer| answer.is_ok_and(|ready| ready));
    }
    spinner.finish_and_clear();
    ready
}

async fn is_ready(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut status = [0; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut status).await?;
    Ok(status.ends_with(b" 200"))
}

/// The shell lines below the heading `Try it`: what the README says is what is shown, so that both are true.
fn lines_to_try(readme: &Path) -> std::io::Result<Vec<String>> {
    let text = std::fs::read_to_string(readme)?;
    let lines = text.lines().skip_while(|line| *line != "## Try it").skip_while(|line| *line != "```sh").skip(1);
    Ok(lines.take_while(|line| *line != "```").filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
