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
