//! Metrics: whatever the process records through the `metrics` facade, rendered for Prometheus.

use std::sync::OnceLock;
use std::time::Duration;

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of histograms whose name ends in `_seconds`: 50 us to 10 s.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Bounds of histograms whose name ends in `_records`.
const RECORDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// How often histograms are folded, so that a process whose metrics nobody asks for does not keep every sample.
pub const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process.
#[derive(Clone)]
pub struct Metrics(Option<PrometheusHandle>);

impl Metrics {
    /// Makes the process record its metrics; the second call and all later ones find the same recorder. Where the
    /// program has set a recorder of its own, that one stays, and there is nothing to render here.
    #[must_use]
    pub fn install() -> Self {
        static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        Self(HANDLE.get_or_init(recorder).clone())
    }

    /// Everything recorded so far, in Prometheus' text format. `None` where the program records elsewhere.
    #[must_use]
    pub fn render(&self) -> Option<String> {
        self.0.as_ref().map(PrometheusHandle::render)
    }

    /// Folds what histograms have collected; to be called every [`UPKEEP`].
    pub fn run_upkeep(&self) {
        if let Some(handle) = &self.0 {
            handle.run_upkeep();
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metrics({})", if self.0.is_some() { "here" } else { "elsewhere" })
    }
}

fn recorder() -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS).ok()?;
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), RECORDS).ok()?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).ok()?;
    describe();
    Some(handle)
}

/// What the metrics of a node mean.
fn describe() {
    describe_counter!("phoenix_commands_total", "Commands that were told their outcome");
    describe_counter!("phoenix_batches_failed_total", "Batches that the event store did not take");
    describe_histogram!("phoenix_batch_records", "Records of a batch");
    describe_histogram!("phoenix_append_seconds", Unit::Seconds, "Time until a batch was durable");
    describe_gauge!("phoenix_aggregates_resident", "Aggregates in memory");
    describe_gauge!("phoenix_aggregates_parked", "Aggregates that could not be brought into memory");
    describe_counter!("phoenix_http_requests_total", "HTTP requests by route and status");
    describe_histogram!("phoenix_http_request_seconds", Unit::Seconds, "Time until an HTTP request was answered");
}
