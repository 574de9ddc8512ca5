//! NATS clients that keep working, and keep being who they should be, while certificate, key and
//! CA are renewed under them, without a restart.
//!
//! A NATS client keeps the TLS identity it started with, and nats-server does not cut a connection
//! whose client certificate has expired. So nothing is noticed until the next network blip, and
//! then every reconnect fails. This library watches the files, judges a new set, asks the servers
//! whether they would accept it, publishes it in one atomic swap, moves live connections onto it,
//! and rolls back if they cannot come up.
//!
//! ```no_run
//! use nats_mtls::{CertificateManager, ConnectSettings, Files};
//!
//! # async fn service() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = CertificateManager::builder()
//!     .files(Files::new("tls.crt", "tls.key", "ca.crt"))
//!     .build()
//!     .await?; // returns once there is valid material
//! let nats = manager
//!     .connect("tls://nats:4222", ConnectSettings::new().component("orders"))
//!     .await?;
//! nats.client().publish("orders.new", "an order".into()).await?; // a plain async_nats::Client
//! # Ok(())
//! # }
//! ```
//!
//! # How data flows
//! [`source`] reads the set coherently and notices changes; [`material`] is the only way from
//! bytes to a valid set; [`store`] holds the one active [`Snapshot`]; [`tls`] turns it into rustls
//! configurations; [`reload`] decides what happens to a candidate; [`nats`] connects, asks and
//! moves; [`report`] joins what they know into one status; [`CertificateManager`] is the face.
//! No layer knows a later one.
//!
//! # What is promised
//! * nats-server's own `/connz` shows the new certificate after a rotation. Session resumption is
//!   off everywhere: a resumed session presents no certificate.
//! * Certificate, key and roots of different sets never meet in one handshake.
//! * Bad material changes nothing but a counter, a log line and the status, and recovery is
//!   automatic.
//! * A live connection is never moved onto material that its server refused.
//! * One rotation is one reconnect per connection, flushed first; core NATS messages that arrive
//!   during those few milliseconds are lost, as in any reconnect. With the cargo feature `relay`,
//!   `ConnectSettings::handover` moves a connection without losing any.
//! * No key bytes and no credentials in any log, error or status.
//!
//! # What depends on a connection
//! is told by [`Connection::events`] and, without ever missing the last one, by
//! [`Connection::reconnect_epoch`]. The examples `price_cache` (a coherent cache of a KV bucket) and
//! `audit_publisher` (JetStream, nothing lost that was acknowledged) show what to rebuild, and say
//! what no client can do once the server has lost a stream or a bucket: bring its contents back.
//!
//! # Metrics
//! go to the recorder of the `metrics` crate; [`report::histogram_buckets`] says what it should know.
//! One manager in a process: see [`CertificateManager`].
//!
//! # Versions of others in this interface
//! rustls 0.23 and async-nats 0.51 are part of the public interface, so a new major version of
//! either is one of this crate. The crypto provider is chosen by the features `aws-lc-rs`
//! (default), `ring` and `fips`, never by rustls's process-wide default.

mod backoff;
mod clock;
mod crypto;
mod manager;
pub mod material;
pub mod nats;
#[cfg(feature = "relay")]
pub mod relay;
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
#[cfg(feature = "relay")]
pub use relay::{Relay, RelaySettings};
pub use reload::ReloadOutcome;
pub use source::Files;
pub use store::{Generation, Snapshot};
pub use tls::{ServerNames, TlsVersions};
