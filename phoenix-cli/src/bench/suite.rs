//! What is run, in which order: what is compared runs side by side, again and again.

use std::time::Duration;

use indicatif::ProgressBar;
use phoenix_bench::report::medians;
use phoenix_bench::{Bar, Callers, Goal, Report, Row};

use super::error::BenchError;
use super::prefill::{History, prefill};
use super::run::Run;
use super::subject::{Place, Subject};
use super::{cold, goals, idle};

/// What is measured, and for how long.
pub(crate) struct Plan {
    pub(crate) callers: Vec<Callers>,
    pub(crate) duration: Duration,
    pub(crate) runs: usize,
    /// Activation, replay and idle memory as well.
    pub(crate) rest: bool,
    /// Events that a store has beforehand, in a second measurement.
    pub(crate) prefill: u64,
    /// What each index costs.
    pub(crate) indexes: bool,
}

/// Measured accounts are among so many that have events beforehand.
const PREFILLED: u64 = 100_000;

/// Measures everything that is planned.
pub(crate) async fn measure(
    plan: &Plan,
    subjects: &[Box<dyn Subject>],
    progress: &ProgressBar,
) -> Result<Report, BenchError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut report = Report { cores, runs: plan.runs, seconds: plan.duration.as_secs_f64(), ..Report::default() };
    if plan.prefill > 0 {
        let accounts = PREFILLED.min(plan.prefill);
        for subject in subjects.iter().filter(|subject| subject.kind().keeps()) {
            progress.set_prefix(subject.kind().name());
            let store = subject.open(Place::Grown).await?;
            let events = plan.prefill.div_ceil(accounts);
            prefill(&store, History { first: 0, accounts, events }, progress).await?;
        }
    }
    let mut runs = Vec::new();
    for number in 1..=plan.runs {
        let mut run = Run::default();
        for subject in subjects {
            progress.set_prefix(format!("run {number} of {}, {}", plan.runs, subject.kind().name()));
            run.measure(plan, &**subject, progress).await?;
        }
        run.compare(plan);
        runs.push(run);
    }
    let (rows, bars): (Vec<_>, Vec<_>) = runs.into_iter().map(|run| (run.rows, run.bars)).unzip();
    report.rows = medians(&rows);
    report.bars = Bar::medians(&bars);
    for subject in subjects {
        subject.remove(Place::Grown).await?;
    }
    if plan.rest {
        for subject in subjects.iter().filter(|subject| subject.kind().keeps()) {
            progress.set_prefix(format!("once, {}", subject.kind().name()));
            bring_into_memory(&**subject, progress, &mut report).await?;
        }
        progress.set_prefix("once");
        progress.set_message("memory of idle aggregates");
        let bytes = idle::measure().await?;
        let beyond = bytes.aggregate - bytes.state;
        report.bars.push(Bar::new("idle aggregate, bytes beyond its state", beyond, Goal::AtMost(400.0)));
        report.bars.push(Bar::new("a remembered key, bytes", bytes.key, Goal::AtMost(24.0)));
    }
    Ok(report)
}

async fn bring_into_memory(
    subject: &dyn Subject,
    progress: &ProgressBar,
    report: &mut Report,
) -> Result<(), BenchError> {
    let name = subject.kind().name();
    let durability = format!("{name}, reads");
    let cold = cold::measure(subject, progress).await?;
    let [alone, together, replay] = goals::cold(subject.kind());
    report.bars.push(Bar::new(format!("{name}, activations a second with snapshot"), cold.snapshot.together, together));
    report.bars.push(Bar::new(format!("{name}, events replayed a second"), cold.replay_together, replay));
    for activation in [cold.snapshot, cold.snapshot_and_events, cold.events] {
        let row = Row::seen(format!("activation, {}, one by one", activation.what), &durability, activation.alone);
        if let (true, Some(micros)) = (report.rows.last().is_none_or(|last| last.durability != durability), row.micros)
        {
            let what = format!("{name}, activation with snapshot, p50 in us");
            report.bars.push(Bar::new(what, micros.p50, alone));
        }
        report.rows.push(row);
        let what = format!("activation, {}, all at once", activation.what);
        report.rows.push(Row::rate(what, &durability, activation.together));
    }
    report.rows.push(Row::rate("replay, events, one aggregate".to_owned(), &durability, cold.replay_alone));
    report.rows.push(Row::rate("replay, events, many aggregates".to_owned(), &durability, cold.replay_together));
    Ok(())
}
