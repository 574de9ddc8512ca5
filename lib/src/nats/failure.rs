//! Why a connection attempt failed, and who is to blame. async-nats reports an expired client
//! certificate as `IO error`; the true cause is in the error's source, or in a message.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use async_nats::{ConnectError, ConnectErrorKind};
use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// What a failed attempt means for the material it was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The server refused our certificate with a TLS alert.
    CertificateRefused,
    /// We did not accept the server's certificate.
    ServerUntrusted,
    /// The TLS identity was accepted, the user was not.
    Authorization,
    /// Nobody answered, or the answer says nothing about the material: outage, limit, throttling.
    Unavailable,
    /// This machine's platform root store cannot be loaded, so async-nats fails before it dials.
    PlatformRoots,
}

impl FailureKind {
    /// Whether this says something about the material, not about an outage.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::CertificateRefused | Self::ServerUntrusted | Self::Authorization
        )
    }

    /// The closed label of metrics and status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateRefused | Self::ServerUntrusted | Self::PlatformRoots => "tls",
            Self::Authorization => "auth",
            Self::Unavailable => "network",
        }
    }
}

/// One failed attempt: its kind and, in words, its true cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it means.
    pub kind: FailureKind,
    /// What happened, for people.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Unavailable, detail)
    }

    /// From the typed error of a first connect.
    pub(crate) fn from_connect_error(error: &ConnectError) -> Self {
        if error.kind() == ConnectErrorKind::AuthorizationViolation {
            return Self::authorization();
        }
        Self::from_error(error)
    }

    /// From any error that may have one of rustls below it.
    pub(crate) fn from_error(error: &(dyn StdError + 'static)) -> Self {
        match tls_error(error) {
            Some(tls) => Self::from_tls_error(tls),
            None => Self::from_message(&error.to_string()),
        }
    }

    fn from_tls_error(error: &TlsError) -> Self {
        match error {
            TlsError::AlertReceived(alert) => match certificate_alert(*alert) {
                Some(meaning) => Self::certificate_refused(meaning),
                None => Self::unavailable(format!("the server ended the handshake: {error}")),
            },
            TlsError::InvalidCertificate(cause) => Self::server_untrusted(cause),
            other => Self::unavailable(format!("TLS: {other}")),
        }
    }

    /// From the text that async-nats keeps of a reconnect attempt (`Server::last_error`).
    pub(crate) fn from_message(message: &str) -> Self {
        if let Some((_, alert)) = message.split_once("received fatal alert: ") {
            let meaning = CERTIFICATE_ALERTS
                .iter()
                .find(|(description, _)| alert.starts_with(&format!("{description:?}")));
            return match meaning {
                Some((_, meaning)) => Self::certificate_refused(meaning),
                None => Self::unavailable(format!("the server ended the handshake: {alert}")),
            };
        }
        if let Some((_, cause)) = message.split_once("invalid peer certificate: ") {
            return Self::new(
                FailureKind::ServerUntrusted,
                format!("the server's certificate is not trusted: {cause}"),
            );
        }
        if let Some((_, cause)) = message.split_once("could not load platform certs: ") {
            return Self::new(
                FailureKind::PlatformRoots,
                format!(
                    "the platform's root store cannot be loaded ({cause}), and async-nats loads it on \
                     every connect: unset or mend SSL_CERT_FILE and SSL_CERT_DIR"
                ),
            );
        }
        if message.to_lowercase().contains("authorization violation") {
            return Self::authorization();
        }
        Self::unavailable(message.strip_prefix("IO error: ").unwrap_or(message))
    }

    fn certificate_refused(meaning: &str) -> Self {
        Self::new(
            FailureKind::CertificateRefused,
            format!("the server refused the client certificate: {meaning}"),
        )
    }

    fn authorization() -> Self {
        Self::new(
            FailureKind::Authorization,
            "authorization violation: the server knows no user for this certificate or these credentials",
        )
    }

    fn server_untrusted(cause: &CertificateError) -> Self {
        let meaning = match cause {
            CertificateError::UnknownIssuer => {
                "unknown issuer, no root in the CA file leads to it".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("name mismatch, {cause}")
            }
            CertificateError::Revoked => "revoked by a configured CRL".to_owned(),
            other => other.to_string(),
        };
        Self::new(
            FailureKind::ServerUntrusted,
            format!("the server's certificate is not trusted: {meaning}"),
        )
    }
}

/// Alerts that speak about the client's certificate (RFC 8446, section 6.2), in OpenSSL's words.
const CERTIFICATE_ALERTS: [(AlertDescription, &str); 9] = [
    (AlertDescription::BadCertificate, "bad certificate"),
    (
        AlertDescription::UnsupportedCertificate,
        "unsupported certificate",
    ),
    (AlertDescription::CertificateRevoked, "certificate revoked"),
    (AlertDescription::CertificateExpired, "certificate expired"),
    (AlertDescription::CertificateUnknown, "certificate unknown"),
    (AlertDescription::UnknownCA, "unknown ca"),
    (AlertDescription::AccessDenied, "access denied"),
    (AlertDescription::DecryptError, "decrypt error"),
    (
        AlertDescription::CertificateRequired,
        "certificate required",
    ),
];

fn certificate_alert(alert: AlertDescription) -> Option<&'static str> {
    CERTIFICATE_ALERTS
        .iter()
        .find(|(description, _)| *description == alert)
        .map(|(_, meaning)| *meaning)
}

/// The rustls error somewhere below `error`.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<TlsError>() {
            return Some(tls);
        }
        // An io::Error's source() skips what it wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|wrapped| wrapped as &(dyn StdError + 'static));
        if let Some(tls) = wrapped.and_then(|wrapped| wrapped.downcast_ref::<TlsError>()) {
            return Some(tls);
        }
        next = error.source();
    }
    None
}

/// Whether the connection just ended, without a reason: an alert may have been lost with it.
pub(crate) fn is_cut_off(error: &ConnectError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if let Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) = kind {
            return true;
        }
        next = error.source();
    }
    // async-nats says this of an end of file during the NATS handshake.
    error.to_string().ends_with("broken pipe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_reconnect_attempts_are_understood() {
        use FailureKind::{
            Authorization, CertificateRefused, PlatformRoots, ServerUntrusted, Unavailable,
        };
        let cases = [
            (
                "IO error: received fatal alert: CertificateExpired",
                CertificateRefused,
                "certificate expired",
            ),
            (
                "IO error: received fatal alert: UnknownCA",
                CertificateRefused,
                "unknown ca",
            ),
            (
                "IO error: received fatal alert: HandshakeFailure",
                Unavailable,
                "HandshakeFailure",
            ),
            (
                "IO error: invalid peer certificate: UnknownIssuer",
                ServerUntrusted,
                "UnknownIssuer",
            ),
            (
                "authorization violation: nats: authorization violation",
                Authorization,
                "authorization violation",
            ),
            (
                "IO error: nats: maximum connections exceeded",
                Unavailable,
                "maximum connections exceeded",
            ),
            (
                "TLS error: could not load platform certs: x",
                PlatformRoots,
                "SSL_CERT_FILE",
            ),
            ("timed out", Unavailable, "timed out"),
        ];
        for (message, kind, detail) in cases {
            let failure = Failure::from_message(message);
            assert_eq!(failure.kind, kind, "{message}");
            assert!(failure.detail.contains(detail), "{message}: {failure}");
        }
    }

    #[test]
    fn every_alert_in_a_message_means_the_same_as_the_typed_one() {
        for (alert, _) in CERTIFICATE_ALERTS {
            let typed = TlsError::AlertReceived(alert);
            assert_eq!(
                Failure::from_message(&format!("IO error: {typed}")),
                Failure::from_tls_error(&typed)
            );
        }
    }
}
