//! What the macros cost a service's build: `cargo check` of the bank template, and how much of it is expansion.

use std::path::Path;
use std::time::Instant;

use phoenix_bench::Row;
use phoenix_bench::report::median;

use super::error::BenchError;
use crate::cargo::cargo;
use crate::checkout::Checkout;
use crate::new::render;

/// Seconds of a build.
struct Build {
    clean: f64,
    edited: f64,
    expansion: f64,
}

/// Renders the bank template into `folder` and checks it, `runs` times, with everything else compiled.
pub(crate) fn measure(folder: &Path, runs: usize) -> Result<Vec<Row>, BenchError> {
    let checkout = Checkout::find().map_err(|e| BenchError::Build(e.to_string()))?;
    let service = render("bench-bank", "bank", folder).map_err(|e| BenchError::Build(format!("{e:?}")))?;
    let target = std::path::absolute(checkout.target()).map_err(|e| BenchError::Build(e.to_string()))?;
    let built = |arguments: &[&str], bootstrap: bool| {
        let mut command = cargo();
        command.args(arguments).current_dir(&service).env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "1");
        if bootstrap {
            // the compiler tells its passes only so
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        let began = Instant::now();
        let output = command.output().map_err(|e| BenchError::Build(e.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok((began.elapsed().as_secs_f64(), text)) } else { Err(BenchError::Build(text)) }
    };
    built(&["check", "--offline"], false)?;
    let mut builds = Vec::new();
    for run in 0..runs {
        built(&["clean", "--offline", "-p", "bench-bank"], false)?;
        let (clean, _) = built(&["check", "--offline", "--lib"], false)?;
        let source = service.join("src/account.rs");
        let text = std::fs::read_to_string(&source).map_err(|e| BenchError::Build(e.to_string()))?;
        std::fs::write(&source, format!("{text}// edit {run}\n")).map_err(|e| BenchError::Build(e.to_string()))?;
        let (edited, _) = built(&["check", "--offline", "--lib"], false)?;
        built(&["clean", "--offline", "-p", "bench-bank"], false)?;
        let passes = ["rustc", "--offline", "--lib", "--profile", "check", "--", "-Ztime-passes"];
        let (_, text) = built(&passes, true)?;
        builds.push(Build { clean, edited, expansion: expansion(&text).unwrap_or(f64::NAN) });
    }
    // it was rendered for this alone; what can't be removed does no harm
    let _ = std::fs::remove_dir_all(&service);
    let row = |what: &str, of: fn(&Build) -> f64| {
        let micros = median(builds.iter().map(of)).map(|seconds| seconds * 1e6);
        let micros = micros.map(|p50| phoenix_bench::Percentiles { p50, p99: p50, p999: p50 });
        Row { micros, ..Row::new(what.to_owned(), "compiles") }
    };
    Ok(vec![
        row("cargo check of the bank template, clean", |build| build.clean),
        row("cargo check of the bank template, after an edit", |build| build.edited),
        row("  of it all macros, serde's included", |build| build.expansion),
    ])
}

/// Seconds of the pass that expands macros.
fn expansion(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("macro_expand_crate"))?;
    line.split_once("time:")?.1.split(';').next()?.trim().parse().ok()
}
