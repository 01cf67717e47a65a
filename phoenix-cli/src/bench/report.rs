//! What was measured, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::latency::Percentiles;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// What was acknowledged survives which fault.
    pub(crate) durability: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) micros: Option<Percentiles>,
    /// Records that one commit makes durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) records_a_commit: Option<f64>,
    /// Time of a core that each command took, of callers, engine and store together. Unlike the rest it hardly depends
    /// on what else the machine does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_micros: Option<f64>,
}

/// A figure that is to be reached.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) measured: f64,
    pub(crate) wanted: f64,
    pub(crate) reached: bool,
}

impl Bar {
    pub(crate) fn at_least(what: &str, measured: f64, wanted: f64) -> Self {
        Self { what: format!("{what}, at least"), measured, wanted, reached: measured >= wanted }
    }

    pub(crate) fn at_most(what: &str, measured: f64, wanted: f64) -> Self {
        Self { what: format!("{what}, at most"), measured, wanted, reached: measured <= wanted }
    }
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Cores that the process may use.
    pub(crate) cores: usize,
    pub(crate) runs: usize,
    pub(crate) seconds: f64,
    /// Medians of the runs.
    pub(crate) rows: Vec<Row>,
    pub(crate) bars: Vec<Bar>,
}

/// The median: of an even number the mean of the middle two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The rows of several runs as one run of medians. Every run has the same rows, in the same order.
pub(crate) fn medians(runs: &[Vec<Row>]) -> Vec<Row> {
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

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut cells =
            vec![["", "durability", "per second", "p50", "p99", "p99.9", "a commit", "CPU each"].map(str::to_owned)];
        for row in &self.rows {
            let micros =
                |pick: fn(&Percentiles) -> f64| row.micros.as_ref().map_or_else(String::new, |m| time(pick(m)));
            cells.push([
                row.what.clone(),
                row.durability.clone(),
                row.per_second.map_or_else(String::new, thousands),
                micros(|m| m.p50),
                micros(|m| m.p99),
                micros(|m| m.p999),
                row.records_a_commit.map_or_else(String::new, thousands),
                row.cpu_micros.map_or_else(String::new, |micros| format!("{micros:.1} us")),
            ]);
        }
        write_table(f, &cells)?;
        writeln!(f)?;
        let mut cells = vec![["", "measured", "bar", ""].map(str::to_owned)];
        for Bar { what, measured, wanted, reached } in &self.bars {
            let reached = if *reached { "reached" } else { "MISSED" };
            cells.push([what.clone(), figure(*measured), figure(*wanted), reached.to_owned()]);
        }
        if !self.bars.is_empty() {
            write_table(f, &cells)?;
        }
        let Self { cores, runs, seconds, .. } = self;
        if *cores == 0 {
            // a build: nothing ran beside callers
            return write!(f, "\nmedians of {runs} runs");
        }
        write!(f, "\n{cores} cores, shared by callers, engine and store; medians of {runs} runs of {seconds} s each")
    }
}

/// Columns as wide as their widest cell; the first two to the left, numbers to the right.
fn write_table<const N: usize>(f: &mut std::fmt::Formatter<'_>, cells: &[[String; N]]) -> std::fmt::Result {
    let width = |column: usize| cells.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    for row in cells {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            if column == 0 || cell.chars().all(char::is_alphabetic) || cell.contains('(') {
                write!(line, "{cell:<width$}  ")?;
            } else {
                write!(line, "{cell:>width$}  ")?;
            }
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A number as people write it: thousands apart, no more digits than it is worth.
fn thousands(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn figure(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { thousands(value) }
}

/// Microseconds, in the unit that suits them.
fn time(micros: f64) -> String {
    match micros {
        m if m < 1000.0 => format!("{m:.0} us"),
        m if m < 1_000_000.0 => format!("{:.2} ms", m / 1000.0),
        m => format!("{:.2} s", m / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let written = [0.7, 99.94, 1234.6, 1_234_567.0].map(thousands);
        assert_eq!(written, ["0.7", "99.9", "1,235", "1,234,567"]);
        assert_eq!([12.3, 1500.0, 2_500_000.0].map(time), ["12 us", "1.50 ms", "2.50 s"]);
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
