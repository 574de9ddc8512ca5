//! NATS clients that keep working while certificate, key and CA are renewed under them.

mod backoff;
mod clock;
mod crypto;
mod manager;
pub mod material;
pub mod nats;
pub mod reload;
pub mod report;
pub mod source;
pub mod store;
pub mod tls;

pub use backoff::Backoff;
pub use manager::{BuildError, CertificateManager, ManagerBuilder, StatusHandle};
pub use material::Policy;
pub use nats::{
    Authentication, ConnectSettings, Connection, ConnectionEvent, StartupBudget, StartupPolicy,
};
pub use reload::ReloadOutcome;
pub use source::Files;
pub use store::{Generation, Snapshot};
pub use tls::{ServerNames, TlsVersions};
