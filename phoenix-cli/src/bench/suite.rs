//! What is run, in which order: what is compared runs side by side, again and again.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;

use super::bare::Bare;
use super::load::{Callers, Seen};
use super::report::{Bar, Report, Row, median, medians};
use super::whole::{Load, Under, Whole, remove};
use super::{BenchError, cold, idle};

/// What is measured, and for how long.
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    pub(crate) sqlite: bool,
    pub(crate) memory: bool,
    pub(crate) callers: Vec<Callers>,
    pub(crate) duration: Duration,
    pub(crate) runs: usize,
    /// Activation, replay and idle memory as well.
    pub(crate) rest: bool,
}

const ONE: Callers = Callers { clients: 1, in_flight: 1 };

/// What one run found, with the two ratios that are compared within it.
#[derive(Default)]
struct Run {
    rows: Vec<Row>,
    insert_ratio: Option<f64>,
    latency_ratio: Option<f64>,
    memory_rate: Option<f64>,
}

/// Measures everything that is planned.
pub(crate) async fn measure(plan: &Plan, progress: &ProgressBar) -> Result<Report, BenchError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut report = Report { cores, runs: plan.runs, seconds: plan.duration.as_secs_f64(), ..Report::default() };
    let mut runs = Vec::new();
    for number in 1..=plan.runs {
        progress.set_prefix(format!("run {number} of {}", plan.runs));
        let mut run = Run::default();
        if plan.sqlite {
            run.sqlite(plan, progress).await?;
        }
        if plan.memory {
            run.memory(plan, progress).await?;
        }
        runs.push(run);
    }
    let ratio = |of: fn(&Run) -> Option<f64>| median(runs.iter().filter_map(of));
    report.bars.extend(ratio(|run| run.insert_ratio).map(|r| Bar::at_least("SQLite, x bare batched insert", r, 0.7)));
    report.bars.extend(ratio(|run| run.latency_ratio).map(|r| Bar::at_most("1 x 1 latency, x bare insert", r, 1.3)));
    report.bars.extend(ratio(|run| run.memory_rate).map(|r| Bar::at_least("memory store, commands/s", r, 1e6)));
    let rows: Vec<_> = runs.into_iter().map(|run| run.rows).collect();
    report.rows = medians(&rows);
    if plan.rest {
        progress.set_prefix("once");
        rest(plan, progress, &mut report).await?;
    }
    Ok(report)
}

impl Run {
    async fn sqlite(&mut self, plan: &Plan, progress: &ProgressBar) -> Result<(), BenchError> {
        let under = Under::Sqlite(plan.folder.clone());
        let (mine, bares) = (plan.folder.join("whole.db"), plan.folder.join("bare.db"));
        let mut bare = String::new();
        for &callers in &plan.callers {
            progress.set_message(format!("SQLite, {callers}"));
            let load = Load::Closed { callers, keyed: false };
            let (per_second, batch) = self.whole(plan, &under, load, false).await?;
            progress.set_message(format!("bare inserts after {callers}"));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
            let size = if callers == ONE { 1 } else { batch.unwrap_or(1.0).round().max(1.0) as usize };
            // the same rows take less time than through the engine; single ones are measured as long as the engine was
            let limit = if callers == ONE { plan.duration } else { plan.duration * 3 };
            let table = Bare::new(&mine, &bares).await?;
            let (seen, cpu_micros) = tokio::task::spawn_blocking(move || table.batches(size, limit))
                .await
                .map_err(|e| BenchError::Task(e.to_string()))??;
            remove(&bares);
            let ratio = per_second / seen.per_second;
            if bare.is_empty() {
                bare = self.rows.last().map(|row| row.durability.clone()).unwrap_or_default();
            }
            let whole_p50 = self.rows.last().and_then(|row| row.micros).map(|micros| micros.p50);
            let what = if callers == ONE { "  bare single insert" } else { "  bare insert, batches of that size" };
            #[allow(clippy::cast_precision_loss, reason = "a small number")]
            let row = Row { cpu_micros, ..row(what.to_owned(), &bare, seen, Some(size as f64)) };
            if callers == ONE {
                self.latency_ratio = whole_p50.zip(row.micros).map(|(whole, bare)| whole / bare.p50);
            } else if self.insert_ratio.is_none() {
                self.insert_ratio = Some(ratio);
            }
            self.rows.push(row);
            remove(&mine);
            if callers != ONE {
                progress.set_message(format!("SQLite, half of {callers}"));
                self.whole(plan, &under, Load::Open { per_second: per_second / 2.0 }, false).await?;
                remove(&mine);
            }
        }
        if let Some(&callers) = plan.callers.first() {
            progress.set_message(format!("SQLite, {callers} with keys"));
            self.whole(plan, &under, Load::Closed { callers, keyed: true }, true).await?;
            remove(&mine);
        }
        Ok(())
    }

    async fn memory(&mut self, plan: &Plan, progress: &ProgressBar) -> Result<(), BenchError> {
        for &callers in &plan.callers {
            progress.set_message(format!("memory, {callers}"));
            let load = Load::Closed { callers, keyed: false };
            let (per_second, _) = self.whole(plan, &Under::Memory, load, false).await?;
            self.memory_rate.get_or_insert(per_second);
            if callers != ONE {
                progress.set_message(format!("memory, half of {callers}"));
                self.whole(plan, &Under::Memory, Load::Open { per_second: per_second / 2.0 }, false).await?;
            }
        }
        if let Some(&callers) = plan.callers.first() {
            progress.set_message(format!("memory, {callers} with keys"));
            self.whole(plan, &Under::Memory, Load::Closed { callers, keyed: true }, true).await?;
        }
        Ok(())
    }

    /// Measures the whole path once, on a new store.
    async fn whole(
        &mut self,
        plan: &Plan,
        under: &Under,
        load: Load,
        keyed: bool,
    ) -> Result<(f64, Option<f64>), BenchError> {
        let whole = Whole::start(under, "whole.db").await?;
        let (seen, batch, cpu_micros) = whole.measure(load, plan.duration).await?;
        let what = match load {
            Load::Closed { callers, .. } if keyed => format!("whole path, {callers}, callers' keys"),
            Load::Closed { callers, .. } => format!("whole path, {callers}"),
            // a name that is the same in every run; the rate is in its column
            Load::Open { .. } => "  open loop at half of it".to_owned(),
        };
        let per_second = seen.per_second;
        self.rows.push(Row { cpu_micros, ..row(what, &whole.store, seen, batch) });
        whole.stop().await;
        Ok((per_second, batch))
    }
}

fn row(what: String, durability: &str, seen: Seen, records_a_commit: Option<f64>) -> Row {
    let (per_second, micros) = (Some(seen.per_second), Some(seen.latencies.percentiles()));
    Row { what, durability: durability.to_owned(), per_second, micros, records_a_commit, cpu_micros: None }
}

async fn rest(plan: &Plan, progress: &ProgressBar, report: &mut Report) -> Result<(), BenchError> {
    let rate = |what: String, durability: &str, per_second| Row {
        what,
        durability: durability.to_owned(),
        per_second: Some(per_second),
        micros: None,
        records_a_commit: None,
        cpu_micros: None,
    };
    if plan.sqlite {
        progress.set_message("activation");
        let (replayed, restored) = cold::activation(&plan.folder).await?;
        for (how, activation) in [("no snapshot", replayed), ("snapshot + 50", restored)] {
            let what = format!("activation, {} events, {how}", cold::HISTORY);
            report.rows.push(row(format!("{what}, one by one"), "reads", activation.alone, None));
            report.rows.push(rate(format!("{what}, all at once"), "reads", activation.together));
        }
    }
    progress.set_message("replay");
    let (alone, together) = cold::replay().await?;
    report.rows.push(rate("replay from memory, events, one aggregate".to_owned(), "memory", alone));
    report.rows.push(rate(format!("replay from memory, events, {} aggregates", cold::REPLAYED), "memory", together));
    report.bars.push(Bar::at_least("replay from memory, events/s", together, 1e6));
    progress.set_message("memory of idle aggregates");
    let bytes = idle::measure().await?;
    report.bars.push(Bar::at_most("idle aggregate, bytes beyond its state", bytes.aggregate - bytes.state, 400.0));
    report.bars.push(Bar::at_most("a remembered key, bytes", bytes.key, 24.0));
    Ok(())
}
