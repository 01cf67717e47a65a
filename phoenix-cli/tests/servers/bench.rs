//! `phoenix-cli bench` on servers: it shows their durability, and leaves nothing behind.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use phoenix_test_servers::{Kind, Server, trial};
use rustix::process::{Pid, Signal, kill_process};
use sea_orm::{ConnectionTrait as _, Database, Statement};

pub(crate) fn trials() -> Vec<Trial> {
    let of_kind = |kind| {
        [
            trial(kind, format!("{kind}: measured beside a bare loop"), measured),
            trial(kind, format!("{kind}: interrupted, it removes its databases"), interrupted),
        ]
    };
    Kind::DATABASES.into_iter().flat_map(of_kind).collect()
}

fn bench(server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix-cli"));
    command.args(["bench", "--store", server.url(), "--clients", "4", "--in-flight", "4", "--json"]);
    command
}

fn measured(server: &Server) -> Result<(), Failed> {
    let output = bench(server).args(["--seconds", "0.2", "--runs", "1", "--prefill", "20000", "--indexes"]).output()?;
    let report = report(&output)?;
    let rows = report["rows"].as_array().ok_or("no rows")?;
    let setting = match server.kind() {
        Kind::Postgres => "fsync=on, synchronous_commit=on, full_page_writes=on",
        Kind::MySql => "innodb_flush_log_at_trx_commit=1, sync_binlog=",
        Kind::Kafka | Kind::Kafka4 => return Err("a bus is no store".into()),
    };
    let told = |row: &serde_json::Value| row["durability"].as_str().is_some_and(|text| text.contains(setting));
    let count =
        |part: &str| rows.iter().filter(|row| row["what"].as_str().is_some_and(|what| what.contains(part))).count();
    let complete = rows.iter().all(|row| told(row) && row["per_second"].as_f64().is_some_and(|rate| rate > 0.0));
    // position, (stream, version), (stream, key), and all of them
    if !complete || count("two connections") != 1 || count("without") != 4 {
        return Err(format!("not what was asked for: {report:#}").into());
    }
    nothing_left(server)
}

fn interrupted(server: &Server) -> Result<(), Failed> {
    let mut child = bench(server).args(["--seconds", "60"]).stdout(Stdio::null()).spawn()?;
    let limit = Instant::now() + Duration::from_mins(1);
    while databases(server)? == 0 {
        if Instant::now() > limit {
            child.kill()?;
            return Err("it made no database within a minute".into());
        }
        std::thread::yield_now();
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT)?;
    let status = child.wait()?;
    if status.success() {
        return Err("it does not say that it was interrupted".into());
    }
    nothing_left(server)
}

fn report(output: &Output) -> Result<serde_json::Value, Failed> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).map_err(|e| format!("{e}: {out}{err}").into())
}

fn nothing_left(server: &Server) -> Result<(), Failed> {
    match databases(server)? {
        0 => Ok(()),
        left => Err(format!("{left} databases are left").into()),
    }
}

/// How many databases of measurements there are.
fn databases(server: &Server) -> Result<i64, Failed> {
    let table = match server.kind() {
        Kind::Postgres => "SELECT count(*) AS n FROM pg_database WHERE datname LIKE 'phoenix_bench_%'",
        Kind::MySql => "SELECT count(*) AS n FROM information_schema.schemata WHERE schema_name LIKE 'phoenix_bench_%'",
        Kind::Kafka | Kind::Kafka4 => return Err("a bus is no store".into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let database = Database::connect(server.url()).await?;
        let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), table)).await?;
        let count = row.ok_or("no row")?.try_get::<i64>("", "n")?;
        database.close().await?;
        Ok(count)
    })
}
