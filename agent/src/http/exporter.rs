//! The recorder that the library's metrics go to, and what a scrape of it is. What is measured, and
//! its buckets, are the library's.

use std::convert::Infallible;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use nats_mtls::report::histogram_buckets;
use tokio::time::sleep;

use super::facts::Facts;

/// The text format, as Prometheus asks for it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Samples of histograms pile up until they are looked at.
const UPKEEP: Duration = Duration::from_secs(5);

/// Renders what was recorded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exporter {
    handle: PrometheusHandle,
}

impl Exporter {
    /// Makes it the recorder of this process; once.
    pub(crate) fn install() -> Result<Self, BuildError> {
        Ok(Self {
            handle: builder()?.install_recorder()?,
        })
    }

    /// Everything that is true now.
    pub(super) fn scrape(&self, facts: &Facts) -> String {
        facts.emit_metrics();
        self.handle.render() + &facts.status.certificate_info()
    }

    /// Keeps the memory bounded where nobody scrapes.
    pub(super) async fn keep_up(self) -> Infallible {
        loop {
            sleep(UPKEEP).await;
            self.handle.run_upkeep();
        }
    }

    /// For tests: nothing is recorded, because a process has one recorder only.
    #[cfg(test)]
    pub(super) fn detached() -> Self {
        Self {
            handle: builder().unwrap().build_recorder().handle(),
        }
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in histogram_buckets() {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
    }
    Ok(builder)
}
