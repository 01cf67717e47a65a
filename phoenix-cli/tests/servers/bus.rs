//! `phoenix-cli bench --bus` on real brokers: it measures, shows the durability, and leaves no topic behind.

use std::process::Command;

use libtest_mimic::{Failed, Trial};
#[cfg(feature = "kafka")]
use phoenix_test_servers::{Kind, Server, shared, trial};
#[cfg(feature = "kafka")]
use rdkafka::consumer::{BaseConsumer, Consumer as _};
#[cfg(feature = "kafka")]
use rdkafka::metadata::MetadataTopic;

#[cfg(feature = "kafka")]
pub(crate) fn trials() -> Vec<Trial> {
    let measured = |kind, scheme: &'static str| {
        trial(kind, format!("{kind}: measured over a bus, {scheme}://"), move |broker| measured(broker, scheme))
    };
    vec![measured(Kind::Kafka, "rdkafka"), measured(Kind::Kafka, "kafka"), measured(Kind::Kafka4, "rdkafka")]
}

#[cfg(not(feature = "kafka"))]
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("over a bus: a build without buses says how to make one with them", not_built)]
}

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix-cli"));
    command.args(["bench", "--json", "--runs", "1", "--seconds", "0.4"]);
    command
}

#[cfg(not(feature = "kafka"))]
fn not_built() -> Result<(), Failed> {
    let output = bench().args(["--bus", "rdkafka://127.0.0.1:1"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !said.contains("--features kafka") {
        return Err(format!("it says: {said}").into());
    }
    Ok(())
}

#[cfg(feature = "kafka")]
fn measured(broker: &Server, scheme: &str) -> Result<(), Failed> {
    let bus = format!("{scheme}://{}", broker.url());
    // where there is no PostgreSQL there is nothing that rows could be inserted into from outside
    let postgres = shared(Kind::Postgres).ok();
    let folder = tempfile::tempdir()?;
    let files = format!("sqlite:{}", folder.path().display());
    let store = postgres.map_or(&*files, Server::url);
    let small = ["--partitions", "1", "--partitions", "3", "--backlog", "3000", "--clients", "4", "--in-flight", "4"];
    let output = bench().args(["--bus", &bus, "--store", store]).args(small).output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&out).map_err(|e| format!("{e}: {out}{err}"))?;
    let rows = report["rows"].as_array().ok_or("no rows")?;
    let told = |row: &serde_json::Value| {
        let durability = row["durability"].as_str().unwrap_or_default();
        let of_store = if postgres.is_some() { "fsync=on, synchronous_commit=on" } else { "synchronous=full" };
        durability.starts_with("Kafka acks=all of 1, no fsync; ") && durability.contains(of_store)
    };
    let complete = rows.iter().all(|row| told(row) && row["per_second"].as_f64().is_some_and(|rate| rate > 0.0));
    let wanted = if postgres.is_some() { 8 } else { 6 };
    let bars = report["bars"].as_array().map_or(0, Vec::len);
    if !complete || rows.len() != wanted || bars != wanted - 2 {
        return Err(format!("not what was asked for: {report:#}").into());
    }
    nothing_left(broker)
}

#[cfg(feature = "kafka")]
fn nothing_left(broker: &Server) -> Result<(), Failed> {
    let client: BaseConsumer = rdkafka::ClientConfig::new().set("bootstrap.servers", broker.url()).create()?;
    let metadata = client.fetch_metadata(None, std::time::Duration::from_secs(10))?;
    let names = metadata.topics().iter().map(MetadataTopic::name);
    let left: Vec<_> = names.filter(|name| name.starts_with("phoenix-bench-")).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("topics are left: {left:?}").into()) }
}
