//! What was measured: rows and bars, as JSON, and medians of several runs.

use serde::Serialize;

use crate::latency::Percentiles;
use crate::load::Seen;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What was acknowledged survives which fault.
    pub durability: String,
    /// Commands, rows or events a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Latencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<Percentiles>,
    /// Records that one commit makes durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_a_commit: Option<f64>,
    /// Time of a core that each command took in this process: callers, engine, and a store that is no server. Unlike
    /// the rest it hardly depends on what else the machine does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_micros: Option<f64>,
}

impl Row {
    /// A rate and latencies.
    #[must_use]
    pub fn seen(what: String, durability: &str, seen: Seen) -> Self {
        Self { micros: Some(seen.latencies.percentiles()), ..Self::rate(what, durability, seen.per_second) }
    }

    /// A rate alone.
    #[must_use]
    pub fn rate(what: String, durability: &str, per_second: f64) -> Self {
        Self { per_second: Some(per_second), ..Self::new(what, durability) }
    }

    /// Nothing but a name.
    #[must_use]
    pub fn new(what: String, durability: &str) -> Self {
        let durability = durability.to_owned();
        Self { what, durability, per_second: None, micros: None, records_a_commit: None, cpu_micros: None }
    }
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// It is told, and that is all.
    Shown,
}

/// A ratio or another figure that is worth a line of its own.
#[derive(Debug, Clone, Serialize)]
pub struct Bar {
    /// What it is.
    pub what: String,
    /// What was found.
    pub measured: f64,
    /// What it is to be.
    #[serde(skip)]
    pub goal: Goal,
    /// What it is to reach, where it has to.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
}

impl Bar {
    /// A figure and what it is to be.
    #[must_use]
    pub fn new(what: impl Into<String>, measured: f64, goal: Goal) -> Self {
        let (wanted, reached) = match goal {
            Goal::AtLeast(wanted) => (Some(wanted), Some(measured >= wanted)),
            Goal::AtMost(wanted) => (Some(wanted), Some(measured <= wanted)),
            Goal::Shown => (None, None),
        };
        Self { what: what.into(), measured, goal, wanted, reached }
    }

    /// The bars of several runs as one run of medians.
    #[must_use]
    pub fn medians(runs: &[Vec<Self>]) -> Vec<Self> {
        let Some(first) = runs.first() else { return Vec::new() };
        let merge = |(index, bar): (usize, &Self)| {
            let measured = median(runs.iter().filter_map(|run| Some(run.get(index)?.measured)));
            Self::new(bar.what.clone(), measured.unwrap_or(f64::NAN), bar.goal)
        };
        first.iter().enumerate().map(merge).collect()
    }

    /// Whether it is what it is to be, where it is to be something.
    #[must_use]
    pub fn reached(&self) -> Option<bool> {
        self.reached
    }
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Cores that the process may use.
    pub cores: usize,
    /// How often everything was measured.
    pub runs: usize,
    /// How long each time.
    pub seconds: f64,
    /// Medians of the runs.
    pub rows: Vec<Row>,
    /// Medians of what was compared within each run.
    pub bars: Vec<Bar>,
}

/// The median: of an even number the mean of the middle two.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The rows of several runs as one run of medians. Every run has the same rows, in the same order.
#[must_use]
pub fn medians(runs: &[Vec<Row>]) -> Vec<Row> {
    let Some(first) = runs.first() else { return Vec::new() };
    let merge = |(index, row): (usize, &Row)| {
        let of = |field: fn(&Row) -> Option<f64>| median(runs.iter().filter_map(|run| field(run.get(index)?)));
        let micros = row.micros.is_some().then(|| Percentiles {
            p50: of(|row| row.micros.map(|m| m.p50)).unwrap_or(f64::NAN),
            p99: of(|row| row.micros.map(|m| m.p99)).unwrap_or(f64::NAN),
            p999: of(|row| row.micros.map(|m| m.p999)).unwrap_or(f64::NAN),
        });
        let (per_second, records_a_commit) = (of(|row| row.per_second), of(|row| row.records_a_commit));
        Row { per_second, micros, records_a_commit, cpu_micros: of(|row| row.cpu_micros), ..row.clone() }
    };
    first.iter().enumerate().map(merge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_bar_is_the_median_of_its_runs() {
        let run = |measured| vec![Bar::new("ratio", measured, Goal::AtLeast(0.75))];
        let bars = Bar::medians(&[run(0.5), run(0.9), run(0.8)]);
        assert_eq!(bars.first().map(|bar| (bar.measured, bar.reached())), Some((0.8, Some(true))));
    }
}
