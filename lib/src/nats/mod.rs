//! Live connections: made by a startup policy, asked for by a gate, moved in a controlled way.
//!
//! Owns everything that speaks to async-nats. Must not read files or decide what is published.

mod arrival;
mod authentication;
mod cause;
mod connect;
mod connection;
mod driver;
mod event;
mod explanation;
mod failure;
mod farewell;
#[cfg(feature = "relay")]
mod hop;
mod journal;
mod lifecycle;
mod passes;
mod preflight;
mod pulse;
mod registry;
mod rehearsal;
mod rotation;
mod servers;
mod settings;
mod startup;
mod story;
mod totals;
mod way;
mod wires;

pub use authentication::{Authentication, AuthenticationError, AuthenticationFuture, Secret};
pub use cause::Cause;
pub use connect::ConnectionError;
pub use connection::{Connection, ConnectionReport};
pub use event::{ConnectionEvent, ConnectionState};
pub use failure::{Failure, FailureKind};
pub use preflight::preflight;
#[doc(hidden)]
pub use rehearsal::Rehearsal;
pub use servers::{IntoServerList, ServerList, ServerListError};
pub use settings::ConnectSettings;
pub use startup::{ServerAttempts, StartupBudget, StartupPolicy};
pub use totals::{ByCause, ConnectionTotals, FailedAttempts};

#[cfg(feature = "relay")]
pub(crate) use arrival::Place;
pub(crate) use connect::connect;
pub(crate) use driver::Shared;
#[cfg(feature = "relay")]
pub(crate) use hop::{FarClient, FarWriter, Hop, Prepared, PrivateRelay, far_end};
pub(crate) use journal::Observation;
#[cfg(feature = "relay")]
pub(crate) use passes::Pass;
pub(crate) use preflight::Preflight;
#[cfg(any(test, feature = "relay"))]
pub(crate) use registry::Registration;
pub(crate) use registry::Registry;
#[cfg(feature = "relay")]
pub(crate) use servers::label as server_label;
#[cfg(feature = "relay")]
pub(crate) use way::Finished;
pub(crate) use way::Way;
