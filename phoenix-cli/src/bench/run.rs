//! One run over one store: the whole path, the bare loop of the same rows, an open loop at half of the rate.

use std::time::Duration;

use indicatif::ProgressBar;
use phoenix_bench::{AGGREGATES, Bar, Callers, Goal, Row};

use super::error::BenchError;
use super::goals;
use super::subject::{Kind, Loop, Place, Subject};
use super::suite::Plan;
use super::whole::{Load, Measured, Whole};

/// What one run found; every run has the same rows and bars, in the same order.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) rows: Vec<Row>,
    pub(crate) bars: Vec<Bar>,
    /// Commands a second of the first callers, by the store.
    rates: Vec<(Kind, f64)>,
}

impl Run {
    /// Measures everything of one store.
    pub(crate) async fn measure(
        &mut self,
        plan: &Plan,
        subject: &dyn Subject,
        progress: &ProgressBar,
    ) -> Result<(), BenchError> {
        let name = subject.kind().name();
        let mut full = None;
        for &callers in &plan.callers {
            progress.set_message(format!("whole path, {callers}"));
            let measured = self.fresh(plan, subject, Load::Closed { callers, keyed: false }).await?;
            full.get_or_insert(measured.per_second);
            if let Some(goal) = goals::rate(subject.kind(), callers) {
                self.bars.push(Bar::new(format!("{name} {callers}, commands/s"), measured.per_second, goal));
            }
            self.p99(subject.kind(), callers, "", measured.p99);
            self.bare(plan, subject, callers, &measured, progress).await?;
            subject.remove(Place::Fresh).await?;
            if callers != Callers::ONE {
                progress.set_message(format!("half of {callers}"));
                let half = self.fresh(plan, subject, Load::Open { per_second: measured.per_second / 2.0 }).await?;
                self.p99(subject.kind(), callers, " at half of the rate", half.p99);
                subject.remove(Place::Fresh).await?;
            }
        }
        if let Some(&callers) = plan.callers.first() {
            progress.set_message(format!("{callers} with keys"));
            self.fresh(plan, subject, Load::Closed { callers, keyed: true }).await?;
            subject.remove(Place::Fresh).await?;
        }
        let Some(full) = full else { return Ok(()) };
        self.rates.push((subject.kind(), full));
        if plan.prefill > 0 && subject.kind().keeps() {
            self.grown(plan, subject, full, progress).await?;
        }
        Ok(())
    }

    /// Compares stores with each other.
    pub(crate) fn compare(&mut self, plan: &Plan) {
        let rate = |wanted| self.rates.iter().find(|(kind, _)| *kind == wanted).map(|(_, rate)| *rate);
        if let (Some(log), Some(memory), Some(callers)) = (rate(Kind::Log), rate(Kind::Memory), plan.callers.first()) {
            self.bars.push(Bar::new(format!("log {callers}, x memory"), log / memory, Goal::Shown));
        }
    }

    /// The whole path on a new store.
    async fn fresh(&mut self, plan: &Plan, subject: &dyn Subject, load: Load) -> Result<Figures, BenchError> {
        let whole = Whole::start(subject, Place::Fresh).await?;
        let measured = whole.measure(load, plan.duration).await?;
        let figures = self.add(subject, &whole.store, load, measured, "");
        whole.stop().await;
        Ok(figures)
    }

    /// The whole path on a store that has events already; the aggregates come into memory once for all of it.
    async fn grown(
        &mut self,
        plan: &Plan,
        subject: &dyn Subject,
        empty: f64,
        progress: &ProgressBar,
    ) -> Result<(), BenchError> {
        let (name, events) = (subject.kind().name(), plan.prefill);
        progress.set_message(format!("aggregates with {events} events come into memory"));
        let whole = Whole::start(subject, Place::Grown).await?;
        for (at, &callers) in plan.callers.iter().enumerate() {
            progress.set_message(format!("whole path on {events} events, {callers}"));
            let load = Load::Closed { callers, keyed: false };
            let measured = whole.measure(load, plan.duration).await?;
            let figures = self.add(subject, &whole.store, load, measured, &format!(", on {events} events"));
            if at == 0 {
                let what = format!("{name} {callers} on {events} events, x empty");
                self.bars.push(Bar::new(what, figures.per_second / empty, goals::growth(subject.kind())));
            }
            if callers != Callers::ONE {
                let load = Load::Open { per_second: figures.per_second / 2.0 };
                let measured = whole.measure(load, plan.duration).await?;
                self.add(subject, &whole.store, load, measured, "");
            }
        }
        whole.stop().await;
        Ok(())
    }

    fn add(&mut self, subject: &dyn Subject, store: &str, load: Load, measured: Measured, on: &str) -> Figures {
        let what = match load {
            Load::Closed { callers, keyed: true } => format!("whole path, {callers}, callers' keys"),
            Load::Closed { callers, .. } => format!("whole path, {callers}{on}"),
            // a name that is the same in every run; the rate is in its column
            Load::Open { .. } => "  open loop at half of it".to_owned(),
        };
        let Measured { seen, records_a_commit, cpu_micros } = measured;
        let commands = seen.latencies.len();
        let row = Row::seen(what, subject.settings().unwrap_or(store), seen);
        let row = Row { records_a_commit, cpu_micros, ..row };
        let micros = row.micros;
        let figures = Figures {
            per_second: row.per_second.unwrap_or(f64::NAN),
            commands,
            p50: micros.map_or(f64::NAN, |micros| micros.p50),
            p99: micros.map_or(f64::NAN, |micros| micros.p99),
            records_a_commit,
        };
        self.rows.push(row);
        figures
    }

    fn p99(&mut self, kind: Kind, callers: Callers, how: &str, micros: f64) {
        if let Some(goal) = goals::p99(kind, callers) {
            self.bars.push(Bar::new(format!("{} {callers}{how}, p99 in us", kind.name()), micros, goal));
        }
    }

    /// The rows that were just written, without Phoenix.
    async fn bare(
        &mut self,
        plan: &Plan,
        subject: &dyn Subject,
        callers: Callers,
        whole: &Figures,
        progress: &ProgressBar,
    ) -> Result<(), BenchError> {
        progress.set_message(format!("bare inserts after {callers}"));
        let how = whole.bare_loop(callers, plan.duration);
        let Some(bare) = subject.bare(how).await? else { return Ok(()) };
        let durability = self.rows.last().map(|row| row.durability.clone()).unwrap_or_default();
        let name = format!("{} {callers}", subject.kind().name());
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        let size = how.batch as f64;
        let mut add = |bare: super::subject::Bare| {
            let row = Row::seen(format!("  {}", bare.what), &durability, bare.seen);
            let row = Row { cpu_micros: bare.cpu_micros, records_a_commit: Some(size), ..row };
            let found = (row.per_second.unwrap_or(f64::NAN), row.micros.map_or(f64::NAN, |micros| micros.p50));
            self.rows.push(row);
            found
        };
        let (per_second, p50) = add(bare);
        if how.alone {
            let what = format!("{name} latency, x bare insert");
            self.bars.push(Bar::new(what, whole.p50 / p50, goals::alone(subject.kind())));
            return Ok(());
        }
        for (what, goal) in goals::bare(subject.kind(), callers) {
            self.bars.push(Bar::new(format!("{name}, {what}"), whole.per_second / per_second, goal));
        }
        if plan.indexes && plan.callers.first() == Some(&callers) {
            progress.set_message("bare inserts with fewer indexes");
            for bare in subject.without_indexes(how).await? {
                let row = Row::seen(format!("  {}", bare.what), &durability, bare.seen);
                self.rows.push(Row { cpu_micros: bare.cpu_micros, records_a_commit: Some(size), ..row });
            }
        }
        Ok(())
    }
}

/// What is compared of a measurement.
struct Figures {
    per_second: f64,
    commands: usize,
    p50: f64,
    p99: f64,
    records_a_commit: Option<f64>,
}

impl Figures {
    /// A bare loop in batches as large as the engine reached.
    fn bare_loop(&self, callers: Callers, duration: Duration) -> Loop {
        let alone = callers == Callers::ONE;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let batch = if alone { 1 } else { self.records_a_commit.unwrap_or(1.0).round().max(1.0) as usize };
        // the same rows take less time than through the engine; single ones are measured as long as the engine was
        let rows = self.commands + usize::try_from(AGGREGATES).unwrap_or(0);
        Loop { rows, batch, alone, at_most: if alone { duration } else { duration * 3 } }
    }
}
