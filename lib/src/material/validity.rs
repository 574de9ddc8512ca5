//! Dates: when a chain is valid, and how that is said to people. Owns the comparison with `now`;
//! must not read a clock.

use std::fmt;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::certificate::Certificate;
use super::policy::Policy;
use super::reason::{Reason, Rejection};
use crate::source::PartKind;

/// When every certificate of a chain is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    /// The latest beginning and the earliest end.
    pub(super) fn of<'c, 'a: 'c>(chain: impl Iterator<Item = &'c Certificate<'a>>) -> Self {
        let everything = Self {
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
        };
        chain
            .map(|certificate| Self {
                not_before: certificate.facts.not_before,
                not_after: certificate.facts.not_after,
            })
            .reduce(|one, other| Self {
                not_before: one.not_before.max(other.not_before),
                not_after: one.not_after.min(other.not_after),
            })
            .unwrap_or(everything)
    }
}

/// Rejects a certificate from the future.
pub(super) fn check_begun(
    certificate: &Certificate<'_>,
    policy: &Policy,
    now: SystemTime,
) -> Result<(), Rejection> {
    let begin = certificate.facts.not_before;
    let tolerated = now.checked_add(policy.clock_skew).unwrap_or(now);
    if tolerated >= begin {
        return Ok(());
    }
    let detail = format!(
        "{certificate} is not valid for another {}, until {} (notBefore)",
        Span::between(now, begin),
        Timestamp(begin)
    );
    Err(Rejection::of(
        PartKind::Certificate,
        Reason::NotYetValid,
        detail,
    ))
}

/// Rejects a certificate from the past.
pub(super) fn check_not_ended(
    certificate: &Certificate<'_>,
    now: SystemTime,
) -> Result<(), Rejection> {
    let end = certificate.facts.not_after;
    if now <= end {
        return Ok(());
    }
    let detail = format!(
        "{certificate} expired {} ago, on {} (notAfter)",
        Span::between(end, now),
        Timestamp(end)
    );
    Err(Rejection::of(
        PartKind::Certificate,
        Reason::Expired,
        detail,
    ))
}

/// RFC 3339 in UTC.
pub(super) struct Timestamp(pub(super) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = match self.0.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).ok(),
            Err(before) => i64::try_from(before.duration().as_secs()).ok().map(|s| -s),
        };
        let text = seconds
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .and_then(|time| time.format(&Rfc3339).ok());
        f.write_str(text.as_deref().unwrap_or("a date out of range"))
    }
}

/// A length of time in its largest whole unit: "3 days", "1 hour".
pub(super) struct Span(Duration);

impl Span {
    fn between(earlier: SystemTime, later: SystemTime) -> Self {
        Self(later.duration_since(earlier).unwrap_or_default())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (count, unit) = match seconds {
            86_400.. => (seconds / 86_400, "day"),
            3_600.. => (seconds / 3_600, "hour"),
            60.. => (seconds / 60, "minute"),
            _ => (seconds, "second"),
        };
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_their_largest_unit() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "1 minute"),
            (7_200, "2 hours"),
            (86_400, "1 day"),
            (400 * 86_400, "400 days"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), expected);
        }
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        let at = |seconds| Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(at(253_402_300_799).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(at(253_402_300_800).to_string(), "a date out of range");
        let before = Timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(before.to_string(), "1969-12-31T23:59:59Z");
    }
}
