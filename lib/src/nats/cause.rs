//! Why a connection went down: the closed list, and what async-nats lets us know of it.

use async_nats::ServerError;

/// Why a connection went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Moved onto a new generation.
    Rotation,
    /// Moved back onto older material.
    Rollback,
    /// Moved away from a server that is about to shut down.
    LameDuck,
    /// The server said that it shuts down. nats-server says so in lame duck mode only; stopped
    /// with SIGTERM or killed it just closes the connection, which is [`Cause::Network`].
    ServerShutdown,
    /// Nobody said anything: a cut or dead network, a server that ended.
    Network,
    /// TLS ended a live connection. A certificate that is refused while reconnecting is no cause
    /// of the disconnect; the report's `last_error` has it.
    Tls,
    /// The user is not, or no longer, authorized.
    Auth,
    /// The server cut a client that read too slowly.
    SlowConsumer,
    /// The application drained or closed the connection.
    Client,
}

impl Cause {
    /// Every cause, for closed label sets.
    pub const ALL: [Self; 9] = [
        Self::Rotation,
        Self::Rollback,
        Self::LameDuck,
        Self::ServerShutdown,
        Self::Network,
        Self::Tls,
        Self::Auth,
        Self::SlowConsumer,
        Self::Client,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Rollback => "rollback",
            Self::LameDuck => "lame_duck",
            Self::ServerShutdown => "server_shutdown",
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::SlowConsumer => "slow_consumer",
            Self::Client => "client",
        }
    }

    /// What a server's `-ERR` says about the disconnect that follows.
    pub(crate) fn of_server_error(error: &ServerError) -> Option<Self> {
        let message = match error {
            ServerError::AuthorizationViolation => return Some(Self::Auth),
            ServerError::SlowConsumer(_) => return Some(Self::SlowConsumer),
            ServerError::Other(message) => message.to_lowercase(),
        };
        if message.contains("slow consumer") {
            Some(Self::SlowConsumer)
        } else if message.contains("authoriz") || message.contains("authentication") {
            Some(Self::Auth)
        } else if message.contains("server shutdown") {
            Some(Self::ServerShutdown)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_understood() {
        let cases = [
            ("User Authentication Expired", Some(Cause::Auth)),
            ("User Authentication Revoked", Some(Cause::Auth)),
            ("Authentication Timeout", Some(Cause::Auth)),
            ("Slow Consumer Detected", Some(Cause::SlowConsumer)),
            ("Server Shutdown", Some(Cause::ServerShutdown)),
            ("Stale Connection", None),
            (r#"Permissions Violation for Publish to "a""#, None),
        ];
        for (message, cause) in cases {
            let error = ServerError::Other(message.to_owned());
            assert_eq!(Cause::of_server_error(&error), cause, "{message}");
        }
        let violation = ServerError::AuthorizationViolation;
        assert_eq!(Cause::of_server_error(&violation), Some(Cause::Auth));
    }

    #[test]
    fn the_list_is_in_the_order_of_the_enum() {
        for (position, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, position);
        }
    }
}
