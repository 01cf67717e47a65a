//! Latencies, each kept, so that percentiles are exact.

use std::time::Duration;

/// Latencies in steps of 10 ns, up to 42 s.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_nanos() / 10).unwrap_or(u32::MAX));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The 50th, 99th and 99.9th percentile, in microseconds.
    pub(crate) fn percentiles(mut self) -> Percentiles {
        self.0.sort_unstable();
        let at = |thousandth: usize| {
            let index = (self.0.len() * thousandth / 1000).min(self.0.len().saturating_sub(1));
            self.0.get(index).map_or(f64::NAN, |steps| f64::from(*steps) / 100.0)
        };
        Percentiles { p50: at(500), p99: at(990), p999: at(999) }
    }
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}
