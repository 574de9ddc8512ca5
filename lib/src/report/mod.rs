//! Joins what the layers return into one status. The only place that makes JSON of it.

pub(crate) mod health;
mod status;

pub use health::{Health, Liveness, NotReady};
pub use status::{
    ActiveStatus, CertificateStatus, ConnectionStatus, DiskStatus, PreflightStatus,
    RejectionStatus, ReloadStatus, SCHEMA_VERSION, Status, WatcherStatus, timestamp,
};

pub(crate) use status::Facts;
