//! Who broke the protocol, and what is said about it.

use crate::relay::protocol::{InfoError, ProtocolError};

/// The client broke the protocol or a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("more subscriptions than the relay allows for one client")]
    TooManySubscriptions,
    #[error("a second CONNECT")]
    SecondConnect,
}

impl ClientError {
    /// What nats-server itself would say, for `-ERR '…'`.
    pub(crate) fn answer(&self) -> &'static str {
        match self {
            Self::Protocol(error) => error.answer(),
            Self::TooManySubscriptions => "maximum subscriptions exceeded",
            Self::SecondConnect => "Parser Error",
        }
    }
}

/// The server broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("the server sent what is not NATS: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the server sent an INFO that cannot be read: {0}")]
    Info(#[from] InfoError),
}
