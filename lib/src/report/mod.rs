//! Joins what the layers return into one status. The only place that makes JSON or metrics of it.

pub(crate) mod certificate_info;
pub(crate) mod certificates;
pub(crate) mod health;
pub(crate) mod metrics;
mod relay;
mod status;

pub use health::{Health, Liveness, NotReady};
pub use metrics::histogram_buckets;
pub use relay::{HandoverStatus, RelayFailureStatus, RelayStatus};
pub use status::{
    ActiveStatus, CertificateStatus, ConnectionStatus, DiskStatus, PreflightStatus,
    RejectionStatus, ReloadStatus, SCHEMA_VERSION, Status, WatcherStatus, timestamp,
};

pub(crate) use status::Facts;

use crate::reload::{ReloadReport, Verdict};
use crate::store::Snapshot;

/// Whether the process still runs on what was kept from before its start. Files that hold the very
/// same set confirm it.
pub(crate) fn runs_on_restored(active: Option<&Snapshot>, reload: Option<&ReloadReport>) -> bool {
    let in_step = reload.is_some_and(|report| report.verdict == Verdict::Active);
    active.is_some_and(Snapshot::is_restored) && !in_step
}
