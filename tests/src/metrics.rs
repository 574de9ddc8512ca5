//! The metrics of one test, as Prometheus would scrape them.

use anyhow::{Context as _, Result};
use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use nats_mtls::StatusHandle;
use nats_mtls::report::histogram_buckets;

/// A recorder for this thread: with a current-thread runtime, which `#[tokio::test]` has, that is
/// all of the test and nothing of the others.
pub struct Metrics {
    handle: PrometheusHandle,
    _guard: LocalRecorderGuard<'static>,
}

impl Metrics {
    /// Records from now on.
    ///
    /// # Errors
    /// When a histogram has no buckets.
    pub fn install() -> Result<Self> {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in histogram_buckets() {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
        }
        // The guard borrows it, and both live as long as the test.
        let recorder = Box::leak(Box::new(builder.build_recorder()));
        Ok(Self {
            handle: recorder.handle(),
            _guard: metrics::set_default_local_recorder(recorder),
        })
    }

    /// What a scrape shows now.
    #[must_use]
    pub fn scrape(&self, status: &StatusHandle) -> Scrape {
        status.emit_metrics();
        Scrape(self.handle.render())
    }
}

/// One scrape.
#[derive(Debug)]
pub struct Scrape(pub String);

impl Scrape {
    /// The sum of all series of that name that have these labels; an error if there is none.
    ///
    /// # Errors
    /// Names the series, with the whole scrape.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let wanted: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}={value:?}"))
            .collect();
        let mut values = self
            .0
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter(|line| wanted.iter().all(|label| line.contains(label.as_str())))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .peekable();
        values
            .peek()
            .with_context(|| format!("no {name} with {wanted:?} in\n{}", self.0))?;
        Ok(values.sum())
    }

    /// The same as a whole number.
    ///
    /// # Errors
    /// As [`Scrape::sum`], and when it is not a whole number.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        let sum = self.sum(name, labels)?;
        sum.to_string()
            .parse()
            .with_context(|| format!("{name} is {sum}"))
    }
}
