//! Other frameworks under Phoenix's workload, by the same callers, on the same server.
//!
//! # Layout
//! - [`cqrs`]: cqrs-es with postgres-es

#![forbid(unsafe_code)]

mod cqrs;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use phoenix_bench::report::medians;
use phoenix_bench::{Bar, Callers, Goal, Markdown, Report, Row, load};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use cqrs::Cqrs;

/// Callers side by side: many with many commands, many with one, a few with one.
const MATRIX: [Callers; 3] = [Callers::FULL, Callers::WIDE, Callers::FEW];

/// How much faster Phoenix is to be with many callers.
const WANTED: f64 = 20.0;

/// Measures cqrs-es with postgres-es under the workload of `phoenix-cli bench`.
#[derive(Debug, Parser)]
struct Options {
    /// The server, as postgres://USER@HOST/DATABASE; a database of its own is made there, and removed in the end
    #[arg(long, value_name = "URL")]
    postgres: PgConnectOptions,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often everything is measured; the table has medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Connections of the pool; 10 is what postgres-es makes
    #[arg(long, default_value_t = 10)]
    connections: u32,
    /// What `phoenix-cli bench --json` found on the same server: for the ratios
    #[arg(long, value_name = "FILE")]
    phoenix: Option<PathBuf>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Tables in markdown, the bars first
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build: its figures say nothing; use `cargo run --release`");
    }
    let database = format!("phoenix_peers_{}", std::process::id());
    let measured = tokio::select! {
        measured = measure(&options, &database) => measured,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    administer(&options.postgres, format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
    let mut report = measured?;
    if let Some(file) = &options.phoenix {
        let phoenix: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        compare(&mut report, &phoenix)?;
    }
    if options.json {
        println!("{:#}", serde_json::json!(report));
    } else if options.markdown {
        println!("{}", Markdown(&report));
    } else {
        println!("{report}");
    }
    Ok(())
}

async fn measure(options: &Options, database: &str) -> Result<Report, Box<dyn Error>> {
    let duration = Duration::try_from_secs_f64(options.seconds)?;
    let durability = durability(&options.postgres).await?;
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        let mut rows = Vec::new();
        for callers in MATRIX {
            let seen = {
                let (peer, pool) = fresh(options, database).await?;
                let seen = load::closed(&peer, callers, false, duration).await?;
                pool.close().await;
                seen
            };
            let half = seen.per_second / 2.0;
            rows.push(Row::seen(format!("cqrs-es, {callers}"), &durability, seen));
            let (peer, pool) = fresh(options, database).await?;
            let seen = load::open(&peer, half, duration).await?;
            pool.close().await;
            rows.push(Row::seen("  open loop at half of it".to_owned(), &durability, seen));
        }
        runs.push(rows);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Report { cores, runs: options.runs, seconds: options.seconds, rows: medians(&runs), bars: Vec::new() })
}

/// A new database, with one event of each aggregate.
async fn fresh(options: &Options, database: &str) -> Result<(Cqrs, PgPool), Box<dyn Error>> {
    administer(&options.postgres, format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
    administer(&options.postgres, format!("CREATE DATABASE {database}")).await?;
    let pool = PgPoolOptions::new().max_connections(options.connections);
    let pool = pool.connect_with(options.postgres.clone().database(database)).await?;
    sqlx::query(cqrs::TABLE).execute(&pool).await?;
    let peer = Cqrs::over(pool.clone());
    load::warm_up(&peer, 64).await?;
    Ok((peer, pool))
}

async fn administer(server: &PgConnectOptions, statement: String) -> Result<(), sqlx::Error> {
    let mut connection = server.connect().await?;
    sqlx::query(&statement).execute(&mut connection).await?;
    connection.close().await
}

async fn durability(server: &PgConnectOptions) -> Result<String, sqlx::Error> {
    let mut connection = server.connect().await?;
    let settings = sqlx::query_scalar(
        "SELECT format('PostgreSQL %s, fsync=%s, synchronous_commit=%s, full_page_writes=%s', \
         split_part(current_setting('server_version'), ' ', 1), current_setting('fsync'), \
         current_setting('synchronous_commit'), current_setting('full_page_writes'))",
    );
    settings.fetch_one(&mut connection).await
}

/// Phoenix's rates on the same server, as multiples.
fn compare(report: &mut Report, phoenix: &serde_json::Value) -> Result<(), Box<dyn Error>> {
    for callers in MATRIX {
        let name = format!("whole path, {callers}");
        let rows = phoenix["rows"].as_array().ok_or("`rows` is missing in the file of Phoenix's figures")?;
        let row = rows.iter().find(|row| {
            row["what"] == name.as_str() && row["durability"].as_str().is_some_and(|d| d.starts_with("PostgreSQL"))
        });
        let rate = row.and_then(|row| row["per_second"].as_f64());
        let rate = rate.ok_or_else(|| format!("`{name}` on PostgreSQL is missing among Phoenix's figures"))?;
        let peer = report.rows.iter().find(|row| row.what == format!("cqrs-es, {callers}"));
        let peer = peer.and_then(|row| row.per_second).ok_or("the peer was not measured")?;
        let goal = if callers == Callers::FULL { Goal::AtLeast(WANTED) } else { Goal::Shown };
        report.bars.push(Bar::new(format!("Phoenix {callers}, x cqrs-es"), rate / peer, goal));
    }
    Ok(())
}
