//! Words for people: dates, durations, warnings, columns, and text that others wrote. Pure: `now` is
//! an argument.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use nats_mtls::material::Warning;
use nats_mtls::report::timestamp;

/// Names longer than this push what follows out of the column instead of moving all of it.
const WIDEST: usize = 48;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// For a certificate that lives for years, a fifth of its life would be too early to shout.
const SOON: Duration = Duration::from_secs(30 * DAY);

/// What to do when no server answers.
pub(crate) const NOT_REACHABLE: &str = "Check host, port, DNS and network policy, that the server runs, and whether it wants --tls-first.";

/// When it ends, with a flag if that needs attention.
pub(crate) fn validity(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> String {
    let date = |time| timestamp(time).unwrap_or_else(|| "a date no calendar has".to_owned());
    if let Ok(wait) = not_before.duration_since(now)
        && !wait.is_zero()
    {
        return format!(
            "NOT YET VALID, valid in {} ({})",
            rough(wait),
            date(not_before)
        );
    }
    match not_after.duration_since(now) {
        Ok(remaining) => {
            let flag = if ends_soon(not_before, not_after, now) {
                "EXPIRES SOON, "
            } else {
                ""
            };
            format!(
                "{flag}expires in {} ({})",
                rough(remaining),
                date(not_after)
            )
        }
        Err(since) => format!(
            "EXPIRED {} ago ({})",
            rough(since.duration()),
            date(not_after)
        ),
    }
}

/// Whether somebody should renew it now; also once it has ended.
pub(crate) fn ends_soon(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> bool {
    let lifetime = not_after.duration_since(not_before).unwrap_or_default();
    let remaining = not_after.duration_since(now).unwrap_or_default();
    remaining < SOON.min(lifetime / 5)
}

/// Whole days; finer where days say too little.
pub(crate) fn rough(duration: Duration) -> String {
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

/// What a warning means.
pub(crate) const fn of_warning(warning: Warning) -> &'static str {
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
        Warning::Restored => {
            "the files were bad at the start: this is the last good set, as it was published before"
        }
        Warning::LocalClock => "everything has expired by the local clock; the clock may be wrong",
        _ => "see the documentation",
    }
}

/// As [`of_warning`], for a name that may be unknown here.
pub(crate) fn of_warning_named(name: &str) -> &'static str {
    const ALL: [Warning; 9] = [
        Warning::EarlierExpiry,
        Warning::IdentityChanged,
        Warning::KeyChanged,
        Warning::IntermediateOrder,
        Warning::ExpiredRoot,
        Warning::ExpiredCrl,
        Warning::PinnedMount,
        Warning::LocalClock,
        Warning::Restored,
    ];
    let known = ALL.into_iter().find(|warning| warning.as_str() == name);
    known.map_or("see the documentation", of_warning)
}

/// Certificates and servers are not trusted to write to a terminal: neither escapes nor marks that
/// turn the direction of what follows.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if misleads(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Whether a terminal would do something else with it than show it where it stands.
pub(crate) fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As [`printable`], and not longer than anyone reads.
pub(crate) fn brief(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut characters = text.chars();
    let mut kept = printable(&characters.by_ref().take(LONGEST).collect::<String>());
    if characters.next().is_some() {
        kept.push('…');
    }
    kept
}

/// Names in a column, and what there is to say of each.
pub(crate) fn write_table(page: &mut String, rows: &[(String, String)]) -> fmt::Result {
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or_default()
        .min(WIDEST);
    for (name, rest) in rows {
        let row = format!("  {name:<width$}  {rest}");
        writeln!(page, "{}", row.trim_end())?;
    }
    Ok(())
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
        assert_eq!(printable("gnp.\u{202e}exe"), "gnp.\u{fffd}exe");
    }
}
