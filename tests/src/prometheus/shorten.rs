//! The same rules for a world in which time runs faster: every `for`, interval, `[window]`, offset
//! and number of seconds is divided by one factor. Nothing else changes, no threshold either.
//!
//! A number in an expression does not say whether it is a time, so all of them are listed here;
//! one that is in neither list is an error. That keeps whoever changes a rule from shortening
//! half of it.

use anyhow::{Context as _, Result, bail, ensure};

use super::rules::{Group, milliseconds};

/// Seconds that something is compared with.
const TIMES: [f64; 2] = [600.0, 86_400.0];

/// Shares, counts, days (of 86,400 s) and burn rates; and the interval over the window of a sum (`* 30 / 3600`), which
/// stays the same when both are divided.
const NUMBERS: [f64; 19] = [
    0.0, 0.001, 0.15, 0.33, 1.0, 5.0, 6.0, 7.0, 8.0, 10.0, 14.4, 30.0, 90.0, 365.0, 1095.0, 1800.0,
    3600.0, 21_600.0, 259_200.0,
];

/// Divides every time in `groups` by `factor`.
///
/// # Errors
/// When an expression has a number of unknown kind, or a duration becomes shorter than Prometheus
/// can tell.
pub fn shorten(groups: &[Group], factor: u32) -> Result<Vec<Group>> {
    let factor = f64::from(factor);
    let mut shorter = groups.to_vec();
    for group in &mut shorter {
        group.interval = divided(group.interval, factor)?;
        for rule in &mut group.rules {
            rule.duration = divided(rule.duration, factor)?;
            rule.query =
                expression(&rule.query, factor).with_context(|| format!("rule {}", rule.name))?;
        }
    }
    Ok(shorter)
}

fn divided(seconds: f64, factor: f64) -> Result<f64> {
    let shorter = seconds / factor;
    ensure!(
        seconds == 0.0 || shorter >= 0.001,
        "{seconds} s divided by {factor} is less than a millisecond"
    );
    Ok(shorter)
}

fn expression(text: &str, factor: f64) -> Result<String> {
    let mut shorter = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' | '`' => quoted(rest, first)?,
            '[' => rest.find(']').context("no closing bracket")? + 1,
            first if is_word(first) => rest.find(|next| !is_word(next)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match first {
            '[' => shorter.push_str(&window(token, factor)?),
            '0'..='9' => shorter.push_str(&number_or_duration(token, factor)?),
            _ => shorter.push_str(token),
        }
        rest = after;
    }
    Ok(shorter)
}

/// A metric name may have colons, a number a dot.
fn is_word(next: char) -> bool {
    next.is_ascii_alphanumeric() || matches!(next, '_' | ':' | '.')
}

/// The length of the string that `text` starts with, quotes included.
fn quoted(text: &str, quote: char) -> Result<usize> {
    let mut escaped = false;
    for (index, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            next if next == quote => return Ok(index + 1),
            _ => {}
        }
    }
    bail!("a string without an end: {text}")
}

/// `[5m]`, or `[1h:30s]` of a subquery, or `[1h:]`.
fn window(token: &str, factor: f64) -> Result<String> {
    let parts = token.trim_matches(['[', ']']).split(':');
    let parts = parts.map(|part| match part {
        "" => Ok(String::new()),
        part => duration(part, factor),
    });
    Ok(format!(
        "[{}]",
        parts.collect::<Result<Vec<_>>>()?.join(":")
    ))
}

fn number_or_duration(token: &str, factor: f64) -> Result<String> {
    let Ok(number) = token.parse::<f64>() else {
        return duration(token, factor);
    };
    let is_in = |list: &[f64]| {
        list.iter()
            .any(|known| (known - number).abs() < f64::EPSILON)
    };
    if is_in(&TIMES) {
        return Ok((number / factor).to_string());
    }
    ensure!(
        is_in(&NUMBERS),
        "is {token} a time or a number? Say so in tests/src/prometheus/shorten.rs"
    );
    Ok(token.to_owned())
}

/// `5m`, or `1h30m`, in milliseconds.
fn duration(text: &str, factor: f64) -> Result<String> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|next: char| !next.is_ascii_digit())
            .with_context(|| format!("`{text}` is no duration"))?;
        let (count, after) = rest.split_at(digits);
        let unit = after
            .find(|next: char| next.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let count: f64 = count
            .parse()
            .with_context(|| format!("`{text}` is no duration"))?;
        seconds += count * seconds_of(unit).with_context(|| format!("no unit in `{text}`"))?;
        rest = after;
    }
    Ok(milliseconds(divided(seconds, factor)?))
}

fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        "y" => 31_536_000.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_divided_and_nothing_else() -> Result<()> {
        let table = [
            (
                "rate(up_seconds_total[5m])",
                "rate(up_seconds_total[5000ms])",
            ),
            ("a_total offset 1h30m >= 6", "a_total offset 90000ms >= 6"),
            ("time() - (since > 0) > 600", "time() - (since > 0) > 10"),
            (
                "left < clamp_min(0.33 * life, 10 * 86400)",
                "left < clamp_min(0.33 * life, 10 * 1440)",
            ),
            (
                "sum_over_time(down:ratio_rate5m[3d]) * 30 / 259200",
                "sum_over_time(down:ratio_rate5m[4320000ms]) * 30 / 259200",
            ),
            (
                "max_over_time(a[1h:30s])",
                "max_over_time(a[60000ms:500ms])",
            ),
            ("max_over_time(a[1h:])", "max_over_time(a[60000ms:])"),
            (
                r#"a{b=~"600|[5m]",c='\'5m'} > 14.4 * 0.001"#,
                r#"a{b=~"600|[5m]",c='\'5m'} > 14.4 * 0.001"#,
            ),
        ];
        for (text, expected) in table {
            assert_eq!(expression(text, 60.0)?, expected);
        }
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "a > 601",
            "a[5x]",
            "a[5m",
            "a[5]",
            r#"a{b="c}"#,
            "a @ 1609746000",
        ] {
            assert!(expression(text, 60.0).is_err(), "{text}");
        }
        assert!(expression("a[1m]", 100_000.0).is_err());
    }
}
