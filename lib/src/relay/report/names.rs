//! The closed sets of a relay's labels.

use crate::nats::FailureKind;

/// What became of one client of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionResult {
    /// It was connected to a server.
    Accepted,
    /// There were as many clients as there may be.
    Limit,
    /// It did not know the local credentials.
    Unauthorized,
    /// It sent no CONNECT in time.
    Timeout,
    /// What it sent before or as its CONNECT was no NATS.
    Protocol,
    /// No server could be reached as long as the patience lasted.
    Unavailable,
    /// The server answered, and did not want it.
    Refused,
    /// It left before it was connected, as port scanners and TCP probes do.
    Left,
}

impl SessionResult {
    /// Every result, for closed label sets.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Limit,
        Self::Unauthorized,
        Self::Timeout,
        Self::Protocol,
        Self::Unavailable,
        Self::Refused,
        Self::Left,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Limit => "limit",
            Self::Unauthorized => "unauthorized",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Left => "left",
        }
    }
}

/// Why a handover was given up, or could not even be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandoverReason {
    /// No server could be reached.
    Dial,
    /// TLS: a certificate was not accepted, on either side.
    Tls,
    /// The server knows no user for the certificate or the credentials.
    Auth,
    /// The server answered, and refused for another reason, such as its connection limit.
    Refused,
    /// The new identity may not subscribe to what the old one could.
    SubscriptionDenied,
    /// A step took too long.
    Timeout,
    /// The client took too little of what waited for it.
    SlowClient,
    /// The old or the new connection died on the way.
    UpstreamLost,
    /// A server sent what is not NATS.
    Protocol,
    /// The client signed the nonce of one connection: nobody but itself can connect again.
    SignedNonce,
    /// The old certificate is about to expire.
    Expiry,
    /// The settings say so.
    Configured,
    /// The client left, broke or was closed on the way.
    ClientLeft,
}

impl HandoverReason {
    /// Every reason, for closed label sets.
    pub const ALL: [Self; 13] = [
        Self::Dial,
        Self::Tls,
        Self::Auth,
        Self::Refused,
        Self::SubscriptionDenied,
        Self::Timeout,
        Self::SlowClient,
        Self::UpstreamLost,
        Self::Protocol,
        Self::SignedNonce,
        Self::Expiry,
        Self::Configured,
        Self::ClientLeft,
    ];

    /// Whether a client that connects again by itself may get what the relay could not give it. Whoever
    /// is refused a second connection would be refused the next one too.
    pub(crate) const fn ends_with_a_reconnect(self) -> bool {
        match self {
            Self::SubscriptionDenied
            | Self::Timeout
            | Self::SlowClient
            | Self::SignedNonce
            | Self::Configured => true,
            Self::Dial
            | Self::Tls
            | Self::Auth
            | Self::Refused
            | Self::UpstreamLost
            | Self::Protocol
            | Self::Expiry
            | Self::ClientLeft => false,
        }
    }

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dial => "dial",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Refused => "refused",
            Self::SubscriptionDenied => "subscription_denied",
            Self::Timeout => "timeout",
            Self::SlowClient => "slow_client",
            Self::UpstreamLost => "upstream_lost",
            Self::Protocol => "protocol",
            Self::SignedNonce => "signed_nonce",
            Self::Expiry => "expiry",
            Self::Configured => "configured",
            Self::ClientLeft => "client_left",
        }
    }
}

impl From<FailureKind> for HandoverReason {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::CertificateRefused
            | FailureKind::ServerUntrusted
            | FailureKind::PlatformRoots => Self::Tls,
            FailureKind::Authorization => Self::Auth,
            FailureKind::Unavailable => Self::Dial,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_a_contract() {
        assert_eq!(
            SessionResult::ALL.map(SessionResult::as_str).join(" "),
            "accepted limit unauthorized timeout protocol unavailable refused left"
        );
        assert_eq!(
            HandoverReason::ALL.map(HandoverReason::as_str).join(" "),
            "dial tls auth refused subscription_denied timeout slow_client upstream_lost protocol \
             signed_nonce expiry configured client_left"
        );
    }

    #[test]
    fn the_lists_are_in_the_order_of_the_enums() {
        for (position, result) in SessionResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, position);
        }
        for (position, reason) in HandoverReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
        }
    }
}
