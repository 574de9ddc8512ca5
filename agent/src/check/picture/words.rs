//! Words for dates, warnings and failures. Pure: `now` is an argument.

use std::time::{Duration, SystemTime};

use nats_mtls::material::{CertificateFacts, Warning};
use nats_mtls::report::timestamp;

use crate::check::findings::{AnswerResult, Findings, Verdict};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// For a certificate that lives for years, a fifth of its life would be too early to shout.
const SOON: Duration = Duration::from_secs(30 * DAY);

/// When it ends, with a flag if that needs attention.
pub(super) fn validity(facts: &CertificateFacts, now: SystemTime) -> String {
    let date = |time| timestamp(time).unwrap_or_else(|| "a date no calendar has".to_owned());
    if let Ok(wait) = facts.not_before.duration_since(now)
        && !wait.is_zero()
    {
        return format!(
            "NOT YET VALID, valid in {} ({})",
            rough(wait),
            date(facts.not_before)
        );
    }
    match facts.not_after.duration_since(now) {
        Ok(remaining) => {
            let lifetime = facts.not_after.duration_since(facts.not_before);
            let soon = SOON.min(lifetime.unwrap_or_default() / 5);
            let flag = if remaining < soon {
                "EXPIRES SOON, "
            } else {
                ""
            };
            format!(
                "{flag}expires in {} ({})",
                rough(remaining),
                date(facts.not_after)
            )
        }
        Err(since) => format!(
            "EXPIRED {} ago ({})",
            rough(since.duration()),
            date(facts.not_after)
        ),
    }
}

/// Whole days; finer where days say too little.
fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let count = |number: u64, unit: &str| match number {
        1 => format!("1 {unit}"),
        _ => format!("{number} {unit}s"),
    };
    if seconds >= 2 * DAY {
        count(seconds / DAY, "day")
    } else if seconds >= 2 * HOUR {
        count(seconds / HOUR, "hour")
    } else if seconds >= 2 * MINUTE {
        count(seconds / MINUTE, "minute")
    } else {
        count(seconds, "second")
    }
}

/// What is wrong, in a sentence; none if nothing is.
pub(in crate::check) fn wrong(findings: &Findings) -> Option<String> {
    let details = |result: fn(AnswerResult) -> bool| {
        let answers = findings.servers.iter();
        let answers = answers.filter(|answer| result(answer.result));
        let details = answers.map(|answer| {
            let detail = answer.detail.as_deref().unwrap_or("no detail");
            format!("{}: {detail}", answer.server)
        });
        details.collect::<Vec<_>>().join("; ")
    };
    match findings.verdict() {
        Verdict::Accepted => None,
        Verdict::Refused(_) => match &findings.rejection {
            Some(rejection) => Some(rejection.detail.clone()),
            None => Some(details(|result| matches!(result, AnswerResult::Refused(_)))),
        },
        Verdict::TooShort => {
            let until = findings.valid_until?;
            let remaining = until.duration_since(findings.now).unwrap_or_default();
            Some(format!(
                "the chain is valid for another {}; {} are asked for",
                rough(remaining),
                rough(findings.min_validity.unwrap_or_default())
            ))
        }
        Verdict::NotReachable | Verdict::NotAsked => Some(details(|_| true)),
    }
}

/// What to do about a verdict.
pub(in crate::check) const fn advice(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Accepted => None,
        Verdict::Refused(reason) => Some(reason.advice()),
        Verdict::TooShort => Some("Renew the certificate, or its issuer if that ends first."),
        Verdict::NotReachable => Some(
            "Check host, port, DNS and network policy, that the server runs, and whether it wants --tls-first.",
        ),
        Verdict::NotAsked => Some("Mend what this machine lacks, as named above, and ask again."),
    }
}

pub(super) const fn of_warning(warning: Warning) -> &'static str {
    match warning {
        Warning::EarlierExpiry => "the new leaf expires before the one it replaces",
        Warning::IdentityChanged => "the names that NATS maps to a user changed",
        Warning::KeyChanged => {
            "the public key changed; pinned_certs on the server would no longer match"
        }
        Warning::IntermediateOrder => {
            "the intermediates are not in the order from leaf to root; some servers refuse that"
        }
        Warning::ExpiredRoot => "a root in the CA file has expired; remove it when nobody needs it",
        Warning::ExpiredCrl => "a revocation list is past its next update; fetch a fresh one",
        Warning::PinnedMount => "a file is a mount point of its own and can never change",
        Warning::LocalClock => "everything has expired by the local clock; the clock may be wrong",
        _ => "see the documentation",
    }
}

/// Certificates and servers are not trusted to write to a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rough_but_never_too_long() {
        let cases = [
            (0, "0 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (2 * HOUR, "2 hours"),
            (2 * DAY - 1, "47 hours"),
            (30 * DAY - 1, "29 days"),
        ];
        for (seconds, words) in cases {
            assert_eq!(rough(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn terminal_escapes_do_not_pass() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
