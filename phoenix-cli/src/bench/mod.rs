//! `phoenix-cli bench`: measures the whole path, beside what the store can do alone.
//!
//! # Layout
//! - [`workload`]: the aggregate and its messages
//! - [`load`]: callers; [`latency`]: what they saw
//! - [`whole`]: client, engine and store; [`bare`]: the same rows into the same table without them
//! - [`cold`]: activation and replay; [`idle`]: memory of idle aggregates; [`macros`]: what a build costs
//! - [`suite`]: what is run in which order; [`report`]: the table

mod bare;
mod cold;
mod idle;
mod latency;
mod load;
mod macros;
mod report;
mod suite;
mod whole;
mod workload;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use phoenix_runtime::engine::StartError;
use phoenix_runtime::event_store::sqlite::OpenError;
use phoenix_runtime::telemetry::Metrics;

use load::Callers;
use report::Report;
use suite::Plan;

/// Measures Phoenix on this machine, beside what the store can do alone.
///
/// Reports with the durability setting: throughput and latency of the whole path (typed client, engine, store, reply)
/// on SQLite and in memory, bare inserts of the same rows into the same table, activation, replay, and the memory
/// of idle aggregates. Build it with `--release`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this store: memory, or sqlite:FOLDER for files in that folder [default: both, files in ./target]
    #[arg(long, value_name = "STORE")]
    store: Option<Store>,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many callers [default: 64 x 64, 64 x 1 and 1 x 1 in turn]
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// How many commands each caller has on its way at once [default: 1, if `--clients` is given]
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// How often everything is measured; the table has medians
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Measures what the macros cost in a build of the bank template, and nothing else
    #[arg(long)]
    macros: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Used by itself, in a process of its own
    #[arg(long, hide = true)]
    probe_memory: bool,
}

/// Which store is measured.
#[derive(Debug, Clone)]
enum Store {
    Memory,
    Sqlite(PathBuf),
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", folder)) if !folder.is_empty() => Ok(Self::Sqlite(folder.into())),
            _ => Err("say `memory`, or `sqlite:` and a folder".to_owned()),
        }
    }
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum BenchError {
    /// A store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An engine does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A bare insert failed.
    #[error("a bare insert failed: {0}")]
    Bare(#[from] rusqlite::Error),
    /// A command failed.
    #[error("a command failed: {0}")]
    Command(String),
    /// A caller panicked.
    #[error("a caller ended early: {0}")]
    Task(String),
    /// The folder for files can't be made.
    #[error("failed to make `{}`", folder.display())]
    Folder {
        /// Which one.
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Memory can't be measured.
    #[error("failed to measure memory: {0}")]
    Probe(String),
    /// The template can't be built.
    #[error("failed to build the bank template: {0}")]
    Build(String),
    /// There is nothing to measure.
    #[error("nothing to measure: `--seconds`, `--clients`, `--in-flight` and `--runs` must be above 0")]
    Nothing,
}

/// Measures.
pub(crate) async fn run(options: Options) -> miette::Result<()> {
    // recorded as in a service
    let metrics = Metrics::install();
    if options.probe_memory {
        println!("{}", serde_json::json!(idle::probe().await?));
        return Ok(());
    }
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build: its figures say nothing; use `cargo run --release`");
    }
    let progress = ProgressBar::new_spinner();
    progress.set_style(
        ProgressStyle::default_spinner()
            .template("{spinner} [{elapsed}] {prefix}: {msg}")
            .unwrap_or(ProgressStyle::default_spinner()),
    );
    progress.enable_steady_tick(Duration::from_millis(200));
    let folder = folder(&options);
    let plan = plan(&options, folder.clone())?;
    std::fs::create_dir_all(&folder).map_err(|source| BenchError::Folder { folder: folder.clone(), source })?;
    let folding = tokio::spawn(async move {
        loop {
            tokio::time::sleep(phoenix_runtime::telemetry::metrics::UPKEEP).await;
            metrics.run_upkeep();
        }
    });
    let report = if options.macros {
        progress.set_prefix("macros");
        let (at, runs) = (folder.clone(), options.runs);
        let rows = tokio::task::spawn_blocking(move || macros::measure(&at, runs)).await;
        let rows = rows.map_err(|e| BenchError::Task(e.to_string()))??;
        Report { runs: options.runs, rows, ..Report::default() }
    } else {
        suite::measure(&plan, &progress).await?
    };
    folding.abort();
    progress.finish_and_clear();
    // the folder is ours; what others put there meanwhile stays
    let _ = std::fs::remove_dir(&folder);
    if options.json {
        println!("{:#}", serde_json::json!(report));
    } else {
        println!("{report}");
    }
    Ok(())
}

fn folder(options: &Options) -> PathBuf {
    let within = match &options.store {
        Some(Store::Sqlite(folder)) => folder.clone(),
        _ => PathBuf::from("target"),
    };
    within.join(format!("phoenix-bench-{}", std::process::id()))
}

fn plan(options: &Options, folder: PathBuf) -> Result<Plan, BenchError> {
    let callers = match (options.clients, options.in_flight) {
        (None, None) => [(64, 64), (64, 1), (1, 1)].map(|(clients, in_flight)| Callers { clients, in_flight }).to_vec(),
        (clients, in_flight) => {
            vec![Callers { clients: clients.unwrap_or(1), in_flight: in_flight.unwrap_or(1) }]
        }
    };
    let none = callers.iter().any(|callers| callers.clients == 0 || callers.in_flight == 0);
    let duration = Duration::try_from_secs_f64(options.seconds).unwrap_or_default();
    if none || duration.is_zero() || options.runs == 0 {
        return Err(BenchError::Nothing);
    }
    let rest = options.clients.is_none() && options.in_flight.is_none();
    let sqlite = !matches!(options.store, Some(Store::Memory));
    let memory = !matches!(options.store, Some(Store::Sqlite(_)));
    Ok(Plan { folder, sqlite, memory, callers, duration, runs: options.runs, rest })
}
