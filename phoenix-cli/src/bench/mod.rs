//! `phoenix-cli bench`: measures the whole path, beside what the store can do alone.
//!
//! # Layout
//! - [`workload`]: the aggregate and its messages; [`prefill`]: events that are there beforehand
//! - [`whole`]: client, engine and store; [`subject`]: which store, and the same rows without client and engine
//! - [`bus`]: the whole path over a bus, beside a loop of the same client library (feature `kafka`)
//! - [`cold`]: activation and replay; [`idle`]: memory of idle aggregates; [`mod@macros`]: what a build costs
//! - [`suite`]: what is run in which order; [`mod@run`]: one run; [`goals`]: what is to be reached
//! - [`error`]: why there are no figures
//!
//! Callers, latencies and tables are those of [`phoenix_bench`], which peers are measured with as well.

#[cfg(feature = "kafka")]
mod bus;
#[cfg(not(feature = "kafka"))]
#[path = "no_bus.rs"]
mod bus;
mod cold;
mod error;
mod goals;
mod idle;
mod macros;
mod prefill;
mod run;
mod subject;
mod suite;
mod whole;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use phoenix_bench::{Callers, Markdown, Report};
use phoenix_runtime::node::config::BusUrl;
use phoenix_runtime::telemetry::Metrics;
use tokio::signal::unix::{SignalKind, signal};

use bus::Broker;
use error::BenchError;
use subject::{Named, Place, Subject};
use suite::Plan;

/// Measures Phoenix on this machine, beside what the store can do alone.
///
/// Reports with the durability setting: throughput and latency of the whole path (typed client, engine, store, reply),
/// bare inserts of the same rows into the same table, activation, replay, and the memory of idle aggregates. On a server
/// it makes databases of its own, and removes them in the end. Build it with `--release`.
///
/// With `--bus` it measures the path over a bus instead: commands of a topic, durable in the store, replies on a topic.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Options {
    /// Only this store, several times for several: memory, none, sqlite:FOLDER and log:FOLDER for files in that folder,
    /// `postgres://USER@HOST/DATABASE`, `mysql://USER@HOST/DATABASE` [default: memory, and SQLite with files in ./target]
    #[arg(long, value_name = "STORE")]
    store: Vec<Named>,
    /// Over the brokers of `rdkafka://HOST:PORT,...` or `kafka://HOST:PORT,...` (up to Kafka 3.9, by kafka-rust), on topics
    /// that are removed in the end. Needs a build with `--features kafka` [default store: SQLite with files in ./target]
    #[arg(long, value_name = "BUS")]
    bus: Option<BusUrl>,
    /// How many partitions the topic of commands has, several times for several [default: 1 and 16]
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "N", requires = "bus", value_parser = clap::value_parser!(u16).range(1..=1024))]
    partitions: Vec<u16>,
    /// How many commands wait on the topic of commands before they are drained
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "N", requires = "bus", default_value_t = 200_000)]
    backlog: usize,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many callers [default: 64 x 64, 64 x 1, 8 x 1 and 1 x 1 in turn]
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// How many commands each caller has on its way at once [default: 1, if `--clients` is given]
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// How often everything is measured; the table has medians
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Measures a second time on a store that has so many events already
    #[arg(long, value_name = "EVENTS", default_value_t = 0)]
    prefill: u64,
    /// Measures bare inserts without each index as well, where the store has a table
    #[arg(long)]
    indexes: bool,
    /// Leaves out activation, replay and the memory of idle aggregates
    #[arg(long)]
    no_cold: bool,
    /// Measures what the macros cost in a build of the bank template, and nothing else
    #[arg(long)]
    macros: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Tables in markdown, the bars first
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Used by itself, in a process of its own
    #[arg(long, hide = true)]
    probe_memory: bool,
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
    let folding = tokio::spawn(async move {
        loop {
            tokio::time::sleep(phoenix_runtime::telemetry::metrics::UPKEEP).await;
            metrics.run_upkeep();
        }
    });
    let measured = if options.macros { macros(&options, &progress).await } else { stores(&options, &progress).await };
    folding.abort();
    progress.finish_and_clear();
    let report = measured?;
    if options.json {
        println!("{:#}", serde_json::json!(report));
    } else if options.markdown {
        println!("{}", Markdown(&report));
    } else {
        println!("{report}");
    }
    Ok(())
}

/// A name for what is made, and for nothing else.
fn name() -> String {
    format!("phoenix-bench-{}", std::process::id())
}

fn make(folder: PathBuf) -> Result<PathBuf, BenchError> {
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Ok(folder),
        Err(source) => Err(BenchError::Folder { folder, source }),
    }
}

async fn macros(options: &Options, progress: &ProgressBar) -> Result<Report, BenchError> {
    progress.set_prefix("macros");
    let folder = make(PathBuf::from("target").join(name()))?;
    let (at, runs) = (folder.clone(), options.runs);
    let rows = tokio::task::spawn_blocking(move || macros::measure(&at, runs)).await?;
    // the folder is ours; what others put there meanwhile stays
    let _ = std::fs::remove_dir(&folder);
    Ok(Report { runs, rows: rows?, ..Report::default() })
}

async fn stores(options: &Options, progress: &ProgressBar) -> Result<Report, BenchError> {
    let plan = plan(options)?;
    let stores = match &*options.store {
        [] if options.bus.is_some() => vec![Named::durable()],
        [] => Named::defaults(),
        named => named.to_vec(),
    };
    let name = name();
    let broker = options.bus.as_ref().map(|url| Broker::new(url, &name)).transpose()?;
    let mut folders = Vec::new();
    let mut subjects = Vec::new();
    for store in &stores {
        folders.extend(store.folder(&name).map(make).transpose()?);
        subjects.push(store.subject(&name)?);
    }
    for subject in &mut subjects {
        progress.set_message(format!("waiting for {}", subject.kind().name()));
        subject.prepare().await?;
    }
    let measured = tokio::select! {
        measured = async { match &broker {
            None => suite::measure(&plan, &subjects, progress).await,
            Some(broker) => bus::measure(options, &plan, broker, &subjects, progress).await,
        }} => measured,
        () = interrupted() => Err(BenchError::Interrupted),
    };
    progress.set_message("cleaning up");
    let mut removed = remove(&subjects).await;
    if let Some(broker) = &broker {
        removed = removed.and(broker.remove().await);
    }
    for folder in folders {
        // the folder is ours; what others put there meanwhile stays
        let _ = std::fs::remove_dir(&folder);
    }
    let report = measured?;
    removed.map(|()| report)
}

/// Ends when somebody wants this process to end.
async fn interrupted() {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [Ok(interrupt), Ok(terminate)] = &mut signals else {
        // then a signal ends the process as it always does
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Removes what is left of every store, and tells the first that can't be removed.
async fn remove(subjects: &[Box<dyn Subject>]) -> Result<(), BenchError> {
    let mut first = Ok(());
    for subject in subjects {
        for place in Place::ALL {
            let removed = subject.remove(place).await;
            first = first.and(removed);
        }
    }
    first
}

fn plan(options: &Options) -> Result<Plan, BenchError> {
    let callers = match (options.clients, options.in_flight) {
        (None, None) => vec![Callers::FULL, Callers::WIDE, Callers::FEW, Callers::ONE],
        (clients, in_flight) => {
            vec![Callers { clients: clients.unwrap_or(1), in_flight: in_flight.unwrap_or(1) }]
        }
    };
    let none = callers.iter().any(|callers| callers.clients == 0 || callers.in_flight == 0);
    let duration = Duration::try_from_secs_f64(options.seconds).unwrap_or_default();
    if none || duration.is_zero() || options.runs == 0 {
        return Err(BenchError::Nothing);
    }
    let rest = options.clients.is_none() && options.in_flight.is_none() && !options.no_cold;
    let Options { runs, prefill, indexes, .. } = *options;
    Ok(Plan { callers, duration, runs, rest, prefill, indexes })
}
