//! `phoenix-cli bench`: measures what it was asked for, and says under which durability.

use super::{phoenix_cli, refused};

#[test]
fn it_measures_both_stores_side_by_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = ["bench", "--clients", "2", "--in-flight", "2", "--seconds", "0.05", "--runs", "1", "--json"];
    let ran = phoenix_cli(folder.path(), &short);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    let durabilities: Vec<_> = rows.iter().map(|row| row["durability"].as_str().unwrap_or_default()).collect();
    let (sqlite, memory) = ("sqlite (wal, synchronous=full)", "memory");
    assert_eq!(durabilities, [sqlite, sqlite, sqlite, sqlite, memory, memory, memory]);
    assert!(rows.iter().all(|row| row["per_second"].as_f64().is_some_and(|rate| rate > 0.0)), "{rows:?}");
    let bars = report["bars"].as_array().expect("bars");
    assert_eq!(bars.first().map(|bar| &bar["what"]), Some(&"SQLite 2 x 2, x bare loop".into()));
    let left: Vec<_> = std::fs::read_dir(folder.path().join("target")).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_store_that_has_events_already_is_compared_with_an_empty_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = ["bench", "--store", "memory", "--clients", "2", "--seconds", "0.05", "--runs", "1"];
    let ran = phoenix_cli(folder.path(), &[&short[..], &["--prefill", "50000", "--markdown"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.starts_with("|  | measured | bar |  |\n|---|---|---|---|\n| memory 2 x 1 on 50000 events, x empty |"),
        "{}",
        ran.out
    );
}

#[test]
fn what_it_does_not_know_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    refused(folder.path(), &["bench", "--store", "postgres"], 2, &["say one of `memory`, `none`, `sqlite:FOLDER`"]);
    refused(folder.path(), &["bench", "--runs", "0"], 1, &["nothing to measure"]);
}
