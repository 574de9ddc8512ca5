//! A relay between a NATS client in plain text on loopback and nats-server over mutual TLS. When
//! the certificate changes it moves the client to a new upstream connection: the client's TCP
//! connection stays, and no message is lost, repeated or reordered.
//!
//! A byte tunnel cannot do this. INFO says `tls_required`, so an unmodified client would start TLS
//! with the tunnel; and a tunnel does not know where one operation ends and the next begins, so it
//! can never change the connection below a client that is busy.
//!
//! For clients of other processes there is `CertificateManager::relay`; `private` is the same for one
//! client of this process, `ConnectSettings::handover`.
//!
//! The layer is a functional core with thin shells. `protocol` turns bytes into operations and
//! back, and knows the boundaries between them; it owns no socket and no clock.
//!
//! Around one session: `listener` lets clients in, `dial` opens upstream connections,
//! `credentials` and `local` say who a client is on either side, `pace` says when a session
//! moves, `report` keeps the sums. `session` is one session, without I/O; `link` its shell.

mod admission;
mod credentials;
mod dial;
mod handle;
mod limits;
mod link;
mod listener;
mod local;
mod pace;
mod private;
mod protocol;
mod report;
mod session;
mod settings;
mod shared;
#[cfg(test)]
mod testbed;

pub use handle::{Relay, RelayError};
pub use limits::RelayLimits;
pub use listener::ListenError;
pub use local::LocalCredentials;
pub use report::{HandoverReason, RelayReport, SessionResult, Traffic};
pub use settings::{RelaySettings, RotationMode};

pub(crate) use private::open as open_private;
pub(crate) use report::{Board, RelayFailure};
