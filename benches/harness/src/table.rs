//! A report as text for a terminal, and as markdown.

use std::fmt::{self, Display, Write as _};

use crate::latency::Percentiles;
use crate::report::{Bar, Report};

/// A table with its head.
struct Table<const N: usize> {
    head: [&'static str; N],
    lines: Vec<[String; N]>,
}

fn figures(report: &Report) -> Table<8> {
    let head = ["", "durability", "per second", "p50", "p99", "p99.9", "a commit", "CPU each"];
    let lines = report.rows.iter().map(|row| {
        let micros = |pick: fn(&Percentiles) -> f64| row.micros.as_ref().map_or_else(String::new, |m| time(pick(m)));
        [
            row.what.clone(),
            row.durability.clone(),
            row.per_second.map_or_else(String::new, thousands),
            micros(|m| m.p50),
            micros(|m| m.p99),
            micros(|m| m.p999),
            row.records_a_commit.map_or_else(String::new, thousands),
            row.cpu_micros.map_or_else(String::new, |micros| format!("{micros:.1} us")),
        ]
    });
    Table { head, lines: lines.collect() }
}

fn bars(report: &Report) -> Table<4> {
    let line = |bar: &Bar| {
        let reached = match bar.reached() {
            Some(true) => "reached",
            Some(false) => "MISSED",
            None => "",
        };
        [bar.what.clone(), figure(bar.measured), bar.goal.to_string(), reached.to_owned()]
    };
    Table { head: ["", "measured", "bar", ""], lines: report.bars.iter().map(line).collect() }
}

impl Display for crate::report::Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(wanted) => write!(f, "at least {}", figure(*wanted)),
            Self::AtMost(wanted) => write!(f, "at most {}", figure(*wanted)),
            Self::Shown => Ok(()),
        }
    }
}

/// How it was measured.
fn footer(report: &Report) -> String {
    let Report { cores, runs, seconds, .. } = report;
    if *cores == 0 {
        // a build: nothing ran beside callers
        return format!("medians of {runs} runs");
    }
    format!("{cores} cores, shared by callers, engine and store; medians of {runs} runs of {seconds} s each")
}

/// For a terminal.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        figures(self).text(f)?;
        writeln!(f)?;
        if !self.bars.is_empty() {
            bars(self).text(f)?;
        }
        write!(f, "\n{}", footer(self))
    }
}

/// For a page: the bars first, then every figure.
#[derive(Debug)]
pub struct Markdown<'a>(pub &'a Report);

impl Display for Markdown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bars(self.0).markdown(f)?;
        writeln!(f)?;
        figures(self.0).markdown(f)?;
        write!(f, "\n{}.", footer(self.0))
    }
}

impl<const N: usize> Table<N> {
    /// Columns as wide as their widest cell; words to the left, numbers to the right.
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head.map(str::to_owned);
        let lines = || std::iter::once(&head).chain(&self.lines);
        let width = |column: usize| lines().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
        for cells in lines() {
            let mut line = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let width = width(column);
                if column == 0 || cell.starts_with(char::is_alphabetic) {
                    write!(line, "{cell:<width$}  ")?;
                } else {
                    write!(line, "{cell:>width$}  ")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn markdown(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", self.head.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(N))?;
        for cells in &self.lines {
            writeln!(f, "| {} |", cells.each_ref().map(|cell| cell.trim()).join(" | "))?;
        }
        Ok(())
    }
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
    use crate::report::{Goal, Row};

    #[test]
    fn numbers_are_written_for_people() {
        let written = [0.7, 99.94, 1234.6, 1_234_567.0].map(thousands);
        assert_eq!(written, ["0.7", "99.9", "1,235", "1,234,567"]);
        assert_eq!([12.3, 1500.0, 2_500_000.0].map(time), ["12 us", "1.50 ms", "2.50 s"]);
    }

    #[test]
    fn a_page_has_the_bars_and_then_the_figures() {
        let rows = vec![Row::rate("  bare loop".to_owned(), "fsync=on", 1234.0)];
        let bars = vec![Bar::new("x bare", 0.8, Goal::AtLeast(0.75)), Bar::new("x memory", 0.5, Goal::Shown)];
        let report = Report { cores: 2, runs: 3, seconds: 2.0, rows, bars };
        let expected = "\
|  | measured | bar |  |
|---|---|---|---|
| x bare | 0.80 | at least 0.75 | reached |
| x memory | 0.50 |  |  |

|  | durability | per second | p50 | p99 | p99.9 | a commit | CPU each |
|---|---|---|---|---|---|---|---|
| bare loop | fsync=on | 1,234 |  |  |  |  |  |

2 cores, shared by callers, engine and store; medians of 3 runs of 2 s each.";
        assert_eq!(Markdown(&report).to_string(), expected);
    }
}
