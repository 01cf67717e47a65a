//! Latencies, each kept, so that percentiles are exact.

use std::time::Duration;

/// Latencies in steps of 10 ns, up to 42 s.
#[derive(Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_nanos() / 10).unwrap_or(u32::MAX));
    }

    /// Adds all of these.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The 50th, 99th and 99.9th percentile, in microseconds.
    #[must_use]
    pub fn percentiles(mut self) -> Percentiles {
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
pub struct Percentiles {
    /// Half are shorter.
    pub p50: f64,
    /// 99 of 100 are shorter.
    pub p99: f64,
    /// 999 of 1000 are shorter.
    pub p999: f64,
}
