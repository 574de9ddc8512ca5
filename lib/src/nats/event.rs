//! What is told of the life of a connection: its events, and where it is. Owns the words; which of them
//! is true is decided in `lifecycle`.

use std::time::Duration;

use crate::nats::cause::Cause;
use crate::store::Generation;

/// Something that a dependent of the connection may want to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Up for the first time.
    Connected {
        /// Of the certificate that was presented.
        generation: Generation,
    },
    /// Down; the client reconnects by itself.
    Disconnected {
        /// Why.
        cause: Cause,
    },
    /// Up again: rebuild what the server may have forgotten.
    Reconnected {
        /// How long the connection was down; zero if nobody saw it, because the client's events were
        /// lost and it was over within the second between two looks.
        outage: Duration,
        /// What servers refused the client for meanwhile, else why it had gone down.
        cause: Cause,
        /// Of the certificate that was presented.
        generation: Generation,
    },
    /// Over for good.
    Closed,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Not up yet.
    Connecting,
    /// Up.
    Connected,
    /// Down, and trying.
    Disconnected,
    /// Finishing what is buffered, then closed.
    Draining,
    /// Over for good.
    Closed,
}

impl ConnectionState {
    /// The name in `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}
