//! Why there is no upstream connection: what each server did, and who is to blame.

use std::fmt::{self, Write as _};
use std::io;

use crate::nats::{Failure, FailureKind, ServerList, server_label};
use crate::relay::report::{HandoverReason, SessionResult};

/// Why there is no upstream connection. Never holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DialError {
    /// Nothing is published, so nobody was asked.
    #[error("no material is published yet")]
    NoMaterial,
    /// Nobody had answered when the patience was over.
    #[error("no server answered in time")]
    Silence,
    /// The credentials that this process holds cannot be used.
    #[error("the credentials for NATS cannot be used: {0}")]
    Credentials(String),
    /// Every server failed.
    #[error("no server accepted the connection{}", list(.attempts))]
    Servers { attempts: Vec<Attempt> },
}

/// One server that was tried.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// `host:port` as configured.
    pub(crate) server: String,
    pub(crate) refusal: Refusal,
}

/// What one attempt failed of.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// Network, TLS, or silence.
    Failed(Failure),
    /// The connection just ended: an alert may have been lost with it.
    CutOff(Failure),
    /// The text of the server's `-ERR`.
    Said(String),
}

impl Refusal {
    /// Whether another try may tell more.
    pub(super) const fn is_cut_off(&self) -> bool {
        matches!(self, Self::CutOff(_))
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::Failed(failure) | Self::CutOff(failure) => failure.kind,
            Self::Said(text) => Failure::from_message(text).kind,
        }
    }

    /// What it says about the material, and in words.
    fn failure(&self) -> Failure {
        match self {
            Self::Failed(failure) | Self::CutOff(failure) => failure.clone(),
            Self::Said(text) => match Failure::from_message(text) {
                refusal if refusal.kind.is_refusal() => refusal,
                _ => Failure::unavailable(self.to_string()),
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) | Self::CutOff(failure) => failure.fmt(f),
            Self::Said(text) => write!(f, "the server answered -ERR '{text}'"),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let failure = Failure::from_error(&error);
        if is_cut_off(&error) {
            Self::CutOff(failure)
        } else {
            Self::Failed(failure)
        }
    }
}

fn is_cut_off(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().fold(String::new(), |mut text, attempt| {
        // Writing to a String cannot fail.
        write!(text, "; {}: {}", attempt.server, attempt.refusal).ok();
        text
    })
}

impl DialError {
    fn attempts(&self) -> &[Attempt] {
        match self {
            Self::NoMaterial | Self::Silence | Self::Credentials(_) => &[],
            Self::Servers { attempts } => attempts,
        }
    }

    /// The most telling kind: a refusal says more than an outage.
    pub(crate) fn kind(&self) -> FailureKind {
        if let Self::Credentials(_) = self {
            return FailureKind::Authorization;
        }
        let kinds = self.attempts().iter().map(|attempt| attempt.refusal.kind());
        let telling = kinds.into_iter().find(|kind| kind.is_refusal());
        telling.unwrap_or(FailureKind::Unavailable)
    }

    /// What each server did. If none was asked, they share the cause, which is no fault of theirs.
    pub(crate) fn failures(&self, servers: &ServerList) -> Vec<(String, Failure)> {
        match self {
            Self::Servers { attempts } => {
                let all = attempts.iter();
                let all = all.map(|attempt| (attempt.server.clone(), attempt.refusal.failure()));
                all.collect()
            }
            Self::NoMaterial | Self::Silence | Self::Credentials(_) => {
                let failure = Failure::unavailable(self.to_string());
                let all = servers.addresses().iter();
                let all = all.map(|server| (server_label(server), failure.clone()));
                all.collect()
            }
        }
    }

    /// What a server said to the client's CONNECT, for the client.
    pub(crate) fn said(&self) -> Option<&str> {
        self.attempts()
            .iter()
            .find_map(|attempt| match &attempt.refusal {
                Refusal::Said(text) => Some(text.as_str()),
                Refusal::Failed(_) | Refusal::CutOff(_) => None,
            })
    }

    /// Whether another try soon may end differently without anybody doing anything.
    pub(crate) fn is_outage(&self) -> bool {
        self.kind() == FailureKind::Unavailable && self.said().is_none()
    }

    /// What a handover that ends of this is called.
    pub(crate) fn handover_reason(&self) -> HandoverReason {
        match (self.kind(), self.said()) {
            (FailureKind::Unavailable, Some(_)) => HandoverReason::Refused,
            (kind, _) => kind.into(),
        }
    }

    /// What a session that ends of this is called.
    pub(crate) fn session_result(&self) -> SessionResult {
        if self.is_outage() {
            SessionResult::Unavailable
        } else {
            SessionResult::Refused
        }
    }
}

/// What a server said, fit for logs and for passing on: one line, no escapes, not endless.
pub(super) fn printable(text: &[u8]) -> String {
    const LONGEST: usize = 256;
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| match c {
            '\'' => '"',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(refusals: Vec<Refusal>) -> DialError {
        let attempts = refusals.into_iter().map(|refusal| Attempt {
            server: "nats:4222".into(),
            refusal,
        });
        DialError::Servers {
            attempts: attempts.collect(),
        }
    }

    #[test]
    fn the_most_telling_server_decides_what_it_is_called() {
        let outage = || Refusal::Failed(Failure::unavailable("connection refused"));
        let tls = || Refusal::Failed(Failure::new(FailureKind::CertificateRefused, "expired"));
        let said = |text: &str| Refusal::Said(text.into());
        let cases = [
            (vec![outage(), outage()], HandoverReason::Dial, true),
            (vec![outage(), tls()], HandoverReason::Tls, false),
            (
                vec![outage(), said("Authorization Violation")],
                HandoverReason::Auth,
                false,
            ),
            (
                vec![said("maximum connections exceeded"), outage()],
                HandoverReason::Refused,
                false,
            ),
        ];
        for (refusals, reason, outage) in cases {
            let error = error(refusals);
            assert_eq!(error.handover_reason(), reason, "{error}");
            assert_eq!(error.is_outage(), outage, "{error}");
        }
        assert!(DialError::NoMaterial.is_outage());
        assert!(DialError::Silence.is_outage());
    }

    #[test]
    fn what_a_server_says_cannot_break_out_of_its_quotes() {
        assert_eq!(
            printable(b"a'\r\n\x1b[2J"),
            "a\"\u{fffd}\u{fffd}\u{fffd}[2J"
        );
        assert_eq!(printable(&[b'x'; 9000]).len(), 256);
    }
}
