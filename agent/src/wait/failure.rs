//! Why the waiting was in vain: each server, how often it was tried and the true cause, or what is
//! wrong with the files; and what to do.

use std::fmt::{self, Write as _};

use nats_mtls::BuildError;
use nats_mtls::material::Reason;
use nats_mtls::nats::{ConnectionError, FailureKind, ServerAttempts};

use crate::start::StartError;
use crate::words::{NOT_REACHABLE, brief, write_table};

/// What to do; none where the error says it itself.
pub(super) fn advice(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::Build(BuildError::NoMaterial { rejection, .. }) => rejection
            .as_ref()
            .map(|rejection| rejection.reason.advice()),
        StartError::Connect(ConnectionError::NotConnected { attempts, .. }) => {
            Some(advice_about(attempts))
        }
        _ => None,
    }
}

/// A refusal is more telling than silence.
fn advice_about(attempts: &[ServerAttempts]) -> &'static str {
    let failures = attempts
        .iter()
        .filter_map(|attempt| attempt.last_failure.as_ref());
    let advice = failures.filter_map(|failure| match failure.kind {
        FailureKind::CertificateRefused | FailureKind::Authorization => {
            Some(Reason::ServerRefused.advice())
        }
        FailureKind::ServerUntrusted => Some(Reason::ServerUntrusted.advice()),
        FailureKind::PlatformRoots => Some("Unset or mend SSL_CERT_FILE and SSL_CERT_DIR."),
        _ => None,
    });
    advice.into_iter().next().unwrap_or(NOT_REACHABLE)
}

/// For a person at a terminal.
pub(super) fn page(error: &StartError) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    draw(&mut page, error).ok();
    page.trim_end().to_owned()
}

fn draw(page: &mut String, error: &StartError) -> fmt::Result {
    match error {
        StartError::Connect(ConnectionError::NotConnected { waited, attempts }) => {
            writeln!(page, "error: no NATS connection within {waited:.1?}")?;
            let rows: Vec<_> = attempts.iter().map(row).collect();
            write_table(page, &rows)?;
        }
        StartError::Build(BuildError::NoMaterial { waited, rejection }) => {
            writeln!(page, "error: no valid set within {waited:.1?}")?;
            if let Some(rejection) = rejection {
                writeln!(page, "  {}", brief(&rejection.to_string()))?;
            }
        }
        other => writeln!(page, "error: {}", brief(&other.to_string()))?,
    }
    match advice(error) {
        Some(advice) => writeln!(page, "\nWhat to do\n  {advice}"),
        None => Ok(()),
    }
}

fn row(attempt: &ServerAttempts) -> (String, String) {
    let server = brief(&attempt.server);
    let failure = attempt.last_failure.as_ref();
    let cause = failure.map_or_else(
        || "no answer in time".into(),
        |failure| brief(&failure.detail),
    );
    let times = match attempt.attempts {
        0 => return (server, "not tried, no time was left for it".to_owned()),
        1 => "1 attempt".to_owned(),
        more => format!("{more} attempts, the last"),
    };
    (server, format!("{times}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nats_mtls::material::Rejection;
    use nats_mtls::nats::Failure;

    use super::*;

    fn attempt(
        server: &str,
        attempts: u32,
        failure: Option<(FailureKind, &str)>,
    ) -> ServerAttempts {
        ServerAttempts {
            server: server.to_owned(),
            attempts,
            last_failure: failure.map(|(kind, detail)| Failure {
                kind,
                detail: detail.to_owned(),
            }),
        }
    }

    fn not_connected(attempts: Vec<ServerAttempts>) -> StartError {
        let waited = Duration::from_millis(45_040);
        StartError::Connect(ConnectionError::NotConnected { waited, attempts })
    }

    #[test]
    fn each_server_is_listed_with_attempts_and_cause() {
        let error = not_connected(vec![
            attempt(
                "a:4222",
                9,
                Some((FailureKind::Unavailable, "connection refused")),
            ),
            attempt("b.example.com:4222", 1, None),
            attempt("c:4222", 0, None),
        ]);
        let expected = "\
error: no NATS connection within 45.0s
  a:4222              9 attempts, the last: connection refused
  b.example.com:4222  1 attempt: no answer in time
  c:4222              not tried, no time was left for it

What to do
  Check host, port, DNS and network policy, that the server runs, and whether it wants --tls-first.";
        assert_eq!(page(&error), expected);
    }

    #[test]
    fn a_refusal_gives_the_advice() {
        use FailureKind::{
            Authorization, CertificateRefused, PlatformRoots, ServerUntrusted, Unavailable,
        };
        let cases = [
            (Unavailable, NOT_REACHABLE),
            (CertificateRefused, Reason::ServerRefused.advice()),
            (Authorization, Reason::ServerRefused.advice()),
            (ServerUntrusted, Reason::ServerUntrusted.advice()),
            (
                PlatformRoots,
                "Unset or mend SSL_CERT_FILE and SSL_CERT_DIR.",
            ),
        ];
        for (kind, words) in cases {
            let silent = attempt("a:4222", 1, Some((Unavailable, "x")));
            let error = not_connected(vec![silent, attempt("b:4222", 1, Some((kind, "y")))]);
            assert_eq!(advice(&error), Some(words), "{kind:?}");
        }
    }

    #[test]
    fn a_rejection_comes_with_its_advice() {
        let rejection = Rejection {
            reason: Reason::KeyMismatch,
            part: None,
            detail: "tls.key: \u{1b}[2J".to_owned(),
        };
        let error = StartError::Build(BuildError::NoMaterial {
            waited: Duration::from_secs(15),
            rejection: Some(rejection),
        });
        let page = page(&error);
        assert!(
            page.contains("\n  key_mismatch: tls.key: \u{fffd}[2J\n"),
            "{page}"
        );
        assert!(page.ends_with(Reason::KeyMismatch.advice()), "{page}");
    }
}
