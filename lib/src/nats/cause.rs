//! Why a connection went down, or stayed down: the closed list, and what async-nats lets us know of it.

use async_nats::ServerError;

use crate::nats::failure::FailureKind;

/// Why a connection went down, or what it stayed down for. A disconnect has the cause that started it;
/// the reconnect that ends the outage has the same, or [`Cause::Tls`] or [`Cause::Auth`] if that is
/// what servers refused the client for meanwhile.
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
    /// A certificate was refused, by a server or by us, while the client tried to come back: whatever
    /// the connection went down for, this kept it down. Never the cause of a disconnect: async-nats
    /// does not say how a live connection ended, and a live one is never asked for its certificate.
    Tls,
    /// The user is not, or no longer, authorized: said to a live connection (credentials changed or
    /// expired), or to the client when it tried to come back. nats-server says nothing to a user that
    /// a reload took away; its disconnect is [`Cause::Network`], its reconnect this.
    Auth,
    /// The server said that it cuts a client that read too slowly. nats-server 2.14 and later says so
    /// only in its own log and just closes the connection, which is [`Cause::Network`].
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

    /// What an attempt to come back failed for, if it was refused and not just not answered.
    pub(crate) const fn of_failure(kind: FailureKind) -> Option<Self> {
        match kind {
            FailureKind::CertificateRefused
            | FailureKind::ServerUntrusted
            | FailureKind::PlatformRoots => Some(Self::Tls),
            FailureKind::Authorization => Some(Self::Auth),
            FailureKind::Unavailable => None,
        }
    }

    /// What a server's `-ERR` says about the disconnect that follows. Whole messages of nats-server:
    /// others quote a subject, which may hold any word.
    pub(crate) fn of_server_error(error: &ServerError) -> Option<Self> {
        let message = match error {
            ServerError::AuthorizationViolation => return Some(Self::Auth),
            ServerError::SlowConsumer(_) => return Some(Self::SlowConsumer),
            ServerError::Other(message) => message.to_lowercase(),
        };
        match message.as_str() {
            "slow consumer" | "slow consumer detected" => Some(Self::SlowConsumer),
            "server shutdown" => Some(Self::ServerShutdown),
            "authorization violation"
            | "authentication error"
            | "authentication timeout"
            | "authentication expired"
            | "user authentication expired"
            | "user authentication revoked"
            | "account authentication expired" => Some(Self::Auth),
            _ => None,
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
            ("Account Authentication Expired", Some(Cause::Auth)),
            (
                r#"Permissions Violation for Publish to "orders.authorization.new""#,
                None,
            ),
            (
                r#"Permissions Violation for Subscription to "server shutdown.slow consumer""#,
                None,
            ),
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
